"""The conversion as a process of its own: started, heard, and cleaned up after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from export.parity import ParityError
from loaders.atomic import replacing
from loaders.errors import ClipzooError, WriteError

PREFIX = "clipzoo-export-"
ELSEWHERE = "the variable TMPDIR names another folder for what an export needs meanwhile"
STALE = 86400  # seconds; no conversion takes a day


@contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder; and those that killed processes left behind are taken away."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another's, or just gone
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        raise ClipzooError(f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); {ELSEWHERE}") from None
    with made as folder:
        yield Path(folder)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields a path to write in the place of `path`, in the temporary folder; says where else it can be."""
    try:
        with replacing(path, sync=False) as partial:
            yield partial
    except WriteError as error:
        raise ClipzooError(f"{error}; {ELSEWHERE}") from error


def convert_in_subprocess(folder: Path) -> dict[str, Any]:
    """Runs `export.converter` on `folder/request.json`: under TensorFlow, without a GPU, with nothing imported before.

    Returns:
        Its answer: `props`, the metadata of `folder/model.onnx`, and `warnings`.

    Raises:
        ParityError, ClipzooError: what it found to be wrong.
    """
    here = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),  # what libraries leave there goes with it
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
    }
    alive, held = os.pipe()  # `held` closes with this process, whatever ends it
    try:
        # -P: a folder `export` or `zoo` where the user happens to stand must not be taken for ours.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "export.converter", str(folder)],
            env=environment,
            stdin=alive,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    finally:
        os.close(alive)
        os.close(held)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        killed = "; it was killed, which the system does where memory is short" if done.returncode == -9 else ""
        raise ClipzooError(
            f"the conversion ended with exit status {done.returncode} and no answer{killed}; its last words:\n"
            f"{done.stderr[-2000:]}"
        ) from None
    if "error" in answer:
        raise {"parity": ParityError}.get(answer["kind"], ClipzooError)(answer["error"])
    return answer
