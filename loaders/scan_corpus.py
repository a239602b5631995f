"""Every file of an index decoded once, here or by workers of Ray; what is done is kept beside the file of the scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from loaders.index import Clip, ClipIndex
from loaders.parquet_parts import ParquetParts, clips_digest, fill_parts
from loaders.scanning import Scan, Scanned, scan
from loaders.spread import LOST, require_ray

_LEAST = 32  # files that a worker is given together: it starts processes for them


class ScanWorker:
    """Scans chunks of files, as `scan` does; see `loaders.spread.Worker`. Arguments are those of `scan`."""

    def __init__(self, root: Path, *, workers: int, time_limit: float, threads: int | None) -> None:
        self._root, self._workers, self._time_limit = root, workers, time_limit

    def __call__(self, items: Sequence[str]) -> list[dict[str, str]]:
        found = scan(_files(self._root, items), workers=self._workers, time_limit=self._time_limit)
        return [_row(scanned) for scanned in found.files]


def scan_corpus(
    index: ClipIndex,
    *,
    ray: str | None = None,
    ray_workers: int | None = None,
    keep: Path | None = None,
    workers: int = 2,
    time_limit: float = 60.0,
    advance: Callable[[int], object] = lambda count: None,
) -> Scan:
    """What `scan` gives, with what is done kept, and by workers that see the same files where `ray` says where.

    Args:
        index: see `scan`, as for `time_limit`.
        ray: where they are; None: here; see `loaders.spread.map_chunks`.
        ray_workers: how many.
        keep: the file that the scan will be written to: what is done lies beside it, so that an interrupted scan goes
            on. `loaders.parquet_parts.remove_parts` deletes that. Left out, nothing is kept.
        workers: processes of each.
        advance: called with the number of files that are done, to show progress.

    Raises:
        WriteError: the disk is full; what is done stays.
        ClipzooError: as `scan` and `loaders.spread.map_chunks`; what is beside `keep` is of other files.
    """
    if ray is not None:
        require_ray(ray)
    import pyarrow as pa

    names = list(dict.fromkeys(clip.file for clip in index))
    asked = {
        "answers": "scan",
        "time_limit": str(time_limit),
        "clips": clips_digest(_files(index.root, names), states=False),
    }
    make = partial(ScanWorker, index.root.absolute(), workers=workers, time_limit=time_limit)
    with TemporaryDirectory() as folder:
        parts = ParquetParts(
            keep or Path(folder) / "scan", columns={"scanned": pa.string()}, texts=asked, count=len(names), least=_LEAST
        )
        with parts.held():
            fill_parts(parts, names, make, lost=_lost, ray=ray, ray_workers=ray_workers, advance=advance)
        held = [text for table in parts.tables() for text in table["scanned"].to_pylist()]
    found = Scan(index.root, tuple(Scanned(**json.loads(text)) for text in held))
    known = found.known(index)
    changed = _files(index.root, [name for name in names if name not in known])  # since an interrupted scan saw them
    again = {scanned.file: scanned for scanned in scan(changed, workers=workers, time_limit=time_limit).files}
    return Scan(index.root, tuple(again.get(scanned.file, scanned) for scanned in found.files))


def _files(root: Path, names: Sequence[str]) -> ClipIndex:
    return ClipIndex(root, tuple(Clip(name) for name in names))


def _row(scanned: Scanned) -> dict[str, str]:
    return {"scanned": json.dumps(asdict(scanned))}


def _lost(file: str) -> dict[str, str]:
    return _row(Scanned(file=file, problem=LOST))
