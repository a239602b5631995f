"""Commands as a person types them, each in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import clipzoo as command

ROOT = Path(__file__).resolve().parents[2]


def clipzoo(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `clipzoo ...`; `environment` is added to this process's."""
    return subprocess.run(
        [sys.executable, "-m", "clipzoo", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `clipzoo ...` in this process: seconds faster, for all that is not about processes."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with patch("sys.argv", ["clipzoo", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            with warnings.catch_warnings():
                command.main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
    return subprocess.CompletedProcess([], status, out.getvalue(), err.getvalue())


def script(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `python -m benchmarks.MODULE ...` in the checkout."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200"}, cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def bash(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in the checkout, with this Python."""
    return subprocess.run(
        ["bash", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=290,
        env={**os.environ, "PYTHON": sys.executable, "COLUMNS": "200", **environment},
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *said: object) -> None:
    """A user's mistake: one sentence, exit status 2, no traceback, no noise of FFmpeg or ONNX Runtime beside it."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert errors[-1].startswith("error:") or "─" in errors[-1], done.stderr
    for words in said:
        assert str(words) in done.stderr, (words, done.stderr)
    assert not [line for line in errors if line.startswith("[") or "@ 0x" in line], done.stderr
