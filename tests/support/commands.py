"""Commands as a person types them: in this process, which is fast, or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
HANG = 600  # seconds: a guard against hanging, far from what anything takes on a busy machine
SCRIPTS = {
    "accuracy": "suite", "cluster": "cluster", "compare": "show", "export": "suite", "gpu": "app",
    "inference": "suite", "loading": "main", "models": "main", "pipeline": "suite", "real_clips": "main",
    "report": "main", "serving": "suite", "techniques": "main", "timeline": "main", "training": "suite",
    "two_stream": "app",
}  # fmt: skip

Done = subprocess.CompletedProcess[str]


def invoke(*arguments: object, columns: int = 160) -> Done:
    """Runs `clipzoo ...` in this process: seconds faster, for all that is not about processes."""
    from clipzoo import main

    return _here("clipzoo", main, arguments, columns=columns)


def clipzoo(*arguments: object, **environment: str) -> Done:
    """Runs `clipzoo ...` in a process of its own; `environment` is added to this process's."""
    command = [sys.executable, "-m", "clipzoo", *map(str, arguments)]
    return _process(command, {"COLUMNS": "160", **environment})


def invoke_script(module: str, *arguments: object) -> Done:
    """Runs `python -m benchmarks.MODULE ...` in this process."""
    from benchmarks.harness.script import run_group, run_script

    found = getattr(import_module(f"benchmarks.{module}"), SCRIPTS[module])
    run = run_group if SCRIPTS[module] == "app" else run_script
    return _here(module, lambda: run(found), arguments, columns=200)


def script(module: str, *arguments: object) -> Done:
    """Runs `python -m benchmarks.MODULE ...` in the checkout, in a process of its own."""
    return _process([sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)], {"COLUMNS": "200"})


def bash(*arguments: object, timeout: float = HANG, **environment: str) -> Done:
    """Runs a shell script in the checkout, with this Python."""
    environment = {"PYTHON": sys.executable, "COLUMNS": "200", **environment}
    return _process(["bash", *map(str, arguments)], environment, timeout=timeout)


def wait_for(what: Callable[[], Any]) -> Any:
    """The first answer that is not empty; a guard against hanging, and no measure."""
    end = time.monotonic() + HANG
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def refused(done: Done, *said: object) -> None:
    """A user's mistake: one sentence, exit status 2, no traceback, no noise of FFmpeg or ONNX Runtime beside it."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert errors[-1].startswith("error:") or "─" in errors[-1], done.stderr
    for words in said:
        assert str(words) in done.stderr, (words, done.stderr)
    assert not [line for line in errors if line.startswith("[") or "@ 0x" in line], done.stderr


def _process(command: list[str], environment: dict[str, str], *, timeout: float = HANG) -> Done:
    return subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def _here(name: str, main: Callable[[], Any], arguments: tuple[object, ...], *, columns: int) -> Done:
    """Runs a command's main function; its output is that of this process's, C++ libraries included."""
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with ExitStack() as stack:
            stack.enter_context(_descriptor(1, out.fileno()))
            stack.enter_context(_descriptor(2, err.fileno()))
            for patched in (
                patch.object(sys, "argv", words), patch.object(sys, "stdout", out), patch.object(sys, "stderr", err),
                patch.dict(os.environ, COLUMNS=str(columns)), warnings.catch_warnings(),
            ):  # fmt: skip
                stack.enter_context(patched)
            status = _status(main)
            out.flush(), err.flush()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(words, status, *texts)


def _status(main: Callable[[], Any]) -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _descriptor(number: int, target: int) -> Iterator[None]:
    """Has what is written to a file descriptor go elsewhere."""
    kept = os.dup(number)
    try:
        os.dup2(target, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
