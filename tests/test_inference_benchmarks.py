"""Files measured beside their peers, and the way from a file to a label in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench
from benchmarks.harness import groups
from benchmarks.harness.contestants import BenchmarkTarget, share_of_matrix_rate
from benchmarks.harness.groups import Limits
from benchmarks.harness.onnx_runners import DeviceMatrixRunner, OnnxRuntimeRunner, read_profile
from benchmarks.harness.prepared import matrix_file, write_matrices
from benchmarks.harness.records import MATRIX, OURS, Row
from benchmarks.inference import compare_runtimes
from benchmarks.pipeline import STEPS, pipeline
from export import Classifier
from loaders import ClipIndex, ClipSpec
from tests.support.clock import WorkerHere, fake
from tests.support.onnx_files import write_model

SHORT = Limits(rounds=3, seconds=0.05, most=0.1, turn=0.02)
BIG = ClipSpec(frames=8, height=256, width=256)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX file whose run takes milliseconds."""
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", spec=BIG, shape=BIG.shape)


def test_a_file_is_measured_beside_its_peers(file: Path) -> None:
    rows: list[Row] = []
    subject = BenchmarkTarget(onnx=file, multiply_adds=10**6)
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
    rate = matrix.facts["floating_point_operations"] / matrix.round_seconds.value
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


def test_the_way_from_file_to_label_is_measured_in_parts(
    file: Path, motion: ClipIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "Worker", WorkerHere)
    rows: list[Row] = []
    pipeline(file, [path.resolve() for path in motion.paths[:6]], limits=SHORT, done=rows.append)
    assert [row.settings["step"] for row in rows] == list(STEPS)
    assert all(row.measured and row.batch == 6 for row in rows), [row.note for row in rows]


def test_every_call_of_the_file_is_timed_once_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plain loop of ten lines would measure, proved by a faked clock and counted calls."""
    clock = fake(monkeypatch)
    calls: list[int] = []

    def scores(self: Classifier, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        calls.append(len(clips["video"]))
        clock.sleep(0.010 if len(calls) % 10 else 0.020)  # one in ten is slow
        return {}

    monkeypatch.setattr(Classifier, "scores", scores)
    (row,) = bench(file, batches=(2,), seconds=3.0)
    assert set(calls) == {2}
    warm_up, uncounted = 3, len(row.turns)
    assert len(calls) == warm_up + uncounted + len(row.seconds)
    assert sum(row.seconds) >= 3.0
    assert row.summary()["p50_ms"] == pytest.approx(10)
    rates = [2 * len(turn) / sum(turn) for turn in row.turns]
    assert row.clips_per_second == pytest.approx(np.median(rates))
    assert row.clips_per_second < 0.97 * 2 / 0.010  # what the median round would say
