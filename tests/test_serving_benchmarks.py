"""A file behind a queue: rates and cameras by a faked clock, the command, its table and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import benchmarks.serving
from benchmarks.harness import open_loop, plots, tables
from benchmarks.harness.records import Results, Row
from benchmarks.serving import SHARES, serving
from export import Classifier
from loaders import ClipzooError
from tests.support.clock import FakedClock, WorkerHere
from tests.support.commands import invoke_script, refused
from tests.support.onnx_files import write_model
from tests.support.results import a_row


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakedClock:
    """Moves by 10 ms for each clip that goes through the network, and when somebody sleeps."""
    clock = FakedClock()
    monkeypatch.setattr(open_loop, "time", clock)
    monkeypatch.setattr(benchmarks.serving, "Worker", WorkerHere)
    monkeypatch.setattr(Classifier, "scores", lambda self, clips: clock.sleep(0.01 * len(clips["video"])))
    return clock


def test_rates_are_shares_of_what_a_closed_loop_answers(file: Path, clock: FakedClock) -> None:
    rows: list[Row] = []
    serving(file, seconds=20.0, done=rows.append)
    closed, *others = rows
    assert closed.settings == {"provider": "CPU", "queue": "16", "load": "closed loop"}
    assert closed.clips_per_second == pytest.approx(100) and not closed.latencies
    assert closed.facts["mean_batch"] == 8
    poisson = [row for row in others if "share" in row.facts]
    assert [row.facts["share"] for row in poisson] == list(SHARES)
    for row in poisson:
        assert row.facts["offered_per_second"] == pytest.approx(100 * row.facts["share"])
        assert row.facts["answered"] + row.facts["refused"] == round(2000 * row.facts["share"])
        assert row.facts["answered"] == len(row.latencies) and min(row.latencies) >= 0.0099
    medians = [row.summary()["p50_ms"] for row in poisson]
    assert medians == sorted(medians) and medians[0] < 20 < medians[-1]
    assert poisson[0].facts["refused"] == 0 < poisson[-1].facts["refused"]
    assert poisson[-1].clips_per_second == pytest.approx(100, rel=0.02)
    assert max(poisson[-1].latencies) <= 0.01 * (8 + 16 + 8)  # in hand, waiting, and its own batch
    assert "p99_ms" in poisson[-1].summary() and "p99_ms" not in poisson[0].summary()


def test_the_most_cameras_are_those_whose_windows_come_in_time(file: Path, clock: FakedClock) -> None:
    rows: list[Row] = []
    serving(file, shares=(), windows=2.0, seconds=10.0, queue=64, done=rows.append)
    cameras = {row.facts["cameras"]: row for row in rows[1:]}
    most = tables.most_cameras("levels", rows)
    assert most is not None and most.facts["cameras"] == 50  # 100 clips a second, by 2
    assert all(row.facts["in_time"] == (count <= 50) for count, row in cameras.items())
    assert most.facts["answered"] == 1000 and most.summary()["p95_ms"] < 500
    # A queue with room for one refuses some of as many.
    few: list[Row] = []
    serving(file, shares=(), windows=2.0, seconds=10.0, queue=1, done=few.append)
    most = tables.most_cameras("levels", few)
    assert most is not None and most.facts["cameras"] < 50
    assert any(row.facts["refused"] and not row.facts["in_time"] for row in few[1:])
    # No camera at all where a clip takes longer than a window.
    none: list[Row] = []
    serving(file, shares=(), windows=200.0, seconds=1.0, done=none.append)
    assert tables.most_cameras("levels", none) is None


def test_a_file_that_fails_is_a_labeled_row(file: Path, clock: FakedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Classifier, clips: dict[str, np.ndarray]) -> None:
        raise MemoryError("bad_alloc")

    monkeypatch.setattr(Classifier, "scores", fails)
    rows: list[Row] = []
    serving(file, done=rows.append)
    assert [(row.status, row.batch, row.measured) for row in rows] == [("out of memory", 8, False)]
    assert [line[1:3] for line in list(tables.serving(rows))[1:]] == [
        ("closed loop", "out of memory: MemoryError: bad_alloc")
    ]


def test_the_table_shows_the_most_cameras_alone() -> None:
    facts = {"answered": 10, "refused": 0, "refused_share": 0.0, "mean_batch": 1.5}
    loads = {
        "closed loop": {},
        **{f"Poisson, {share} of it": {"share": share, "offered_per_second": 16 * share} for share in (0.25, 0.5)},
    } | {
        f"{n} cameras, 2 clips/s each": {"cameras": n, "in_time": n < 6, "offered_per_second": 2.0 * n}
        for n in (4, 6, 5)
    }
    rows = [
        a_row(
            batch=8, settings={"provider": "CPU", "queue": "16", "load": load}, facts=facts | more, turns=[[0.5]],
            latencies=[0.02] * {0.25: 9, 0.5: 1000, None: 10}[more.get("share")] if more else [],
        )
        for load, more in loads.items()
    ]  # fmt: skip
    _, *lines = tables.serving(rows)
    assert lines == [
        ("m", "closed loop", "", "16.0", "", "", "", "", "10", "0.0%", "1.5"),
        ("m", "Poisson, 0.25 of it", "4.0", "16.0", "20", "", "", "", "10", "0.0%", "1.5"),
        ("m", "Poisson, 0.5 of it", "8.0", "16.0", "20", "20", "20", "20", "10", "0.0%", "1.5"),
        ("m", "5 cameras, 2 clips/s each", "10.0", "16.0", "20", "20", "", "", "10", "0.0%", "1.5"),
    ]
    (axes,) = plots._serving(rows[1:3]).axes
    median, most, _ = axes.lines
    assert axes.get_yscale() == "log" and (median.get_label(), most.get_label()) == ("m, median", "m, p95")
    assert list(median.get_xdata()) == [0.25, 0.5]
    np.testing.assert_allclose(np.array(median.get_ydata(), float), [20, 20])
    np.testing.assert_allclose(np.array(most.get_ydata(), float), [np.nan, 20])  # of 9 samples there is no p95


def test_the_command_measures_says_and_draws(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "serving-1.jsonl"
    words = ("--models", file, "--quick", "--seconds", 0.05, "--share", 0.5, "--batch", 2, "--json", out)
    done = invoke_script("serving", *words, "--windows", 500)
    assert done.returncode == 0, done.stderr
    assert "Poisson, 0.5 of it" in done.stdout
    results = Results.load(out)
    assert [row.settings["load"] for row in results.rows][:2] == ["closed loop", "Poisson, 0.5 of it"]
    assert all(row.measured and row.batch == 2 and len(row.sha256 or "") == 64 for row in results.rows)
    done = invoke_script("report", "--results", tmp_path)
    assert "| levels | Poisson, 0.5 of it |" in done.stdout
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_sentences(file: Path, tmp_path: Path) -> None:
    to = ("--json", tmp_path / "out.jsonl")
    refused(invoke_script("serving", "--models", "convnet_grub", *to), "did you mean convnet_gru")
    refused(invoke_script("serving", "--models", tmp_path / "none.onnx", "--quick", *to), "no such file")
    refused(invoke_script("serving", "--models", file, "--quick", "--windows", 0, *to), "windows")
    refused(invoke_script("serving", "--models", file, "--quick", "--share", -1, *to), "shares")
    refused(invoke_script("serving", "--models", file, "--provider", "npu", *to), "must be one of cpu, cuda")
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(ClipzooError, match="queue"):
        serving(file, queue=0, done=lambda _: None)
