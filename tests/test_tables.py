"""Tables and pictures are the result files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.harness import plots, tables
from benchmarks.harness.plots import draw
from benchmarks.harness.records import MATRIX, OURS, Results
from benchmarks.harness.render import markdown, per_machine, table
from benchmarks.harness.runners import BACKENDS
from benchmarks.harness.trainers import WAYS
from tests.support.commands import invoke_script
from tests.support.results import a_row, a_setup


def test_tables_are_the_result_files(tmp_path: Path) -> None:
    path = tmp_path / "box" / "inference-1.jsonl"
    results = Results.start(path, a_setup(device="A Box", machine="box"))
    cpu = {"provider": "CPU"}
    counted = {**a_row().facts, "multiply_adds": 10**9, "nodes": {"CPUExecutionProvider": 7}}
    results.add(a_row(settings=cpu, facts=counted, turns=[[0.2]] * 9))
    results.add(a_row(runner="Keras TensorFlow", turns=[[0.5]] * 9))
    results.add(a_row(runner="Keras JAX", status="too slow", note="over the limit", turns=[[12.0]]))
    results.add(a_row(runner=MATRIX, batch=1, facts={"floating_point_operations": 10**10}, turns=[[0.1]] * 9))
    results.add(a_row(settings=cpu, batch=8, status="out of memory", note="9 GiB asked for", turns=[]))
    inference = partial(per_machine, "inference", tables.inference, tmp_path)
    start_up = partial(per_machine, "inference", tables.start_up, tmp_path)
    said = inference()
    assert said.startswith("A Box, ")
    # 4 clips in 0.2 s; 2 x 10^9 x 20 a second, of 10^11
    row = "| m | 4 | CPU | 200.0 |  | 20.0 | 100 | 40% | 2.50 (2.50 to 2.50) | over 60.0 |  |  |  |"
    assert row in said.splitlines()
    assert "| m | 8 | CPU | out of memory: 9 GiB asked for |" in said
    assert "| m | " not in start_up()  # which is of the first batch of 1
    results.add(a_row(settings=cpu, batch=1, facts=counted))
    results.add(a_row(runner="Keras TensorFlow", batch=1))
    assert "| m | 7 CPU | 0.10 + 0.20 s, 50 MiB | 0.10 + 0.20 s, 50 MiB |" in start_up()
    assert per_machine("training", tables.training, tmp_path) == ""

    later = Results.start(tmp_path / "box" / "inference-2.jsonl", a_setup(device="A Box", machine="box"))
    later.add(a_row(model="a", settings=cpu, turns=[[0.4]] * 9))
    lines = inference().splitlines()
    assert sum(line.startswith("A Box, ") for line in lines) == 2
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| model", "| a", "| m", "| m", "| m",
    ]  # fmt: skip
    assert [line.split(" | ")[1] for line in lines if line.startswith("| m |")] == ["1", "4", "8"]

    other = Results.start(tmp_path / "box" / "inference-3.jsonl", a_setup(device="A Box", machine="box"))
    other.add(a_row(settings={"provider": "CUDA"}, turns=[[0.1]] * 9))
    other.add(a_row(runner="Keras TensorFlow", turns=[[0.9]] * 9))
    lines = inference().splitlines()
    assert row in lines  # each beside the peers of its own file
    assert any(line.startswith("| m | 4 | CUDA |") and "| 9.00 (9.00 to 9.00) |" in line for line in lines)


def test_a_console_and_a_page_show_the_same_cells() -> None:
    lines = [("model", "p95 ms", "clips/s"), ("a [b]", "", "12.0"), ("long --- name", "", "3.5")]
    assert markdown(lines).splitlines() == [
        "| model | p95 ms | clips/s |", "|---|---|---|", "| a [b] |  | 12.0 |", "| long --- name |  | 3.5 |",
    ]  # fmt: skip
    assert markdown(lines[:1]) == ""
    console = Console(file=StringIO(), width=80, markup=False)
    console.print(table(lines, title="both"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "both" in said and "a [b]" in said and "12.0" in said
    assert "p95" not in said  # a column without a cell


def test_pictures_say_why_there_is_no_figure() -> None:
    cpu = {"provider": "CPU"}
    used = {**a_row().facts, "precision_in_use": "<Type: 'bfloat16'>"}
    rows = [
        a_row(settings=cpu), a_row(settings=cpu, batch=8), a_row(runner="Keras JAX"),
        a_row(runner="Keras JAX", batch=8, status="too slow", turns=[[12.0]]),
        a_row(runner="OpenVINO", settings={"precision": "default"}, facts=used),
    ]  # fmt: skip
    small, large = plots._peers(rows).axes
    assert [text.get_text() for text in small.texts] == []
    assert [text.get_text() for text in large.texts] == ["too slow"]
    assert [bars.get_label() for bars in small.containers] == ["Keras JAX", "OpenVINO, default (bfloat16)"]
    assert small.get_xlabel() == "ONNX Runtime: times as fast as each peer"

    ways = [a_row(runner="Keras JAX", settings=way.settings) for way in WAYS]
    ways[1] = replace(ways[1], status="out of memory", turns=[])
    (panel,) = plots._training(ways).axes
    assert [text.get_text() for text in panel.texts] == ["out of memory"]


def test_pictures_go_in_the_direction_of_the_table() -> None:
    slow, fast = [[0.2]] * 6, [[0.1]] * 6
    graph = {"provider": "CUDA", "binding": "graph"}
    rows = [
        a_row(settings={"provider": "CUDA"}, turns=slow), a_row(settings=graph, turns=fast),
        a_row(runner="Keras JAX", turns=slow),
    ]  # fmt: skip
    (panel,) = plots._peers(rows).axes
    assert panel.get_xlabel() == "ONNX Runtime: times as fast as Keras JAX"
    assert [bars.get_label() for bars in panel.containers] == [f"{OURS}, CUDA", f"{OURS}, CUDA, graph"]
    assert [1 + bars[0].get_width() for bars in panel.containers] == pytest.approx([1, 2])
    _, first, second = tables.inference(rows)
    assert (first[9], second[9]) == ("1.00 (1.00 to 1.00)", "2.00 (2.00 to 2.00)")


def test_a_model_with_fewer_than_three_batch_sizes_has_no_curve(tmp_path: Path) -> None:
    results = Results.start(tmp_path / "inference-1.jsonl", a_setup())
    for model, batches in (("a", (1, 2, 3)), ("b", (1, 2))):
        for batch in batches:
            results.add(a_row(model=model, batch=batch))
            results.add(a_row(model=model, batch=batch, runner="Keras JAX"))
    assert [path.stem for path in draw([results])] == ["peers", "throughput", "latency"]
    few = replace(results, rows=[row for row in results.rows if row.batch < 3])
    assert [path.stem for path in draw([few])] == ["peers"]


def test_pictures_of_training_are_drawn(tmp_path: Path) -> None:
    results = Results.start(tmp_path / "training-1.jsonl", a_setup(kind="training"))
    for runner in BACKENDS.values():
        for way in WAYS:
            facts = {"compile_seconds": 1.0, "data_wait": 0.0, "peak_memory_mib": 50.0}
            results.add(a_row(runner=runner, settings=way.settings, facts=facts))
    done = invoke_script("report", "--results", tmp_path)  # of one kind alone
    assert done.returncode == 0, done.stderr
    assert "| model | backend |" in done.stdout
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
