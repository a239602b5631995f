"""Decoded clips, and features of them, kept in bounded memory or on disk: a file is decoded once."""

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
from typing import NamedTuple, Protocol

import numpy as np

from loaders.atomic import replacing
from loaders.check import number
from loaders.digest import content
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec

MEMORY_BYTES = 2 * 2**30
_ABANDONED = 3600.0  # seconds after which a half written file is nobody's


class Entry(NamedTuple):
    """What a cache holds: an array, and the frames a second of the file that it is from.

    Of one input of one clip it is uint8 (frames, H, W, channels), of features float32.
    """

    array: np.ndarray
    fps: float = 0.0


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
    return hashlib.sha256(json.dumps(spec.to_dict(), sort_keys=True).encode()).hexdigest()


class MemoryCache:
    """Keeps entries in memory until a limit is reached; what comes after is not kept.

    Nothing is thrown out: an epoch asks for every clip once, so throwing out the oldest would throw out each clip just
    before it is asked for again.

    Args:
        limit: bytes of arrays that are kept, >= 0.

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
            if key in self._entries or self.used + entry.array.nbytes > self.limit:
                return
            self.used += entry.array.nbytes
            entry.array.flags.writeable = False
            self._entries[key] = entry


class DiskCache:
    """Keeps entries as files that are mapped when read: for any number of processes, and hosts that share a disk.

    An entry is `KEY.npy`, which NumPy reads anywhere, and beside it `KEY.json` with its bytes, CRC-32 and frames a
    second. The second is written last: an entry without it is not there, so that a kill costs the clip in hand at most.
    The checksum is verified once in each process; a damaged entry is deleted and made anew. Where the disk is full, or
    cannot be written, a warning says so once, and clips are decoded as without a cache.

    Args:
        folder: made if need be. What older versions kept there, `KEY.clip`, is deleted, and made anew when asked for.

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
        """Whether there is an entry as long as it should be; its array is looked at when it is read."""
        try:
            self._facts(key)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def get(self, key: str) -> Entry | None:
        try:
            facts = self._facts(key)
            array = np.lib.format.open_memmap(self._file(key), mode="r")  # no pickle, no archive
            if key not in self._verified:
                if zlib.crc32(array.data) != facts["crc32"]:
                    raise ValueError("wrong checksum")
                self._verified.add(key)
            return Entry(array.view(np.ndarray), float(facts["fps"]))
        except OSError:  # not there, or not to be had now: no reason to throw it away
            return None
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{self._file(key)}: damaged, and made anew ({error})", stacklevel=2)
            for suffix in (".json", ".npy"):
                with suppress(OSError):
                    self._file(key, suffix).unlink(missing_ok=True)
            return None

    def put(self, key: str, entry: Entry) -> None:
        if self.declined:
            return
        array = np.ascontiguousarray(entry.array)
        facts: dict[str, float] = {"crc32": zlib.crc32(array.data), "fps": entry.fps}
        try:
            # Not forced to the disk: what a power cut leaves, the checksum catches.
            with replacing(self._file(key), sync=False) as partial:
                np.save(partial, array, allow_pickle=False)
                facts["bytes"] = partial.stat().st_size
            with replacing(self._file(key, ".json"), sync=False) as partial:
                partial.write_text(json.dumps(facts))
        except (OSError, ClipzooError) as error:
            self.declined = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
            warnings.warn(
                f"cache {self.folder}: {self.declined}; what it holds is used, new clips are decoded every time",
                stacklevel=2,
            )

    def _file(self, key: str, suffix: str = ".npy") -> Path:
        return self.folder / key[:2] / f"{key}{suffix}"

    def _facts(self, key: str) -> dict[str, float]:
        """What stands beside an array. Raises ValueError, KeyError or TypeError for an entry that is damaged."""
        facts = json.loads(self._file(key, ".json").read_bytes())
        if (size := self._file(key).stat().st_size) != facts["bytes"]:
            raise ValueError(f"{size} bytes, not the {facts['bytes']} that it should have")
        return facts

    def size(self) -> int:
        """Bytes of all entries."""
        total = 0
        for path in self.folder.glob("??/[!.]*.npy"):
            with suppress(OSError):  # another process may have made it anew just now
                total += path.stat().st_size
        return total

    def _sweep(self) -> None:
        """Deletes what a killed process left half written, and what an older version kept."""
        for path in [*self.folder.glob("??/.*.npy"), *self.folder.glob("??/.*.json")]:
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
        for path in self.folder.glob(f"??/{'[0-9a-f]' * 40}.clip"):
            with suppress(OSError):
                path.unlink()
