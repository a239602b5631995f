"""The loaders measured beside other libraries, and the two streams: rows as all benchmarks leave them."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks import loading
from benchmarks.harness import groups, tables
from benchmarks.harness.groups import Limits
from benchmarks.harness.readers import READERS
from benchmarks.harness.records import Results, Row
from loaders import ClipSpec
from tests.support.clock import WorkerHere
from tests.support.commands import invoke_script

ONCE = Limits(rounds=1, few=1, seconds=0.0, most=0.0, turn=0.0, pause=0.0)


@pytest.mark.keras
@pytest.mark.either
def test_reading_is_measured_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "Worker", WorkerHere)
    monkeypatch.setattr(loading, "INDEXED", 50)
    small = ClipSpec(frames=4, height=16, width=16, modality="flow", stack=1)
    monkeypatch.setattr(loading, "flow_spec", lambda method: small)
    monkeypatch.setitem(READERS, "torchcodec", (lambda spec: 1 / 0, None))  # type: ignore[dict-item, return-value]
    for name in ("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        loading.write_long(tmp_path / name, minutes=0.01)
    rows: list[Row] = []
    threads = cv2.getNumThreads()
    try:
        loading.loading(tmp_path, workers=1, clips=3, minutes=0.02, limits=ONCE, done=rows.append)
    finally:
        cv2.setNumThreads(threads)
    found = {(row.model, row.runner): row for row in rows}
    assert list(found) == [
        *(("cold", reader) for reader in sorted(READERS, key="torchcodec".__ne__)),
        *(("cached", cache) for cache in ("none", "disk", "memory")),
        *(("sparse", reader) for reader in ("clipzoo", "decord")),
        ("flow", "Farneback"), ("flow", "DIS"), ("index", "CSV"),
    ]  # fmt: skip
    assert [row.name for row in rows if not row.measured] == ["torchcodec, 1"]
    assert found["cold", "torchcodec"].status == "failed" and "ZeroDivisionError" in found["cold", "torchcodec"].note
    assert found["cold", "decord"].batch == 3 and found["cached", "disk"].batch == 4
    assert len(found["cached", "none"].facts["epochs_mib"]) == 3
    assert found["cached", "disk"].facts["disk_bytes"] > 0
    assert found["sparse", "clipzoo"].facts["file_frames"] == 36
    assert found["sparse", "clipzoo"].facts["equal_to_full_decode"]
    said = dict(list(tables.loading(rows))[1:])
    assert "times as fast" in said["cold, 5 frames of 112x112, decord"]
    assert said["5 of 36 frames"].endswith("bit for bit a full decode's")
    assert "index of 50 clips from CSV" in said and len(said) == 6 + 2 + 1 + 1 + 1 + 1


@pytest.mark.keras
@pytest.mark.slow
def test_the_two_streams_leave_rows(tmp_path: Path) -> None:
    done = invoke_script("two_stream", "motion", "--clips", 60, "--epochs", 1, "--json", tmp_path / "a.jsonl")
    assert done.returncode == 0, done.stderr
    rows = Results.load(tmp_path / "a.jsonl").rows
    assert [(row.model, row.settings["stream"]) for row in rows] == [
        ("dtpp_flow", "flow stream"), ("dtpp_rgb", "RGB of one frame"),
    ]  # fmt: skip
    assert [row.frames for row in rows] == [8, 1]
    for row in rows:
        assert row.measured and row.facts["clips"] == 15 and row.facts["parameters"] > 0
        assert f"{row.facts['top1']:.1%}" in done.stdout
    ablation = invoke_script("two_stream", "ablation", "--clips", 60, "--epochs", 1, "--json", tmp_path / "b.jsonl")
    assert ablation.returncode == 0, ablation.stderr
    rows = Results.load(tmp_path / "b.jsonl").rows
    assert [row.settings["stream"] for row in rows] == ["rgb", "flow", "fused"] * 4
    assert all(("rgb_weight" in row.facts) == (row.settings["stream"] == "fused") for row in rows)
    assert "levels 1,2,4 average" in ablation.stdout
