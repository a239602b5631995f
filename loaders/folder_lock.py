"""A folder that one process at a time writes into."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from loaders.errors import ClipzooError, WriteError

LOCK = ".lock"  # the file in it


def folder_lock(folder: Path, *, busy: str) -> AbstractContextManager[Any]:
    """The lock of a folder, held; the folder is made if need be. Whatever ends the process lets it go.

    Args:
        folder: to hold.
        busy: what to say where another process holds it.

    Raises:
        ClipzooError: another process holds it.
        WriteError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout:
        raise ClipzooError(busy) from None
    except OSError as error:
        raise WriteError(error.filename or folder, error.strerror or str(error)) from None
