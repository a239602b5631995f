"""Runners in processes of their own, so that each has its own backend, memory and start, and they take turns."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.harness.records import Status
from loaders.errors import ClipzooError

# How the libraries say that memory ran out; they share no exception class.
_OUT_OF_MEMORY = (
    "out of memory", "failed to allocate", "resource_exhausted", "resource exhausted", "bad_alloc", "alloc_failed",
    "memoryerror", "bfcarena", "cuda failure 2", "resourceexhausted", "oom when allocating",
)  # fmt: skip
_held: list[Any] = []  # in a worker's process, its object


class WorkerError(ClipzooError):
    """A runner failed. `status` says how, as a row of the results does."""

    exit_status = 1

    def __init__(self, reason: str, status: Status) -> None:
        super().__init__(reason)
        self.status: Status = status


class Worker:
    """An object that lives in a fresh process; its methods are called from here, one at a time.

    Args:
        make: makes the object, there; a function or class that can be imported.
        arguments: of `make`.
        environment: variables that are set before anything is imported there.
        limit: seconds that anything may take there; then the process is ended.

    Raises:
        WorkerError: the object could not be made.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        limit: float | None = None,
    ) -> None:
        try:
            from pebble import ProcessPool  # of an extra; `clipzoo bench` does without
        except ImportError:
            raise ClipzooError('this needs pebble, which is not installed: pip install "clipzoo[bench]"') from None
        self.limit = limit
        self._pool: Any = ProcessPool(
            max_workers=1, context=get_context("spawn"), initializer=_enter, initargs=(dict(environment or {}),)
        )
        try:
            self._run(_make, make, dict(arguments))
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of the object there and returns what it returned.

        Raises:
            WorkerError: it raised, it took too long, or the process died. What lived there is gone, but for the first.
        """
        return self._run(_call, method, arguments, options)

    def close(self) -> None:
        """Ends the process."""
        self._pool.stop()
        self._pool.join()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        from pebble import ProcessExpired

        try:
            error, value = self._pool.schedule(_attempt, (function, *arguments), timeout=self.limit).result()
        except TimeoutError:
            raise WorkerError(f"not done after {self.limit:g} s", "too slow") from None
        except (ProcessExpired, BrokenExecutor) as end:
            code = getattr(end, "exitcode", None)
            if code == -getattr(signal, "SIGKILL", 9):  # Windows knows no such signal
                reason = "its process was killed, as it happens where memory runs out"
                raise WorkerError(reason, "out of memory") from None
            raise WorkerError(f"its process died with exit status {code}", "failed") from None
        if error is not None:
            raise WorkerError(error, "out of memory" if _of_memory(error) else "failed")
        return value


def _enter(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)  # start-up messages of C++ libraries


def _make(make: Callable[..., Any], arguments: dict[str, Any]) -> None:
    _held[:] = [make(**arguments)]


def _call(method: str, positional: Any, options: dict[str, Any]) -> Any:
    return getattr(_held[0], method)(*positional, **options)


def _attempt(function: Callable[..., Any], *arguments: Any) -> tuple[str | None, Any]:
    try:
        return None, function(*arguments)
    except Exception as error:  # whatever a library raises is a labeled row, not the end of the run
        sys.stderr.flush()
        lines = str(error).strip().splitlines() or [""]
        text = next((line for line in lines if _of_memory(line)), lines[0])
        return (text if isinstance(error, ClipzooError) else f"{type(error).__name__}: {text}"), None


def _of_memory(text: str) -> bool:
    return any(sign in text.lower() for sign in _OUT_OF_MEMORY)
