"""Runners in processes of their own, so that each has its own backend, memory and start, and they take turns."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness.records import Status
from loaders.errors import ClipzooError

_SIGKILLED = -9  # as `multiprocessing` has it; Windows knows no such signal
# How the libraries say that memory ran out; they share no exception class.
_OUT_OF_MEMORY = (
    "out of memory", "failed to allocate", "resource_exhausted", "resource exhausted", "bad_alloc", "alloc_failed",
    "memoryerror", "bfcarena", "cuda failure 2", "resourceexhausted", "oom when allocating",
)  # fmt: skip


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
        self.limit = limit
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, dict(arguments), dict(environment or {})), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            self._receive()
        except WorkerError:
            self.close()
            raise

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of the object there and returns what it returned.

        Raises:
            WorkerError: it raised, it took too long, or the process died.
        """
        try:
            self._pipe.send((method, arguments, options))
        except OSError:
            raise self._dead() from None
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(self.limit):
                raise WorkerError(f"not done after {self.limit:g} s", "too slow")
            error, value = self._pipe.recv()
        except (EOFError, OSError):
            raise self._dead() from None
        if error is not None:
            raise WorkerError(error, "out of memory" if _of_memory(error) else "failed")
        return value

    def _dead(self) -> WorkerError:
        self._process.join(10)
        status = self._process.exitcode
        killed = status == _SIGKILLED
        why = "was killed, as it happens where memory runs out" if killed else f"died with exit status {status}"
        return WorkerError(f"its process {why}", "out of memory" if killed else "failed")


def _serve(pipe: Connection, make: Callable[..., Any], arguments: dict[str, Any], environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that holds the results
    os.environ.update(environment)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)  # start-up messages of C++ libraries
        answer = _attempt(make, (), arguments)
        served = answer[1]
        pipe.send((answer[0], None))
        while answer[0] is None or served is not None:
            try:
                method, positional, options = pipe.recv()
            except EOFError:
                return
            answer = _attempt(getattr(served, method), positional, options)
            pipe.send(answer)


def _attempt(function: Callable[..., Any], positional: Any, options: dict[str, Any]) -> tuple[str | None, Any]:
    try:
        return None, function(*positional, **options)
    except Exception as error:  # whatever a library raises is a labelled row, not the end of the run
        sys.stderr.flush()
        lines = str(error).strip().splitlines() or [""]
        text = next((line for line in lines if _of_memory(line)), lines[0])
        return (text if isinstance(error, ClipzooError) else f"{type(error).__name__}: {text}"), None


def _of_memory(text: str) -> bool:
    return any(sign in text.lower() for sign in _OUT_OF_MEMORY)
