"""Files are written beside and renamed: whoever reads sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loaders.errors import ClipzooError, WriteError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # full, or failing
# Asked for once: to ask is to change it for all threads for a moment.
os.umask(_UMASK := os.umask(0))


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields a fresh path in the same folder, with the same suffix; renames it to `path` when the block succeeds.

    Args:
        path: the file to write; its folder is made if need be.
        sync: whether the file is on the disk before it gets its name, so that a power cut leaves it whole too.

    Raises:
        ClipzooError: `path` is a folder.
        WriteError: its folder cannot be written, or the disk is full or fails while the block writes; a file that was
            there stays as it was.
    """
    path = Path(path)
    if path.is_dir():
        raise ClipzooError(f"{path}: is a folder; give the name of a file")
    try:
        _make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise WriteError(path, getattr(error, "strerror", None) or str(error)) from None
    os.close(handle)
    partial = Path(name)
    try:
        try:
            yield partial
        except ClipzooError:
            raise
        except Exception as error:
            number = _disk_error(error)
            if number is None:
                raise
            raise WriteError(path, os.strerror(number)) from error
        try:
            partial.chmod(0o666 & ~_UMASK)  # mkstemp makes private files; this one is for whoever may read its folder
            if sync:
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            raise WriteError(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):  # what was wrong before is said, not this
            partial.unlink(missing_ok=True)


def require_writable(path: str | Path) -> None:
    """Says before the work what `replacing` would say after it: `path` is a folder, or its folder cannot be written.

    Raises:
        ClipzooError: so it is. The folder is made if need be.
    """
    path = Path(path)
    if path.is_dir():
        raise ClipzooError(f"{path}: is a folder; give the name of a file")
    try:
        _make_folder(path.parent)
    except OSError as error:
        raise ClipzooError(f"{path}: cannot be written ({error.strerror})") from None
    if not os.access(path.parent, os.W_OK):
        raise ClipzooError(f"{path}: cannot be written (Permission denied)")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # "File exists" would be of another file than the one that it is said of
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _disk_error(error: BaseException | None) -> int | None:
    """The system's number of what the disk said, where that is behind an error: libraries raise others on top of it."""
    while error is not None:
        # h5py has the number in its text, some of its errors there alone.
        told = re.search(r"errno = (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) and error.errno else int(told[1]) if told else None
        if number in _DISK:
            return number
        error = error.__cause__ or error.__context__
    return None


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text to `path`, whole or not at all; raises ClipzooError as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
