"""A disk cache filled beforehand: what is missing of each clip, and how large that will be."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from math import prod
from pathlib import Path

import cv2

from loaders.cache import DiskCache
from loaders.canvas import canvas_key, canvas_size, read_canvases
from loaders.errors import ClipzooError, VideoError
from loaders.index import Clip, ClipIndex
from loaders.opening import open_video, require_file
from loaders.sampling import draws_for, is_random
from loaders.spans import Span, frame_span
from loaders.spec import ClipSpec
from loaders.split import Split
from loaders.spread import LOST, map_chunks

_CHUNK = 16  # clips that a worker is given together, at least
_LOOKED_AT = 200  # clips from which the size of all is estimated


def fill_cache(
    cache: DiskCache, path: str | Path, specs: Sequence[ClipSpec], *, span: Span | None, split: Split
) -> int:
    """Puts what is missing of one clip into a cache, without reading what is there. Returns how many entries it made.

    Raises:
        VideoError: no clip can be read; the message names the file.
    """
    missing = [spec for spec in specs if canvas_key(path, spec, span=span, split=split) not in cache]
    if missing:
        draws = [0.0] * draws_for(missing)  # any: every place is put in
        read_canvases(path, missing, span=span, split=split, draws=draws, cache=cache)
    return len(missing)


class FillWorker:
    """Fills chunks of clips in, side by side; see `loaders.spread.Worker`. The other arguments are of `fill_cache`."""

    def __init__(
        self, folder: Path, specs: Sequence[ClipSpec], splits: Sequence[Split], *, workers: int, threads: int | None
    ) -> None:
        self._cache, self._specs, self._splits, self._workers = DiskCache(folder), specs, splits, workers

    def __call__(self, items: Sequence[tuple[Path, Span | None]]) -> list[int | str]:
        """How many entries were made of each clip, or why it cannot be read."""
        with ThreadPoolExecutor(self._workers) as pool:
            return list(pool.map(self._fill, items))

    def _fill(self, item: tuple[Path, Span | None]) -> int | str:
        path, span = item
        try:
            made = sum(fill_cache(self._cache, path, self._specs, span=span, split=split) for split in self._splits)
        except VideoError as error:
            return error.reason
        if self._cache.declined:
            raise ClipzooError(f"{self._cache.folder}: {self._cache.declined}; make room, and run the command again")
        return made


def fill_all(
    folder: str | Path,
    index: ClipIndex,
    chosen: Sequence[int],
    specs: Sequence[ClipSpec],
    splits: Sequence[Split],
    *,
    workers: int = 2,
    ray: str | None = None,
    ray_workers: int | None = None,
) -> Generator[int | VideoError, None, None]:
    """Fills clips in, here or by workers of Ray that see the same folders; see `loaders.spread.map_chunks`.

    Args:
        folder: of the cache.
        index: the clips.
        chosen: positions of those that are to be filled in.
        specs: of the inputs.
        splits: for which.
        workers: files that are read side by side, by each worker.
        ray: where the workers are; None: one, in this process.
        ray_workers: how many.

    Yields:
        For each clip the number of entries that were made, or why it cannot be read.

    Raises:
        ClipzooError: the disk is full, or as `map_chunks`.
    """
    folder = Path(folder).absolute()
    items = [(index.path(place).absolute(), index[place].span) for place in chosen]
    size = max(_CHUNK, 8 * workers)
    chunks = {start: items[start : start + size] for start in range(0, len(items), size)}
    make = partial(FillWorker, folder, specs, splits, workers=workers)
    answers = map_chunks(chunks, make, lost=lambda item: LOST, ray=ray, ray_workers=ray_workers)
    with closing(answers):
        for start, rows in answers:
            for place, made in zip(chosen[start:], rows, strict=False):
                yield VideoError(index.path(place), made) if isinstance(made, str) else made


def missing_bytes(
    cache: DiskCache, index: ClipIndex, chosen: Sequence[int], specs: Sequence[ClipSpec], splits: Sequence[Split]
) -> int:
    """About how many bytes `fill_cache` will add for some clips: by the headers of a few hundred, spread over all.

    Args:
        cache: what it holds is not counted.
        index: the clips.
        chosen: positions of those that are to be filled in.
        specs: of the inputs.
        splits: for which.
    """
    looked_at = chosen[:: max(1, len(chosen) // _LOOKED_AT)]
    found = sum(_clip_bytes(cache, index.path(place), index[place], specs, splits) for place in looked_at)
    return round(found * len(chosen) / max(1, len(looked_at)))


def _clip_bytes(cache: DiskCache, path: Path, clip: Clip, specs: Iterable[ClipSpec], splits: Sequence[Split]) -> int:
    entries = {canvas_key(path, spec, span=clip.span, split=split): (spec, split) for spec in specs for split in splits}
    missing = [entry for key, entry in entries.items() if key not in cache]
    if not missing:
        return 0
    try:
        require_file(path)
        capture = open_video(path)
        count, fps, height, width = (
            capture.get(what)
            for what in (
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FPS,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_WIDTH,
            )
        )
        capture.release()
        start, stop = frame_span(max(1, int(count)), fps, clip.span, path)
    except VideoError:  # it will be left out
        return 0
    total = 0
    for spec, split in missing:
        depth = 2 if spec.modality in ("flow", "flow_hsv") else spec.channels
        # Of what is drawn at random every place of the file is kept.
        places = max(1, stop - start - spec.group + 1) if is_random(spec, split) else spec.frames * spec.stack
        total += places * depth * prod(canvas_size(max(1, int(height)), max(1, int(width)), spec))
    return total
