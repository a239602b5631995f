"""Files are written beside and renamed: whoever reads sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loaders.errors import ClipzooError

# Asked for once: to ask is to change it for all threads for a moment.
os.umask(_UMASK := os.umask(0))


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields a fresh path in the same folder, with the same suffix; renames it to `path` when the block succeeds.

    Args:
        path: the file to write; its folder is made if need be.
        sync: whether the file is on the disk before it gets its name, so that a power cut leaves it whole too.

    Raises:
        ClipzooError: `path` is a folder, or its folder cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ClipzooError(f"{path}: is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise ClipzooError(f"{path}: cannot be written ({error.strerror})") from None
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_UMASK)  # mkstemp makes private files; this one is for whoever may read its folder
        if sync:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text to `path`, whole or not at all; raises ClipzooError as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
