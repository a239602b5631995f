"""Runners take turns; what fails is a labeled row. Measured with a faked clock: no figure depends on the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.records import Row, times_as_fast
from benchmarks.harness.runners import Round, Runner
from tests.support.clock import Sleeper, fake

SHORT = Limits(rounds=3, seconds=0.05, most=0.1, turn=0.02)


def test_runners_take_turns_and_failures_are_labeled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fake(monkeypatch)

    def contestant(name: str, **arguments: Any) -> Contestant:
        row = Row(model="m", runner=name, batch=0)
        return Contestant(row=row, make=Sleeper, arguments={"clock": clock, **arguments})

    rows: list[Row] = []
    measure(
        [
            contestant("steady", seconds=0.002),
            contestant("twice", seconds=0.004),
            contestant("no memory at 4", seconds=0.001, fails_at=4),
            contestant("slow at 4", seconds=0.08),
            contestant("slow in the end", seconds=0.01, grows=0.04),
            contestant("no such option", minutes=1, seconds=0.001),
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
    assert found["slow at 4", 4].seconds[0] == pytest.approx(0.32)
    for batch in (1, 4, 8):
        row = found["steady", batch]
        assert len(row.seconds) >= SHORT.rounds
        assert row.seconds == pytest.approx([0.002 * batch] * len(row.seconds))
        uncounted = len(row.turns) * 0.002 * batch  # the first of each turn
        assert sum(row.seconds) + uncounted >= SHORT.seconds
        assert {"first_run_seconds", "peak_memory_mib"} <= set(row.facts)
        assert times_as_fast(row, found["twice", batch]).value == pytest.approx(2)


class Hoarder(Runner):
    """Needs, from batch 4 on, all the memory that there is."""

    def __init__(self, *, name: str, held: set[str]) -> None:
        super().__init__()
        self.name, self.held = name, held

    def __del__(self) -> None:
        self.held.discard(self.name)

    def prepare(self, batch: int) -> Round:
        if batch >= 4:
            if self.held - {self.name}:
                raise MemoryError
            self.held.add(self.name)
        return lambda: None


def test_whom_memory_runs_out_beside_others_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fake(monkeypatch)
    rows: list[Row] = []
    held: set[str] = set()

    class Timed(Hoarder):
        def prepare(self, batch: int) -> Round:
            super().prepare(batch)
            return lambda: clock.sleep(0.001)

    contestants = [
        Contestant(row=Row(model="m", runner=name, batch=0), make=Timed, arguments={"name": name, "held": held})
        for name in ("first", "second")
    ]
    measure(contestants, [1, 4, 8], limits=SHORT, done=rows.append)
    assert [(row.runner, row.batch, row.status) for row in rows] == [
        ("first", 1, "ok"), ("second", 1, "ok"), ("first", 4, "ok"), ("first", 8, "ok"),
        ("second", 4, "ok"), ("second", 8, "ok"),
    ]  # fmt: skip
    assert ["alone" in row.note for row in rows] == [False, False, False, False, True, True]


def test_throughput_is_clips_over_the_time_that_passed_and_slow_rounds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round in ten takes 90 ms longer: the median round hides it, the clock on the wall does not."""
    clock = fake(monkeypatch)
    # Each turn has one uncounted round and ten that count, one of them slow.
    runner = Sleeper(clock=clock, seconds=0.005, slow=0.09, every=11)
    runner.start(2)
    runner.rounds = 5
    turns, elapsed = [], []
    for _ in range(6):
        turns.append(runner.turn(0.185))
        elapsed.append(sum(turns[-1]))
    assert [len(turn) for turn in turns] == [10] * 6
    assert elapsed == pytest.approx([0.19] * 6)
    row = Row(model="m", runner="r", batch=2, frames=5, turns=turns)
    figures = row.summary()
    assert figures["p50_ms"] == pytest.approx(10)
    assert figures["p95_ms"] > 50
    assert figures["clips_per_second"] == row.clips_per_second == pytest.approx(60 * 2 / sum(elapsed))
    assert figures["frames_per_second"] == pytest.approx(5 * 60 * 2 / sum(elapsed))
    steady = Row(model="m", runner="s", batch=2, turns=[[0.01] * 10] * 6)
    assert times_as_fast(steady, row).value == pytest.approx(1.9)


def test_the_rounds_of_a_turn_follow_each_other_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of the clock: every count of it is inside a round, so that none of the time that passed is lost."""
    clock = fake(monkeypatch)
    read: list[float] = []

    def perf_counter() -> float:
        clock.now += 0.25  # as if the machine did something else whenever the clock was looked at
        read.append(clock.now)
        return clock.now

    runner = Sleeper(clock=clock, seconds=1.0)
    runner.start(1)
    monkeypatch.setattr(clock, "perf_counter", perf_counter)
    samples = runner.turn(10.0)
    assert sum(samples) == pytest.approx(read[-1] - read[0])
    assert len(read) == len(samples) + 1  # once before, and once after each round
