"""Processes that are measured: they answer, tell what went wrong, and are ended when they hang."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from benchmarks.harness.workers import Worker, WorkerError


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
        time.sleep(3600)

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
    worker = Worker(Odd, {})
    worker.limit = 0.5
    with pytest.raises(WorkerError, match=r"not done after 0\.5 s") as caught:
        worker.call("sleep")
    assert caught.value.status == "too slow"
    worker.close()
