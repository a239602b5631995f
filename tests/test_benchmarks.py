"""The benchmarks' contract: statistics, files, taking turns, labelled failures, and the figures of a plain loop."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bench, plots, tables, training
from benchmarks.cluster import LATENCY, Plan
from benchmarks.compare import compare
from benchmarks.contestants import MATRIX, OURS, Subject, share_of_matrix_rate
from benchmarks.groups import Contestant, Limits, measure
from benchmarks.inference import compare_runtimes
from benchmarks.machine import setup
from benchmarks.models import matrix_file, write_matrices
from benchmarks.onnx_runners import DeviceMatrixRunner, OnnxRuntimeRunner, read_profile
from benchmarks.pipeline import STEPS, pipeline
from benchmarks.plots import draw
from benchmarks.results import SCHEMA, Results, Row, Setup, newest, of_batch, times_as_fast
from benchmarks.runners import BACKENDS, Round, Runner
from benchmarks.statistics import median_interval, unpaired_ratio
from benchmarks.trainers import WAYS
from benchmarks.workers import Worker, WorkerError
from export import Classifier
from loaders import ClipIndex, ClipSpec, ClipzooError
from tests.test_cli import ROOT, refused
from tests.test_runtime import write_model

SHORT = Limits(rounds=3, seconds=0.05, most=0.1, turn=0.02)
BIG = ClipSpec(frames=8, height=256, width=256)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX file whose run takes milliseconds."""
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", spec=BIG, shape=BIG.shape)


def script(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200"}, cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


# === Statistics ===


def test_the_interval_of_a_median_is_made_of_order_statistics() -> None:
    found = median_interval([5, 1, 9, 3, 7, 2, 8, 4, 6, 10])
    assert (found.value, found.low, found.high) == (5.5, 2, 9)  # the 2nd and the 9th of 10: 97.9 %
    assert median_interval([3.0]).width == 0
    few = median_interval([1, 2, 3, 4])
    assert (few.low, few.high) == (1, 4)


def test_the_interval_of_a_median_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (8, 10, 25):
        samples = rng.exponential(size=(2000, count))
        inside = [(i := median_interval(row)).low <= np.log(2) <= i.high for row in samples]
        assert 0.94 <= np.mean(inside) <= 0.995, count


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
def test_a_median_lies_within_its_interval(values: list[float]) -> None:
    found = median_interval(values)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


def test_ratios_of_unpaired_runs() -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(1.0, 0.02, 20), rng.normal(1.5, 0.02, 20)
    found = unpaired_ratio(own, other, level=0.95)
    assert found.low < 1.5 < found.high
    assert 1.4 < found.low < found.high < 1.6
    assert found.excludes_one
    assert not unpaired_ratio(own, own, level=0.95).excludes_one
    assert not unpaired_ratio([1.0, 1.1, 1.2], [2.0, 2.1, 2.2], level=0.95).excludes_one  # 3 values show nothing


def test_two_runs_of_the_same_thing_are_seldom_said_to_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    said = 0
    for trial in range(60):
        pair = []
        for side in "ab":
            results = Results.start(tmp_path / f"{trial}{side}.jsonl", a_setup())
            for batch in range(1, 11):
                results.add(a_row(batch=batch, turns=[[value] for value in rng.lognormal(0, 0.05, 10)]))
            pair.append(results)
        said += any(difference.differs for difference in compare(*pair))
    assert said <= 9  # 5 % of 60 is 3; 10 and more would come about once in 1,000 times


# === Result files ===


def a_setup(**changes: Any) -> Setup:
    return replace(setup("inference", on_gpu=False), **changes)


def a_row(**changes: Any) -> Row:
    turns = changes.pop("turns", [[0.010, 0.012], [0.011], [0.010, 0.010, 0.013]])
    facts = {"session_seconds": 0.1, "first_run_seconds": 0.2, "peak_memory_mib": 50.0}
    return Row(**{"model": "m", "runner": OURS, "batch": 4, "frames": 5, "turns": turns, "facts": facts, **changes})


def test_a_result_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    results = Results.start(path, a_setup())
    results.add(a_row())
    results.add(a_row(batch=8, status="out of memory", note="said so", turns=[]))
    found = Results.load(path)
    assert (found.setup, found.rows) == (results.setup, results.rows)
    first, second = (json.loads(line) for line in path.read_text().splitlines()[1:])
    assert first["summary"]["p50_ms"] == pytest.approx(10.5)
    assert first["summary"]["clips_per_second"] == pytest.approx(4 / 0.0105)
    assert first["summary"]["frames_per_second"] == pytest.approx(5 * 4 / 0.0105)
    assert second["summary"] == {}
    assert not found.rows[1].measured


def test_a_torn_last_line_costs_that_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    results = Results.start(path, a_setup())
    results.add(a_row())
    results.add(a_row(batch=8))
    path.write_bytes(path.read_bytes()[:-40])
    assert [row.batch for row in Results.load(path).rows] == [4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a result file"),
        ("{}\n", "is not a result file"),
        ("[1]\n", "is not a result file"),
        ('{"schema": 0, "kind": "inference"}\n', "older schema (0, not 1)"),
        (f'{{"schema": {SCHEMA}, "kind": "inference"}}\n', "its first line lacks arguments, commit, cores"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ClipzooError, match=r"a\.jsonl") as caught:
        Results.load(path)
    assert said in str(caught.value)
    with pytest.raises(ClipzooError, match=r"cannot be read as a result file \(No such file or directory\)"):
        Results.load(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"turns": [[', '"turns": [["x", '),
        ('"turns": [[', '"turns": [[], ['),
        ('"facts": {', '"facts": [], "summary": {'),
        ('"versions": {}', '"versions": null'),
    ],
)
def test_a_damaged_result_file_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.jsonl"
    Results.start(path, a_setup(versions={})).add(a_row())
    whole = path.read_text()
    assert old in whole
    path.write_text(whole.replace(old, new, 1))
    with pytest.raises(ClipzooError, match=r"a\.jsonl: is a damaged result file"):
        Results.load(path)


def test_the_newest_file_of_each_machine_counts(tmp_path: Path) -> None:
    for machine, time_of, model in (
        ("a", "2026-01-01T000000", "old"),
        ("a", "2026-02-01T000000", "new"),
        ("b", "2025-01-01T0", "x"),
    ):
        results = Results.start(tmp_path / machine / f"inference-{time_of}.jsonl", a_setup(machine=machine))
        results.add(a_row(model=model))
    again = Results.start(tmp_path / "a" / "inference-2026-03-01T000000.jsonl", a_setup(machine="a", load=9.0))
    cuda, tensorrt = ({"provider": provider} for provider in ("CUDA", "Tensorrt"))
    for batch in (4, 16):
        again.add(a_row(model="new", batch=batch, settings=cuda))
    once_more = Results.start(tmp_path / "a" / "inference-2026-04-01T000000.jsonl", a_setup(machine="a"))
    once_more.add(a_row(model="new", batch=16, settings=cuda))
    other = Results.start(tmp_path / "a" / "inference-2026-05-01T000000.jsonl", a_setup(machine="a"))
    other.add(a_row(model="new", batch=16, settings=tensorrt))
    found = newest("inference", tmp_path)
    assert [[(row.model, row.batch, row.settings.get("provider")) for row in results.rows] for results in found] == [
        [("old", 4, None)], [("new", 4, None)], [("new", 4, "CUDA")], [("new", 16, "CUDA")], [("new", 16, "Tensorrt")],
        [("x", 4, None)],
    ]  # fmt: skip
    assert found[2].setup.load == 9.0  # each keeps what it was measured on
    assert newest("training", tmp_path) == []


def test_figures_are_not_displaced_by_a_later_failure(tmp_path: Path) -> None:
    for name, *rows in (
        ("1", a_row(model="a"), a_row(model="b", status="failed", turns=[])),
        ("2", a_row(model="a", status="failed", turns=[]), a_row(model="b", status="too slow", turns=[])),
    ):
        results = Results.start(tmp_path / "box" / f"inference-{name}.jsonl", a_setup(machine="box"))
        for row in rows:
            results.add(row)
    found = newest("inference", tmp_path)
    assert [[(row.model, row.status) for row in results.rows] for results in found] == [
        [("a", "ok")], [("b", "too slow")],
    ]  # fmt: skip


def test_a_sweep_that_ended_says_so_of_every_larger_batch() -> None:
    rows = [a_row(batch=1), a_row(batch=8, status="too slow", turns=[[12.0]])]
    found = [of_batch(rows, batch) for batch in (1, 4, 8, 16)]
    assert [row and row.batch for row in found] == [1, None, 8, 8]


# === Workers ===


class Odd:
    """Does what workers must survive."""

    def __init__(self, fail: str = "") -> None:
        if fail:
            raise ValueError(fail)

    def answer(self, value: int) -> int:
        print("noise of a library", file=sys.stderr)
        return value + 1

    def raise_this(self, error: Exception) -> None:
        raise error

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self) -> None:
        time.sleep(60)

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


def test_a_worker_answers_and_tells_what_went_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker(Odd, {}, environment={"KERAS_BACKEND": "jax"})
    assert worker.call("answer", 1) == 2
    assert worker.call("variable", "KERAS_BACKEND") == "jax"
    for error, status in (
        (ValueError("no such thing"), "failed"),
        (MemoryError(), "out of memory"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 123"), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), "out of memory"),
    ):
        with pytest.raises(WorkerError) as caught:
            worker.call("raise_this", error)
        assert caught.value.status == status
        assert type(error).__name__ in str(caught.value)
    assert worker.call("answer", 2) == 3  # it goes on
    with pytest.raises(WorkerError) as caught:
        worker.call("die")
    assert caught.value.status == "out of memory"
    worker.close()
    assert "noise" not in capfd.readouterr().err


def test_a_worker_that_cannot_start_or_hangs_is_ended() -> None:
    with pytest.raises(WorkerError, match="ValueError: not today"):
        Worker(Odd, {"fail": "not today"})
    worker = Worker(Odd, {}, limit=30)
    worker.limit = 0.5
    with pytest.raises(WorkerError, match=r"not done after 0\.5 s") as caught:
        worker.call("sleep")
    assert caught.value.status == "too slow"
    worker.close()


# === Taking turns ===


class Sleeper(Runner):
    """Rounds of a known length; some batches fail; some grow slower with every round."""

    def __init__(self, *, seconds: float, fails_at: int = 0, grows: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.fails_at, self.grows = seconds, fails_at, grows

    def prepare(self, batch: int) -> Round:
        if batch == self.fails_at:
            raise MemoryError
        return lambda: self.sleep(batch)

    def sleep(self, batch: int) -> None:
        time.sleep(self.seconds * batch)
        self.seconds += self.grows


def test_runners_take_turns_and_failures_are_labelled_rows() -> None:
    def contestant(name: str, **arguments: Any) -> Contestant:
        return Contestant(row=Row(model="m", runner=name, batch=0), make=Sleeper, arguments=arguments)

    rows: list[Row] = []
    measure(
        [
            contestant("steady", seconds=0.002),
            contestant("twice", seconds=0.004),
            contestant("no memory at 4", seconds=0.001, fails_at=4),
            contestant("slow at 4", seconds=0.08),
            contestant("slow in the end", seconds=0.01, grows=0.04),
            contestant("no such option", minutes=1),
        ],
        [1, 4, 8],
        limits=replace(SHORT, round_seconds=0.2),
        done=rows.append,
    )
    found = {(row.runner, row.batch): row for row in rows}
    assert len(found) == len(rows)
    status = {key: row.status for key, row in found.items()}
    assert status == {
        **{("steady", batch): "ok" for batch in (1, 4, 8)},
        **{("twice", batch): "ok" for batch in (1, 4, 8)},
        ("no memory at 4", 1): "ok",
        ("no memory at 4", 4): "out of memory",
        ("slow at 4", 1): "ok",
        ("slow at 4", 4): "too slow",
        ("slow in the end", 1): "too slow",
        ("no such option", 1): "failed",
    }
    assert "over the limit of 0.2 s" in found["slow at 4", 4].note
    assert found["slow at 4", 4].seconds[0] == pytest.approx(0.32, rel=0.3)
    for batch in (1, 4, 8):
        row = found["steady", batch]
        assert len(row.seconds) >= SHORT.rounds
        assert sum(row.seconds) >= 0.8 * SHORT.seconds  # what is between the rounds counts too
        assert {"first_run_seconds", "peak_memory_mib"} <= set(row.facts)
        assert 1.5 < times_as_fast(row, found["twice", batch]).value < 2.3


class Hoarder(Runner):
    """Needs, from batch 4 on, all the memory that there is."""

    def __init__(self, *, memory: Path) -> None:
        super().__init__()
        self.memory = memory.open("w")

    def prepare(self, batch: int) -> Round:
        if batch >= 4:
            try:
                fcntl.flock(self.memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MemoryError from None
        return lambda: time.sleep(0.001)


def test_whom_memory_runs_out_beside_others_is_measured_alone(tmp_path: Path) -> None:
    rows: list[Row] = []
    contestants = [
        Contestant(row=Row(model="m", runner=name, batch=0), make=Hoarder, arguments={"memory": tmp_path / "memory"})
        for name in ("first", "second")
    ]
    measure(contestants, [1, 4, 8], limits=SHORT, done=rows.append)
    assert [(row.runner, row.batch, row.status) for row in rows] == [
        ("first", 1, "ok"), ("second", 1, "ok"), ("first", 4, "ok"), ("first", 8, "ok"),
        ("second", 4, "ok"), ("second", 8, "ok"),
    ]  # fmt: skip
    assert ["alone" in row.note for row in rows] == [False, False, False, False, True, True]


# === Inference ===


def test_a_file_is_measured_beside_its_peers(file: Path) -> None:
    rows: list[Row] = []
    subject = Subject(onnx=file, multiply_adds=10**6)
    compare_runtimes(subject, provider="cpu", batches=[1, 2], limits=SHORT, done=rows.append)
    assert {(row.name, row.batch) for row in rows} == {
        (name, batch)
        for name in (f"{OURS}, CPU", "OpenVINO, float32", "OpenVINO, default", f"{MATRIX}, 2048 float32 NumPy")
        for batch in (1, 2)
    }
    assert all(row.measured for row in rows), [row.note for row in rows]
    own = next(row for row in rows if row.runner == OURS)
    assert own.facts["nodes"] == {"CPUExecutionProvider": sum(own.facts["nodes"].values())}
    assert own.facts["elsewhere"] == {}
    assert own.facts["operators"]
    assert len(own.sha256 or "") == 64
    assert own.parity == {"tolerance": 1e-4}
    matrix = next(row for row in rows if row.runner == MATRIX)
    rate = matrix.facts["floating_point_operations"] / matrix.median.value
    assert share_of_matrix_rate(own, rows) == pytest.approx(2e6 * own.clips_per_second / rate)


def test_clips_and_matrices_that_lie_on_the_device(file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    clips = {"video": rng.integers(0, 256, (3, *BIG.shape), np.uint8)}
    runner = OnnxRuntimeRunner(path=file, provider="cpu", binding="device", options={}, threads=None)
    assert runner.start(2) > 0
    assert runner.start(3) > 0  # another batch size, bound anew
    expected = Classifier(file).scores(clips)
    for name, values in runner.bound_answers(clips).items():
        np.testing.assert_array_equal(values, expected[name])

    write_matrices(tmp_path)
    for precision in ("float32", "float16"):
        matrix = DeviceMatrixRunner(path=matrix_file(tmp_path, precision), provider="cpu", options={}, size=32)
        assert matrix.start(1) > 0
        assert matrix.finish()["floating_point_operations"] == 2 * 32**3


def test_a_plain_loop_of_ten_lines_gives_the_same_figure(file: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, *BIG.shape), np.uint8)
    classifier = Classifier(file)
    ratios = []
    for _ in range(9):
        (row,) = bench(file, batches=(2,), seconds=0.2)
        times = []
        for _ in range(40):
            begun = time.perf_counter()
            classifier.session.run(["logits", "probabilities"], {"video": clips})
            times.append(time.perf_counter() - begun)
        ratios.append(np.median(times) / np.median(row.seconds))
    assert np.median(ratios) == pytest.approx(1, abs=0.15)


def test_nodes_elsewhere_are_named() -> None:
    def event(name: str, operator: str, provider: str, duration: int) -> dict[str, Any]:
        used = {"provider": f"{provider}ExecutionProvider", "op_name": operator, "output_size": "16"}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration, "args": used}

    def events(provider: str) -> list[dict[str, Any]]:
        first = [event("conv", "Conv", provider, 9999), event("shape", "Shape", "CPU", 9999)]  # finds its algorithm
        other = {"cat": "Session", "name": "model_run", "dur": 999}
        return [*first, event("conv", "Conv", provider, 90), event("shape", "Shape", "CPU", 10), other]

    assert read_profile(events("CPU"), "CPUExecutionProvider") == {
        "nodes": {"CPUExecutionProvider": 2},
        "elsewhere": {},
        "operators": {"Conv": 0.9, "Shape": 0.1},
    }
    assert read_profile(events("CUDA"), "CUDAExecutionProvider") == {
        "nodes": {"CUDAExecutionProvider": 1, "CPUExecutionProvider": 1},
        "elsewhere": {"shape": {"operator": "Shape", "bytes": 16}},
        "operators": {},
    }


def test_the_commands_measure_compare_and_draw(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "box" / "inference-1.jsonl"
    done = script("inference", "--models", file, "--batch", 1, "--batch", 2, "--quick", "--json", out)
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout
    results = Results.load(out)
    assert {row.batch for row in results.rows} == {1, 2}
    assert results.setup.versions["onnxruntime"]
    assert results.setup.arguments[0] == "--models"
    pictures = draw([results])
    assert [path.name for path in pictures] == ["peers.png", "throughput.png", "latency.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)

    longer, slower = (Results.start(tmp_path / f"{name}.jsonl", results.setup) for name in ("longer", "slower"))
    for row in results.rows:
        steady = [row.median.value * (1 + turn / 1000) for turn in range(12)]
        longer.add(replace(row, turns=[[value] for value in steady]))
        slower.add(replace(row, turns=[[2 * value] for value in steady]))
    assert [round(d.ratio.value, 3) for d in compare(longer, slower)] == [0.5] * len(results.rows)
    done = script("compare", longer.path, slower.path)
    assert done.returncode == 0, done.stderr
    assert f"{len(results.rows)} of {len(results.rows)} rows differ" in done.stdout
    done = script("compare", out, out)
    assert f"0 of {len(results.rows)} rows differ" in done.stdout


def test_ctrl_c_keeps_what_was_measured(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "benchmarks.inference", "--models", str(file), "--quick", "--json", str(out)]
    for batch in range(1, 40):
        command += ["--batch", str(batch)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        time.sleep(0.1)
        if out.is_file() and len(out.read_text().splitlines()) > 1:
            break
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what was measured is kept" in said
    assert "Traceback" not in errors
    assert Results.load(out).rows


def test_mistakes_are_sentences(file: Path, tmp_path: Path) -> None:
    foreign = write_model(tmp_path / "foreign.onnx", metadata=False)
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "old.jsonl").write_text('{"schema": 0}\n')
    to = ("--json", tmp_path / "out.jsonl")
    refused(script("inference", "--models", file, "--provider", "cuda", *to), "'cuda' is not in this ONNX Runtime")
    refused(script("inference", "--models", file, "--provider", "npu", *to), "must be one of cpu, cuda, tensorrt")
    refused(script("inference", "--models", "convnet_grub", *to), "did you mean convnet_gru")
    refused(script("inference", "--models", foreign, *to), "without clipzoo's metadata")
    refused(script("inference", "--models", tmp_path / "text.onnx", *to), "cannot be loaded")
    refused(script("inference", "--models", tmp_path / "none.onnx", *to), "no such file")
    refused(script("inference", "--models", "convnet_gru", "--folder", tmp_path, *to), "python -m benchmarks.models")
    refused(script("training", "--models", "convnet_gru", "--provider", "cuda", *to), "finds no GPU")
    refused(script("training", "--backend", "torch", *to), "torch")
    refused(script("training", "--models", "convnet_gru", "--set", "nosuch=3", *to), "no option 'nosuch'")
    refused(script("compare", tmp_path / "old.jsonl", tmp_path / "old.jsonl"), "older schema")
    refused(script("pipeline", "--models", file, "--videos", tmp_path / "nowhere", *to), "nowhere")
    refused(script("pipeline", "--folder", tmp_path, *to), "python -m benchmarks.models")
    there = ("--json", tmp_path / "old.jsonl")
    refused(script("inference", *there), "is there already")
    # before the files of the whole zoo are made
    refused(script("inference", "--models", "dtpp", "--models", tmp_path / "none.onnx", *to), "no such file")
    for bandwidth in ("0", "nan", "inf"):
        refused(script("cluster", "--bandwidth", bandwidth), "must be > 0, but finite")
    refused(script("cluster", "--batch", "5"), "must be a multiple of 4")
    refused(script("report", "--results", tmp_path), "is no folder with result files")
    assert not (tmp_path / "out.jsonl").exists()


def test_the_way_from_file_to_label_is_measured_in_parts(file: Path, motion: ClipIndex) -> None:
    rows: list[Row] = []
    pipeline(file, [path.resolve() for path in motion.paths[:6]], limits=SHORT, done=rows.append)
    assert [row.settings["step"] for row in rows] == list(STEPS)
    assert all(row.measured and row.batch == 6 for row in rows), [row.note for row in rows]


# === Training, planning, tables ===


def test_an_exchange_of_gradients_costs_what_the_ring_costs() -> None:
    alone = Plan(hosts=1, step=0.1, gradient_bytes=10**8, bandwidth=10)
    assert (alone.exchange, alone.efficiency) == (0, (1, 1))
    four = Plan(hosts=4, step=0.1, gradient_bytes=10**8, bandwidth=10)
    assert four.exchange == pytest.approx(2 * 3 / 4 * 0.08 + 6 * LATENCY)  # 100 MB take 0.08 s over 10 Gbit/s
    worst, best = four.efficiency
    assert worst == pytest.approx(0.1 / (0.1 + four.exchange))
    assert best == pytest.approx(0.1 / (0.1 + four.exchange - 0.2 / 3))
    assert Plan(hosts=4, step=1.0, gradient_bytes=10**8, bandwidth=10).efficiency[1] == 1


def test_a_step_is_planned_over_hosts_and_run_on_virtual_devices() -> None:
    done = script("cluster", "--quick", "--hosts", 6)
    assert done.returncode == 0, done.stderr
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert [cells[0] for cells in table] == ["1", "2", "4", "1", "2", "4", "6"]
    measured, planned = table[:3], table[3:]
    assert all(float(cells[1]) > 0 for cells in measured), measured
    assert [float(cells[1]) for cells in planned] == sorted(float(cells[1]) for cells in planned)


def test_tables_are_the_result_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "box" / "inference-1.jsonl"
    results = Results.start(path, a_setup(device="A Box", machine="box"))
    cpu = {"provider": "CPU"}
    counted = {**a_row().facts, "multiply_adds": 10**9, "nodes": {"CPUExecutionProvider": 7}}
    results.add(a_row(settings=cpu, facts=counted, turns=[[0.2]] * 9))
    results.add(a_row(runner="Keras TensorFlow", turns=[[0.5]] * 9))
    results.add(a_row(runner="Keras JAX", status="too slow", note="over the limit", turns=[[12.0]]))
    results.add(a_row(runner=MATRIX, batch=1, facts={"floating_point_operations": 10**10}, turns=[[0.1]] * 9))
    results.add(a_row(settings=cpu, batch=8, status="out of memory", note="9 GiB asked for", turns=[]))
    monkeypatch.setattr(tables, "newest", lambda kind: newest(kind, tmp_path))
    table = tables.inference()
    assert table.startswith("A Box, ")
    # 4 clips in 0.2 s; 2 x 10^9 x 20 a second, of 10^11
    row = "| m | 4 | CPU | 200.0 |  | 20.0 | 100 | 40% | 2.50 (2.50 to 2.50) | over 60.0 |  |  |  |"
    assert row in table.splitlines()
    assert "| m | 8 | CPU | out of memory: 9 GiB asked for |" in table
    assert "| m | " not in tables.start_up()  # which is of the first batch of 1
    results.add(a_row(settings=cpu, batch=1, facts=counted))
    results.add(a_row(runner="Keras TensorFlow", batch=1))
    assert "| m | 7 CPU | 0.10 + 0.20 s, 50 MiB | 0.10 + 0.20 s, 50 MiB |" in tables.start_up()
    assert tables.training() == tables.pipeline() == ""

    later = Results.start(tmp_path / "box" / "inference-2.jsonl", a_setup(device="A Box", machine="box"))
    later.add(a_row(model="a", settings=cpu, turns=[[0.4]] * 9))
    lines = tables.inference().splitlines()
    assert sum(line.startswith("A Box, ") for line in lines) == 2
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| model", "| a", "| m", "| m", "| m",
    ]  # fmt: skip
    assert [line.split(" | ")[1] for line in lines if line.startswith("| m |")] == ["1", "4", "8"]

    other = Results.start(tmp_path / "box" / "inference-3.jsonl", a_setup(device="A Box", machine="box"))
    other.add(a_row(settings={"provider": "CUDA"}, turns=[[0.1]] * 9))
    other.add(a_row(runner="Keras TensorFlow", turns=[[0.9]] * 9))
    lines = tables.inference().splitlines()
    assert row in lines  # each beside the peers of its own file
    assert any(line.startswith("| m | 4 | CUDA |") and "| 9.00 (9.00 to 9.00) |" in line for line in lines)


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

    ways = [a_row(runner="Keras JAX", settings=way.settings) for way in WAYS]
    ways[1] = replace(ways[1], status="out of memory", turns=[])
    (panel,) = plots._training(ways).axes
    assert [text.get_text() for text in panel.texts] == ["out of memory"]


def test_training_needs_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(ClipzooError, match="neither jax nor tensorflow is installed"):
        training.suite()
    monkeypatch.setattr(training, "find_spec", lambda name: name == "jax" or None)
    with pytest.raises(ClipzooError, match="--backend tensorflow is not installed here"):
        training.suite(backend=["tensorflow"])


def test_pictures_of_training_are_drawn(tmp_path: Path) -> None:
    results = Results.start(tmp_path / "training-1.jsonl", a_setup(kind="training"))
    for runner in BACKENDS.values():
        for way in WAYS:
            results.add(a_row(runner=runner, settings=way.settings))
    (picture,) = draw([results])
    assert picture.read_bytes().startswith(b"\x89PNG")
