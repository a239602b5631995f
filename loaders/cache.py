"""Decoded clips kept in bounded memory or on disk, so that a file is decoded once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import warnings
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from loaders.atomic import replacing
from loaders.check import number
from loaders.digest import content
from loaders.errors import ClipzooError
from loaders.schema import worded_first
from loaders.spec import ClipSpec

MEMORY_BYTES = 2 * 2**30
MAGIC = b"clipzoo1"
_ALIGN = 64
_MOST_HEADER = 4096  # bytes; more is no header of ours
_ABANDONED = 3600.0  # seconds after which a half written file is nobody's


class Entry(NamedTuple):
    """What a cache holds of one input of one clip: uint8 (frames, H, W, channels), and its file's frames a second."""

    canvas: np.ndarray
    fps: float


class Cache(Protocol):
    """Holds entries by key. `get` gives None for what is not there; `put` may decline."""

    def get(self, key: str) -> Entry | None: ...

    def put(self, key: str, entry: Entry) -> None: ...


def entry_key(
    path: str | Path, spec: ClipSpec, *, span: tuple[float, float] | None, split: str, by_content: bool = False
) -> str:
    """The name of an entry: of the file, the spec, the span and the split.

    Args:
        path: the video file. It is known by its absolute path, bytes and time of change.
        spec: of the clip.
        span: of the file.
        split: as which it is sampled.
        by_content: know the file by what is in it instead, wherever it lies, and after it was copied: worth its reading
            where an entry takes seconds to compute.
    """
    try:
        identity = content(Path(path)) if by_content else _place(Path(path))
    except (OSError, ValueError):  # reading it will say so
        identity = os.fspath(path)
    text = f"{identity}\0{_digest(spec)}\0{span}\0{split}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _place(path: Path) -> str:
    stat = path.stat()
    return f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"


@lru_cache(maxsize=64)
def _digest(spec: ClipSpec) -> str:
    # In the words of schema 1, so that the caches of before go on serving: of a large set they took days.
    text = json.dumps(worded_first(spec.to_dict()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class MemoryCache:
    """Keeps entries in memory until a limit is reached; what comes after is not kept.

    Nothing is thrown out: an epoch asks for every clip once, so throwing out the oldest would throw out each clip just
    before it is asked for again.

    Args:
        limit: bytes of pixels that are kept, >= 0.

    Raises:
        ClipzooError: a limit below 0.
    """

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        if limit != math.inf:
            number("cache limit", limit, least=0, unit="bytes")
        self.limit = limit
        self.used = 0
        self._entries: dict[str, Entry] = {}
        self._lock = Lock()

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        with self._lock:
            if key in self._entries or self.used + entry.canvas.nbytes > self.limit:
                return
            self.used += entry.canvas.nbytes
            entry.canvas.flags.writeable = False
            self._entries[key] = entry


class DiskCache:
    """Keeps entries as files that are mapped when read: for any number of processes, and hosts that share a disk.

    A file is `clipzoo1`, the length of a JSON header (8 bytes, little endian), the header (shape, fps, crc32), padding
    to 64 bytes, and the pixels. It is written beside and renamed, so that a kill costs the clip in hand at most. Its
    checksum is verified once in each process; a damaged file is deleted and made anew. Where the disk is full, or
    cannot be written, a warning says so once, and clips are decoded as without a cache.

    Args:
        folder: made if need be.

    Raises:
        ClipzooError: `folder` is a file, or cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # a name with a null character is a ValueError
            why = getattr(error, "strerror", None) or error
            raise ClipzooError(f"{folder}: cannot be a cache folder ({why})") from None
        self.declined = ""  # why new clips are not kept any more
        self._verified: set[str] = set()
        self._sweep()

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry as long as it should be; its pixels are looked at when it is read."""
        try:
            with self._file(key).open("rb") as file:
                _open(file)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def get(self, key: str) -> Entry | None:
        path = self._file(key)
        try:
            with path.open("rb") as file:
                header, start = _open(file)
                canvas = np.memmap(file, np.uint8, "r", start, tuple(header["shape"]))
            if key not in self._verified:
                if zlib.crc32(canvas.data) != header["crc32"]:
                    raise ValueError("wrong checksum")
                self._verified.add(key)
            return Entry(canvas.view(np.ndarray), float(header["fps"]))
        except OSError:  # not there, or not to be had now: no reason to throw it away
            return None
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path}: damaged, and made anew ({error})", stacklevel=2)
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def put(self, key: str, entry: Entry) -> None:
        if self.declined:
            return
        canvas = np.ascontiguousarray(entry.canvas)
        header = json.dumps({"shape": canvas.shape, "fps": entry.fps, "crc32": zlib.crc32(canvas.data)}).encode()
        start = MAGIC + len(header).to_bytes(8, "little") + header
        try:
            # Not forced to the disk: what a power cut leaves, the checksum catches.
            with replacing(self._file(key), sync=False) as partial, partial.open("wb") as file:
                file.write(start.ljust(_start(len(header)), b"\0"))
                file.write(canvas.data)
        except (OSError, ClipzooError) as error:
            self.declined = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
            warnings.warn(
                f"cache {self.folder}: {self.declined}; what it holds is used, new clips are decoded every time",
                stacklevel=2,
            )

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.clip"

    def size(self) -> int:
        """Bytes of all entries."""
        total = 0
        for path in self.folder.glob("??/[!.]*.clip"):
            with suppress(OSError):  # another process may have made it anew just now
                total += path.stat().st_size
        return total

    def _sweep(self) -> None:
        """Deletes what a killed process left half written."""
        for path in self.folder.glob("??/.*.clip"):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
            except OSError:
                continue


def _open(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header of an entry, and where its pixels begin. Raises ValueError, KeyError or TypeError for what is none."""
    if file.read(8) != MAGIC:
        raise ValueError("not a clip")
    length = int.from_bytes(file.read(8), "little")
    if length > _MOST_HEADER:
        raise ValueError("no header")
    header = json.loads(file.read(length))
    size = _start(length) + math.prod(header["shape"])
    if os.fstat(file.fileno()).st_size != size:
        raise ValueError(f"not the {size} bytes that it should have")
    return header, _start(length)


def _start(length: int) -> int:
    """Where the pixels begin behind a header of `length` bytes."""
    return -(-(16 + length) // _ALIGN) * _ALIGN
