"""The only road from a file to pixels. Training, evaluation and the ONNX runtime all call it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from loaders.ahead import read_side_by_side
from loaders.augment import Augmentation, AugmentationParams, center_crop, cropper
from loaders.cache import Cache
from loaders.canvas import InputBuilder, frames_of, read_canvases
from loaders.check import choice, whole
from loaders.decode import frame_count
from loaders.errors import ClipzooError, VideoError
from loaders.flow import color_wheel
from loaders.index import OnError
from loaders.onepass import read_spans
from loaders.sampling import draws_for, is_random, sample
from loaders.spans import Span
from loaders.spec import ClipSpec
from loaders.split import Split

_AHEAD_BYTES = 2**26  # of clips of one file that wait for the model
_OPEN_BYTES = 2**28  # of clips of one file that overlap


def read_clip(
    path: str | Path,
    spec: ClipSpec,
    *,
    span: Span | None = None,
    split: Split = "test",
    rng: np.random.Generator | None = None,
    augmentation: Augmentation | None = None,
    cache: Cache | None = None,
) -> np.ndarray:
    """Reads the clip that `spec` describes from a video file; see `read_inputs`.

    Returns:
        uint8 (frames, height, width, channels), 0 to 255.
    """
    return read_inputs(path, {"": spec}, span=span, split=split, rng=rng, augmentation=augmentation, cache=cache)[""]


def read_inputs(
    path: str | Path,
    specs: Mapping[str, ClipSpec],
    *,
    span: Span | None = None,
    split: Split = "test",
    rng: np.random.Generator | None = None,
    augmentation: Augmentation | None = None,
    cache: Cache | None = None,
) -> dict[str, np.ndarray]:
    """Reads all inputs of one clip, decoding the file once at most.

    All inputs share one draw, so that they show the same instants, crop and mirror: in a segment, the RGB frame lies
    among the frames of the flow stack, or one beside them.

    Args:
        path: the video file.
        specs: input name -> what to read for it.
        span: (start, end) of the part of the file that is the clip, seconds; all of it if left out.
        split: `train` draws the places of dense and segment samplings, `validation` and `test` settle them.
        rng: where random places and augmentation come from; all inputs get the same draw.
        augmentation: applied to the whole clip, if given.
        cache: holds what was decoded before.

    Returns:
        Input name -> uint8 (frames, height, width, channels), 0 to 255.

    Raises:
        VideoError: no clip can be read; the message names the file.
        ClipzooError: what needs chance has no `rng`.
    """
    draws: list[float] | None = None
    draw: AugmentationParams | None = None
    if augmentation is not None or any(is_random(spec, split) for spec in specs.values()):
        if rng is None:
            raise ClipzooError("random sampling and augmentation need rng, a numpy.random.Generator")
        draws = rng.random(draws_for(specs.values())).tolist()
        draw = augmentation.draw(rng) if augmentation else None
    canvases = read_canvases(path, list(specs.values()), span=span, split=split, draws=draws, cache=cache)
    clips = {}
    for (name, spec), canvas in zip(specs.items(), canvases, strict=True):
        if augmentation is not None and draw is not None:
            clip = augmentation.apply(canvas, spec, draw)
        else:
            clip = center_crop(canvas, spec)
        clips[name] = finish(clip, spec)
    return clips


def step_seconds(path: str | Path, specs: Mapping[str, ClipSpec]) -> dict[str, np.ndarray]:
    """Where in its file each step begins of the clip that `read_inputs` reads to test.

    Returns:
        Input name -> float64 (frames,), seconds; nothing for a file that does not say its frame rate.

    Raises:
        VideoError: no clip can be read; the message names the file.
    """
    count, fps = frame_count(path)
    if not fps > 0:
        return {}
    steps = {name: sample(count, spec, fps=fps) for name, spec in specs.items()}
    return {name: np.array([min(step[0]) for step in taken]) / fps for name, taken in steps.items()}


def read_crops(
    path: str | Path,
    specs: Mapping[str, ClipSpec],
    *,
    span: Span | None = None,
    crops: int = 10,
    views: int = 1,
) -> dict[str, np.ndarray]:
    """Reads a clip several times over, for tests whose scores are averaged.

    Args:
        path: the video file.
        specs: input name -> what to read for it.
        span: part of the file, seconds.
        crops: 1 from the center; 3: both ends and the center of the longer side; 10: four corners and the center, then
            each mirrored.
        views: places in time, for dense and segment sampling: spread evenly over where training may draw them. One is
            the sampling of the test split.

    Returns:
        Input name -> uint8 (views * crops, frames, height, width, channels), view by view, crop by crop.

    Raises:
        VideoError: no clip can be read; the message names the file.
        ClipzooError: several views of a sampling that has one, or an argument out of range.
    """
    take = cropper(crops)
    whole("views", views)
    if views > 1 and any(spec.sampling == "uniform" for spec in specs.values()):
        raise ClipzooError(f"views ({views}): uniform sampling has one, dense and segments have several")
    found: dict[str, list[np.ndarray]] = {name: [] for name in specs}
    for view in range(views):
        draws = None if views == 1 else [(view + 0.5) / views] * draws_for(specs.values())
        canvases = read_canvases(
            path, list(specs.values()), span=span, split="test" if draws is None else "train", draws=draws
        )
        for (name, spec), canvas in zip(specs.items(), canvases, strict=True):
            found[name] += [finish(clip, spec) for clip in take(canvas, spec)]
    return {name: np.stack(clips) for name, clips in found.items()}


def clip_from_frames(frames: Sequence[np.ndarray] | np.ndarray, spec: ClipSpec) -> np.ndarray:
    """Makes the clip that `spec` describes from frames in memory, by the same rules as from a file.

    Args:
        frames: uint8 (count, height, width, 3), RGB, 0 to 255; any count >= 1 and any size.
        spec: what to make.

    Returns:
        uint8 (frames, height, width, channels), 0 to 255.

    Raises:
        ClipzooError: not uint8, not RGB, no frame at all, too few, or a spec whose interval needs a frame rate.
    """
    if len(frames) == 0:
        raise ClipzooError("no frames: a clip needs at least one")
    for frame in frames:
        require_rgb(frame)
        if frame.shape != frames[0].shape:
            raise ClipzooError(f"frames must all have one size, not {frames[0].shape} and {frame.shape}")
    steps = sample(len(frames), spec)
    track = InputBuilder(spec, order="rgb")
    track.begin(steps)
    for number in sorted(frames_of(steps)):
        track.visit(number, np.asarray(frames[number]))
    canvas = track.finish(steps)
    return finish(center_crop(canvas, spec), spec)


def require_rgb(frame: object) -> None:
    """Raises ClipzooError unless it can be an RGB frame: uint8 (height, width, 3)."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ClipzooError(f"frames must be uint8 (height, width, 3) in RGB order, 0 to 255; got {found}")
    if 0 in frame.shape:
        raise ClipzooError(f"a frame of {frame.shape} has no pixel")


def finish(clip: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """The last step, behind crop and augmentation: fields of `flow_hsv` become pictures."""
    return np.stack([color_wheel(field) for field in clip]) if spec.modality == "flow_hsv" else clip


class ReadBatch(NamedTuple):
    """What `read_batches` gives.

    Attributes:
        positions: of the clips, among the paths that were given; rising.
        clips: input name -> uint8 (B, frames, height, width, channels), B = len(positions), which may be 0.
        errors: position and error of each clip that could not be read since the batch before.
    """

    positions: list[int]
    clips: dict[str, np.ndarray]
    errors: list[tuple[int, VideoError]]


def read_batches(
    paths: Sequence[str | Path],
    specs: Mapping[str, ClipSpec],
    *,
    spans: Sequence[Span | None] | None = None,
    batch_size: int,
    workers: int = 2,
    on_error: OnError = "fail",
) -> Iterator[ReadBatch]:
    """Reads clips for inference, in order, by threads that stay ahead.

    Spans of one file that stand one behind the other are read in one pass over it, however many they are; what is held
    of them is what overlaps. Files are read side by side.

    Args:
        paths: the video files.
        specs: input name -> what to read for it.
        spans: part of each file, seconds; None for the whole file.
        batch_size: clips in a batch, >= 1; the last may be smaller.
        workers: threads, >= 1.
        on_error: `fail` raises for the first clip that cannot be read; `skip` goes on, and gives errors as data.

    Yields:
        Batches of `batch_size` clips, the last with what is left: clips, or only errors.

    Raises:
        VideoError: with `fail`, no clip can be read from a file; the message names it.
        ClipzooError: an argument out of range, or a flow method that this OpenCV has not.
    """
    whole("batch_size", batch_size)
    whole("workers", workers)
    choice("on_error", on_error, get_args(OnError))
    asked = list(spans) if spans is not None else [None] * len(paths)
    one = sum(math.prod(spec.shape) for spec in specs.values())
    passes = _passes(paths, asked, max(1, _OPEN_BYTES // one))

    def read(places: range) -> Iterator[tuple[int, dict[str, np.ndarray] | VideoError]]:
        found = read_spans(paths[places.start], list(specs.values()), asked[places.start : places.stop])
        for place, canvases in zip(places, found, strict=True):
            if isinstance(canvases, VideoError):
                yield place, canvases
                continue
            cropped = zip(specs.items(), canvases, strict=True)
            yield place, {name: finish(center_crop(canvas, spec), spec) for (name, spec), canvas in cropped}

    def batch() -> ReadBatch:
        clips = {
            name: np.stack([clip[name] for _, clip in held]) if held else np.empty((0, *spec.shape), np.uint8)
            for name, spec in specs.items()
        }
        return ReadBatch([place for place, _ in held], clips, errors)

    held: list[tuple[int, dict[str, np.ndarray]]] = []
    errors: list[tuple[int, VideoError]] = []
    room = max(1, min(batch_size, _AHEAD_BYTES // one))
    for place, found in read_side_by_side(map(read, passes), threads=workers, room=room):
        if not isinstance(found, VideoError):
            held.append((place, found))
        elif on_error == "fail":
            raise found
        else:
            errors.append((place, found))
        if len(held) == batch_size:
            yield batch()
            held, errors = [], []
    if held or errors:
        yield batch()


def _passes(paths: Sequence[str | Path], spans: Sequence[Span | None], most: int) -> list[range]:
    """Positions of neighbors that are of one file; no more than `most` of them are begun and not given at once."""
    passes: list[range] = []
    given: list[float] = []  # for each clip of the pass when it is given, seconds: not before those in front of it
    for place, (path, span) in enumerate(zip(paths, spans, strict=True)):
        start, end = span or (0.0, math.inf)
        if passes and path == paths[place - 1] and len(given) - bisect_right(given, start) < most:
            passes[-1] = range(passes[-1].start, place + 1)
            given.append(max(end, given[-1]))
        else:
            passes.append(range(place, place + 1))
            given = [end]
    return passes
