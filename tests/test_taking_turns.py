"""Runners take turns; what fails is a labelled row."""

from __future__ import annotations

import fcntl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.groups import Contestant, Limits, measure
from benchmarks.results import Row, times_as_fast
from benchmarks.runners import Round, Runner

SHORT = Limits(rounds=3, seconds=0.05, most=0.1, turn=0.02)


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
