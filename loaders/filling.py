"""A disk cache filled beforehand: what is missing of each clip, and how large that will be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

import cv2

from loaders.cache import DiskCache
from loaders.canvas import canvas_key, canvas_size, read_canvases
from loaders.errors import VideoError
from loaders.index import Clip, ClipIndex
from loaders.opening import open_video, require_file
from loaders.sampling import draws_for, is_random
from loaders.spans import Span, frame_span
from loaders.spec import ClipSpec
from loaders.split import Split

_LOOKED_AT = 200  # clips from which the size of all is estimated


def fill(cache: DiskCache, path: str | Path, specs: Sequence[ClipSpec], *, span: Span | None, split: Split) -> int:
    """Puts what is missing of one clip into a cache, without reading what is there. Returns how many entries it made.

    Raises:
        VideoError: no clip can be read; the message names the file.
    """
    missing = [spec for spec in specs if canvas_key(path, spec, span=span, split=split) not in cache]
    if missing:
        draws = [0.0] * draws_for(missing)  # any: every place is put in
        read_canvases(path, missing, span=span, split=split, draws=draws, cache=cache)
    return len(missing)


def missing_bytes(
    cache: DiskCache, index: ClipIndex, chosen: Sequence[int], specs: Sequence[ClipSpec], splits: Sequence[Split]
) -> int:
    """About how many bytes `fill` will add for some clips: by the headers of a few hundred, spread over all.

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
