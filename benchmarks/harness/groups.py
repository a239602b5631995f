"""Runners that take turns, so that a busy neighbor slows all of them and their ratios stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from benchmarks.harness.machine import Gpu, gpu
from benchmarks.harness.records import Row
from benchmarks.harness.statistics import FEWEST, SETTLED
from benchmarks.harness.workers import Worker, WorkerError

STATES = 3  # of the GPU, for each contestant and batch


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One that takes turns with others.

    Attributes:
        row: what its rows have in common; batch, turns and facts are filled in.
        make: its `benchmarks.harness.runners.Runner`, made in a process of its own.
        arguments: of `make`.
        environment: of that process.
        once: whether it is measured with the first batch size alone.
    """

    row: Row
    make: Callable[..., Any]
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    once: bool = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to measure one batch size.

    Attributes:
        rounds: at the least, while there is time, in as many turns as an interval needs.
        few: at the least, when `most` seconds have passed.
        seconds: at the least, of all turns together.
        interval: of the median turn's throughput, as a share of it, at which it is settled.
        most: seconds after which it is not waited for any longer.
        round_seconds: a warm round that takes longer is a labeled row, and ends that runner's sweep.
        turn: seconds of a turn.
        pause: seconds before a turn: threads of whoever ran before go on spinning for a while.
        patience: seconds that anything else may take: a start with its compilation, a turn.
    """

    rounds: int = 10
    few: int = 10
    seconds: float = 5.0
    interval: float = SETTLED
    most: float = 5.5
    round_seconds: float = 10.0
    turn: float = 0.5
    pause: float = 0.05
    patience: float = 300.0


def measure(
    contestants: Sequence[Contestant],
    batches: Sequence[int],
    *,
    limits: Limits,
    done: Callable[[Row], object],
    on_gpu: bool = False,
) -> None:
    """Measures contestants side by side, batch size by batch size.

    One for whom memory runs out beside the others is measured again when they have gone, alone.

    Args:
        contestants: who take turns; the first is the one that the others are compared with, and goes on until all are
            settled.
        batches: sizes, ascending.
        limits: how long.
        done: called with each row as soon as its figures are whole.
        on_gpu: whether to note the GPU's memory.
    """
    for starved, left in _side_by_side(contestants, batches, limits, done, on_gpu):
        row = replace(starved.row, note="measured alone: beside the others memory ran out")
        _side_by_side([replace(starved, row=row)], left, limits, done, on_gpu)


def _side_by_side(
    contestants: Sequence[Contestant],
    batches: Sequence[int],
    limits: Limits,
    done: Callable[[Row], object],
    on_gpu: bool,
) -> list[tuple[Contestant, Sequence[int]]]:
    """Those whom memory ran out while others held some of it, with the batch sizes that are left of their sweep."""
    entries: list[_Entry] = []
    starved: list[tuple[Contestant, Sequence[int]]] = []

    def failed(entry: _Entry, batch: int, error: WorkerError) -> None:
        if error.status == "out of memory" and any(other.alive for other in entries):
            starved.append((entry.contestant, [size for size in batches if size >= batch]))
        else:
            done(replace(entry.row(batch), status=error.status, note=str(error)))

    try:
        for contestant in contestants:
            entry = _Entry(contestant, on_gpu, failed)
            if entry.attempt(entry.begin, batches[0], limits):
                entries.append(entry)
        for batch in batches:
            entries = [entry for entry in entries if entry.attempt(entry.start, batch, limits)]
            _take_turns(entries, batch, limits)
            entries = [entry for entry in entries if entry.alive]
            for entry in entries:
                entry.attempt(lambda *given, e=entry: done(e.finish(*given)), batch, limits)
            for entry in [entry for entry in entries if entry.contestant.once]:
                entry.close()
                entries.remove(entry)
    finally:
        for entry in entries:
            entry.close()
    return starved


def _take_turns(entries: list[_Entry], batch: int, limits: Limits) -> None:
    while any(entry.alive and not entry.settled(limits) for entry in entries):
        for place, entry in enumerate(entries):
            if entry.alive and (place == 0 or not entry.settled(limits)):
                entry.attempt(entry.turn, batch, limits)


class _Entry:
    """A contestant at work."""

    def __init__(
        self, contestant: Contestant, on_gpu: bool, failed: Callable[[_Entry, int, WorkerError], object]
    ) -> None:
        self.contestant = contestant
        self.on_gpu = on_gpu
        self.failed = failed
        self.worker: Worker | None = None
        self.turns: list[list[float]] = []
        self.spent = 0.0
        self.gpu_mib = 0.0
        self.states: list[Gpu] = []

    @property
    def alive(self) -> bool:
        return self.worker is not None

    def attempt(self, step: Callable[[int, Limits], object], batch: int, limits: Limits) -> bool:
        """Does a step; where it fails, the sweep of this contestant ends."""
        try:
            step(batch, limits)
        except WorkerError as error:
            self.close()
            self.failed(self, batch, error)
            return False
        return True

    def begin(self, batch: int, limits: Limits) -> None:
        contestant, used = self.contestant, self._gpu_used()
        self.worker = Worker(
            contestant.make, contestant.arguments, environment=contestant.environment, limit=limits.patience
        )
        self.gpu_mib += self._gpu_used() - used

    def start(self, batch: int, limits: Limits) -> None:
        assert self.worker is not None
        self.turns, self.spent, self.states = [], 0.0, []
        used = self._gpu_used()
        seconds = self.worker.call("start", batch)
        self.gpu_mib += self._gpu_used() - used  # nobody else computes while this one starts
        if seconds > limits.round_seconds:  # with its compilation, perhaps
            seconds = min(self.worker.call("turn", 0.0))
        if seconds > limits.round_seconds:
            self.turns = [[seconds]]
            raise _too_slow(seconds, limits)

    def turn(self, batch: int, limits: Limits) -> None:
        assert self.worker is not None
        time.sleep(limits.pause)
        begun = time.perf_counter()
        seconds = self.worker.call("turn", limits.turn)
        self.turns.append(seconds)
        self.spent += time.perf_counter() - begun
        found = gpu() if self.on_gpu and len(self.states) < STATES else None
        self.states += [found] if found else []
        if min(seconds) > limits.round_seconds:
            raise _too_slow(min(seconds), limits)

    def settled(self, limits: Limits) -> bool:
        late = self.spent >= limits.most
        least = min(limits.few, limits.rounds) if late else limits.rounds
        if sum(map(len, self.turns)) < least or len(self.turns) < min(least, FEWEST) or self.spent < limits.seconds:
            return False
        return late or self.row(0).round_seconds.width < limits.interval

    def finish(self, batch: int, limits: Limits) -> Row:
        assert self.worker is not None
        facts = {**self.contestant.row.facts, **self.worker.call("finish")}
        if self.on_gpu:
            facts["gpu_memory_mib"] = self.gpu_mib
        if self.states:  # read right after the first turns
            for name in ("clock_mhz", "power_watts", "celsius"):
                facts[f"gpu_{name}"] = median(getattr(state, name) for state in self.states)
        row = replace(self.row(batch), facts=facts)
        width = row.round_seconds.width
        note = "" if width < limits.interval else f"not settled: the median turn's interval is {width:.1%} wide"
        return replace(row, note=row.note or note)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def row(self, batch: int) -> Row:
        """What is known of it so far."""
        return replace(self.contestant.row, batch=batch, turns=self.turns)

    def _gpu_used(self) -> float:
        found = gpu() if self.on_gpu else None
        return found.used_mib if found else 0.0


def _too_slow(seconds: float, limits: Limits) -> WorkerError:
    return WorkerError(f"a round takes {seconds:.1f} s, over the limit of {limits.round_seconds:g} s", "too slow")
