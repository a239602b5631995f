"""What an export costs and gives: the real one, of a small model, beside Keras on whichever backend runs the tests."""

from __future__ import annotations

from pathlib import Path

import keras
import onnx
import pytest

import benchmarks.export
from benchmarks.export import EXPORTS, export
from benchmarks.harness import contestants, groups, tables
from benchmarks.harness.contestants import BenchmarkTarget, own
from benchmarks.harness.groups import Limits
from benchmarks.harness.prepared import Prepared
from benchmarks.harness.records import KERAS_EXPORT, OURS, Results, Row
from benchmarks.harness.runners import BACKENDS
from export import Metadata
from export.metadata import Precision
from loaders.digest import sha256
from tests.support.clock import WorkerHere
from tests.support.commands import invoke_script, refused
from tests.support.models import lively
from tests.support.onnx_files import write_model
from tests.support.results import a_row, a_setup

ONCE = Limits(rounds=1, few=1, seconds=0.0, most=0.0, turn=0.0, pause=0.0, round_seconds=EXPORTS.round_seconds)


@pytest.mark.keras
@pytest.mark.either
@pytest.mark.parametrize("half", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_model_is_exported_in_each_precision_and_held_against_keras(
    half: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (groups, benchmarks.export):
        monkeypatch.setattr(module, "Worker", WorkerHere)
    prepared = Prepared(tmp_path, "convnet_gru")
    lively("convnet_gru").save(prepared.keras)
    rows: list[Row] = []
    names: list[Precision] = ["float32", *(["float16"] if half else []), "int8"]  # type: ignore[list-item]
    made = export(
        prepared, tmp_path, precisions=names, limits=ONCE, backends=[keras.config.backend()], clips=6, done=rows.append
    )
    assert [row.settings["precision"] for row in rows] == names
    *written, eighth = rows
    assert list(made) == names[:-1]
    # int8 needs clips: the export says so, and so does the row.
    assert (eighth.status, eighth.turns, eighth.sha256) == ("failed", [], None) and "calibrate=FOLDER" in eighth.note
    differences = []
    for row in written:
        path = made[row.settings["precision"]]
        assert len(row.seconds) == 1 and row.frames == 3
        assert row.sha256 == sha256(path) and row.parity == Metadata.read(path).parity
        assert row.facts["file_bytes"] == path.stat().st_size
        assert row.facts["graph_nodes"] == len(onnx.load(str(path)).graph.node)
        (beside,) = row.facts["beside"].items()
        assert beside[0] == BACKENDS[keras.config.backend()]
        assert (beside[1]["clips"], beside[1]["same_decision"]) == (6, 1.0) and 1 <= beside[1]["decisions"] <= 3
        differences.append(beside[1]["difference"])
    assert differences[0] < 1e-4
    if half:
        assert 1e-4 < differences[1] < 2e-2
        assert written[1].facts["file_bytes"] < 0.8 * written[0].facts["file_bytes"]
        assert Metadata.read(made["float16"]).precision == "float16"
    lines = list(tables.export(rows))[1:]
    assert lines[0][:3] == ("convnet_gru", "float32", str(written[0].facts["graph_nodes"]))
    assert "100% (6 clips;" in lines[0][7] and lines[-1][2].startswith("failed: ")


def test_files_of_other_precisions_take_turns_beside_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants, "Worker", WorkerHere)
    first, other = (write_model(tmp_path / f"{name}.onnx") for name in ("levels", "levels.int8"))
    found = own(BenchmarkTarget(onnx=first, others={"int8": other}), "cpu", None)
    assert [each.row.settings for each in found] == [{"provider": "CPU"}, {"provider": "CPU", "precision": "int8"}]
    assert [each.arguments["path"] for each in found] == [first, other]


def test_the_table_joins_exports_and_throughput(tmp_path: Path) -> None:
    beside = {"Keras JAX": {"difference": 2e-6, "same_decision": 0.75, "clips": 4, "decisions": 3}}
    facts = {"graph_nodes": 33, "file_bytes": 3 * 2**20, "quantization": {}, "beside": beside}
    eighth = {**facts, "quantization": {"agreement": 0.99, "clips": 104}}
    results = Results.start(tmp_path / "export-1.jsonl", a_setup(kind="export"))
    cpu = {"provider": "CPU"}
    for row in (
        a_row(
            runner="to_onnx", batch=1, settings={"precision": "float32"}, facts=facts, turns=[[10.0], [12.0]],
            parity={"logits": 1e-6, "probabilities": 3e-7, "tolerance": 1e-4},
        ),
        a_row(runner="to_onnx", batch=1, settings={"precision": "int8"}, facts=eighth, turns=[[20.0]], parity={}),
        a_row(batch=1, settings=cpu, turns=[[0.2]] * 6),
        a_row(batch=1, settings={**cpu, "precision": "int8"}, turns=[[0.1]] * 6),
        a_row(batch=1, runner="Keras JAX", turns=[[0.4]] * 6),
        a_row(batch=1, runner=KERAS_EXPORT, status="not available", note="unrolled", turns=[]),
    ):  # fmt: skip
        results.add(row)
    assert any(row.runner == OURS for row in results.rows)
    _, full, small = tables.export(results.rows)
    same = "JAX 75% (4 clips; said: 3)"
    assert full == (
        "m", "float32", "33", "3.0", "11.0 (10.0 to 12.0)", "1.0e-06", "2.0e-06", same,
        "5.0", "", "2.00 (2.00 to 2.00)", "", "", "not available",
    )  # fmt: skip
    assert small == (
        "m", "int8", "33", "3.0", "20.0", "99.0% of 104 clips as float32", "2.0e-06", same,
        "10.0", "", "4.00 (4.00 to 4.00)", "", "", "not available",
    )  # fmt: skip


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    to = ("--json", tmp_path / "out.jsonl")
    refused(invoke_script("export", "--models", "convnet_grub", *to), "did you mean convnet_gru")
    refused(invoke_script("export", "--precision", "bfloat16", *to), "must be one of float32, float16, int8")
    refused(invoke_script("export", "--folder", tmp_path, *to), "python -m benchmarks.models")
    assert not (tmp_path / "out.jsonl").exists()
