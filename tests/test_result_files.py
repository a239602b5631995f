"""Result files: read as they were written, whole or named; the newest figures of each machine count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness.records import SCHEMA, Results, newest, of_batch
from benchmarks.harness.script import recording
from loaders import ClipzooError
from loaders.terminal import text_console
from tests.support.results import a_row, a_setup


def test_a_result_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    results = Results.start(path, a_setup())
    results.add(a_row())
    results.add(a_row(batch=8, status="out of memory", note="said so", turns=[]))
    found = Results.load(path)
    assert (found.setup, found.rows) == (results.setup, results.rows)
    first, second = (json.loads(line) for line in path.read_text().splitlines()[1:])
    assert first["summary"]["p50_ms"] == pytest.approx(10.5)
    assert first["summary"]["clips_per_second"] == pytest.approx(4 / 0.011)  # turns took 0.011 a round, 0.011, 0.011
    assert first["summary"]["frames_per_second"] == pytest.approx(5 * 4 / 0.011)
    assert second["summary"] == {}
    assert not found.rows[1].measured


def test_a_file_of_the_first_schema_is_read_and_its_figures_made_anew(tmp_path: Path) -> None:
    """There `summary` had clips over the median round: 4 over 10 ms, where 10 rounds took 190 ms."""
    path = tmp_path / "a.jsonl"
    Results.start(path, a_setup()).add(a_row(turns=[[0.01] * 9 + [0.1]] * 6))
    old = path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 1', 1)
    summary = json.loads(old.splitlines()[1])["summary"]
    path.write_text(old.replace(json.dumps(summary), json.dumps({**summary, "clips_per_second": 400.0})))
    (row,) = Results.load(path).rows
    assert row.clips_per_second == row.summary()["clips_per_second"] == pytest.approx(40 / 0.19)


def test_ctrl_c_between_a_line_and_its_row_loses_neither(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt), recording(path, a_setup(), text_console()):
        Results(path, a_setup(), []).add(a_row())  # the line is there, and the recorded rows do not know of it
        raise KeyboardInterrupt
    assert [row.batch for row in Results.load(path).rows] == [4]
    with recording(tmp_path / "b.jsonl", a_setup(), text_console()):
        pass
    assert not (tmp_path / "b.jsonl").exists()  # nothing was measured


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
        ('{"schema": 0, "kind": "inference"}\n', "older schema (0, not 2)"),
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
        ('"turns": [[', '"turns": [[0.0, '),
        ('"turns": [[', '"turns": [[NaN, '),
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
