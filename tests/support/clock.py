"""A clock that only moves when it is told to, and runners that need no process: measuring without waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import benchmarks.harness.groups
import benchmarks.harness.runners
from benchmarks.harness.runners import Round, Runner
from benchmarks.harness.workers import WorkerError


class FakedClock:
    """In the place of the module `time`.

    Attributes:
        now: seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class WorkerHere:
    """A `benchmarks.harness.workers.Worker` whose object lives in this process."""

    def __init__(
        self,
        make: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        limit: float | None = None,
    ) -> None:
        self.object = self._attempt(make, **arguments)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._attempt(getattr(self.object, method), *arguments, **options)

    def close(self) -> None:
        del self.object

    def _attempt(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            status = "out of memory" if isinstance(error, MemoryError) else "failed"
            raise WorkerError(f"{type(error).__name__}: {error}", status) from None


class Sleeper(Runner):
    """Rounds of a known length on a faked clock; some batches fail, some grow slower, some rounds are slow.

    Args:
        clock: what moves.
        seconds: of a round, for each clip.
        fails_at: the batch size for which memory runs out.
        grows: seconds that a round takes longer than the one before, for each clip.
        slow: seconds that every `every`-th round takes longer.
        every: see `slow`.
    """

    def __init__(
        self,
        *,
        clock: FakedClock,
        seconds: float,
        fails_at: int = 0,
        grows: float = 0.0,
        slow: float = 0.0,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.clock, self.seconds, self.fails_at, self.grows = clock, seconds, fails_at, grows
        self.slow, self.every = slow, every
        self.rounds = 0

    def prepare(self, batch: int) -> Round:
        if batch == self.fails_at:
            raise MemoryError
        return lambda: self.sleep(batch)

    def sleep(self, batch: int) -> None:
        self.rounds += 1
        self.clock.sleep(self.seconds * batch + (self.slow if self.rounds % self.every == 0 else 0.0))
        self.seconds += self.grows


def fake(monkeypatch: pytest.MonkeyPatch) -> FakedClock:
    """Has groups and runners measure with the clock returned, in this process."""
    clock = FakedClock()
    for module in (benchmarks.harness.groups, benchmarks.harness.runners):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(benchmarks.harness.groups, "Worker", WorkerHere)
    return clock
