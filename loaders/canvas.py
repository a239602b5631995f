"""Frames of a file -> the canvas of a clip: sampled, resized, compared, not yet cropped. This is what a cache holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from loaders.cache import Cache, Entry, entry_key
from loaders.decode import read_frames
from loaders.errors import ClipzooError
from loaders.flow import REST, diff_mask, flow_mask, optical_flow, quantize, require_methods
from loaders.sampling import Element, Step, every_element, is_random, sample
from loaders.spans import Span, frame_span, refusal
from loaders.spec import ClipSpec, ColorOrder
from loaders.split import Split

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


class InputBuilder:
    """Makes the steps of one input while the frames of a file pass by, for one clip, or for several that overlap.

    Nothing is computed twice, and nothing is kept longer than a clip needs it.

    Args:
        spec: of the input.
        order: of the channels of the frames that will come.
    """

    def __init__(self, spec: ClipSpec, *, order: ColorOrder = "bgr") -> None:
        self.spec = spec
        self.order = order
        self._clips: Counter[Element] = Counter()  # how many still need it
        self._ends: dict[int, list[Element]] = {}  # last frame of an element -> the elements that it completes
        self._until: dict[int, int] = {}  # frame -> the last frame that it makes something with
        self._held: dict[int, np.ndarray] = {}
        self._made: dict[Element, np.ndarray] = {}

    def begin(self, steps: Sequence[Step]) -> None:
        """Takes up a clip, given what each of its steps is made of, before the first of its frames comes."""
        for element in dict.fromkeys(element for step in steps for element in step):
            self._clips[element] += 1
            if self._clips[element] == 1:
                self._ends.setdefault(max(element), []).append(element)
                for frame in element:
                    self._until[frame] = max(self._until.get(frame, 0), *element)

    def visit(self, number: int, frame: np.ndarray) -> None:
        """Takes a frame, uint8 (height, width, 3); they must come in rising order."""
        if number not in self._until:
            return
        self._held[number] = _resize(frame, self.spec, order=self.order)
        for element in self._ends.pop(number, ()):
            self._made[element] = _compare([self._held[n] for n in element], self.spec)
        for old in [n for n in self._held if self._until[n] <= number]:
            del self._held[old], self._until[old]

    def finish(self, steps: Sequence[Step]) -> np.ndarray:
        """The canvas of a clip all of whose frames came; what no other clip needs is dropped.

        Returns:
            uint8 (frames, H, W, channels); H and W cover the spec's size. `flow_hsv` has its 2 channels of flow.
        """
        first = self._made[steps[0][0]]
        depth = first.shape[2]
        out = np.empty((len(steps), *first.shape[:2], depth * len(steps[0])), np.uint8)
        for row, step in zip(out, steps, strict=True):
            for place, element in enumerate(step):
                row[..., depth * place : depth * (place + 1)] = self._made[element]
        for element in {element for step in steps for element in step}:
            self._clips[element] -= 1
            if not self._clips[element]:
                del self._clips[element], self._made[element]
        return out


class _Clip:
    """All inputs of one clip, as the visitor of a file."""

    def __init__(self, specs: Sequence[ClipSpec], steps: Sequence[Sequence[Step]], fps: float) -> None:
        self.tracks = [InputBuilder(spec) for spec in specs]
        self.steps = steps
        self.fps = fps
        self.wanted = frames_of(*steps)
        for track, taken in zip(self.tracks, steps, strict=True):
            track.begin(taken)

    def visit(self, number: int, frame: np.ndarray) -> None:
        for track in self.tracks:
            track.visit(number, frame)

    def canvases(self) -> list[np.ndarray]:
        return [track.finish(taken) for track, taken in zip(self.tracks, self.steps, strict=True)]


def frames_of(*inputs: Sequence[Step]) -> frozenset[int]:
    """Numbers of the frames that the steps of some inputs are made of."""
    return frozenset(frame for steps in inputs for step in steps for element in step for frame in element)


def moved(steps: Sequence[Step], start: int) -> list[Step]:
    """The steps of a part of a file that begins at frame `start`, as steps of the file."""
    return [tuple(tuple(start + frame for frame in element) for element in step) for step in steps]


def read_canvases(
    path: str | Path,
    specs: Sequence[ClipSpec],
    *,
    span: Span | None = None,
    split: Split = "test",
    draws: Sequence[float] | None = None,
    cache: Cache | None = None,
) -> list[np.ndarray]:
    """Reads the canvases of one clip, decoding the file once at most.

    Where places are drawn at random, a cache holds every place of the span, so that any draw is found in it.

    Args:
        path: the video file.
        specs: of the inputs.
        span: part of the file, seconds; all of it if left out.
        split: see `sample`.
        draws: numbers in [0, 1) for random places.
        cache: looked into first, and given what was missing.

    Returns:
        For each spec uint8 (frames, H, W, channels). May be read-only.

    Raises:
        VideoError: no clip can be read; the message names the file.
    """
    require_methods(specs)  # a fault of the spec, not of the file
    try:
        return _read(path, specs, span=span, split=split, draws=draws, cache=cache)
    except ClipzooError as error:
        raise refusal(path, span, error) from None


def _read(
    path: str | Path,
    specs: Sequence[ClipSpec],
    *,
    span: Span | None,
    split: Split,
    draws: Sequence[float] | None,
    cache: Cache | None,
) -> list[np.ndarray]:
    def places(count: int, spec: ClipSpec, fps: float) -> list[Step]:
        return sample(count, spec, split=split, draws=draws, fps=fps)

    canvases: dict[int, np.ndarray] = {}
    keys: dict[int, str] = {}
    whole: set[int] = set()
    for n, spec in enumerate(specs):
        if cache is None or not can_be_cached(spec, split):
            continue
        if is_random(spec, split):
            whole.add(n)
        keys[n] = canvas_key(path, spec, span=span, split=split)
        entry = cache.get(keys[n])
        if entry is not None:
            canvases[n] = _gather(entry, spec, places) if n in whole else entry.array
    missing = [n for n in range(len(specs)) if n not in canvases]

    def plan(count: int, fps: float) -> _Clip:
        start, stop = frame_span(count, fps, span, path)
        steps = [
            every_element(stop - start, specs[n]) if n in whole else places(stop - start, specs[n], fps)
            for n in missing
        ]
        return _Clip([specs[n] for n in missing], [moved(taken, start) for taken in steps], fps)

    if missing:
        done = read_frames(path, plan)
        for n, canvas in zip(missing, done.canvases(), strict=True):
            entry = Entry(canvas, done.fps)
            if cache is not None and n in keys:
                cache.put(keys[n], entry)
            canvases[n] = _gather(entry, specs[n], places) if n in whole else entry.array
    return [canvases[n] for n in range(len(specs))]


def can_be_cached(spec: ClipSpec, split: Split) -> bool:
    """Whether a cache holds what is read: pairs of frames that are drawn apart are too many."""
    return not (is_random(spec, split) and spec.pairs == "sampled")


def canvas_key(path: str | Path, spec: ClipSpec, *, span: Span | None, split: Split) -> str:
    """Samplings that are the same in several splits have one entry; random ones are found in all places of a file."""
    settled = {"uniform": "any split", "dense": "test"}.get(spec.sampling, split)
    what = "every place" if is_random(spec, split) else settled
    return entry_key(path, spec, span=span, split=what)


def _gather(entry: Entry, spec: ClipSpec, places: Callable[[int, ClipSpec, float], list[Step]]) -> np.ndarray:
    """The steps of a clip out of all places of its file."""
    steps = places(len(entry.array) + spec.group - 1, spec, entry.fps)
    depth = entry.array.shape[3]
    out = np.empty((len(steps), *entry.array.shape[1:3], depth * len(steps[0])), np.uint8)
    for row, step in zip(out, steps, strict=True):
        for place, element in enumerate(step):
            row[..., depth * place : depth * (place + 1)] = entry.array[min(element[0], len(entry.array) - 1)]
    return out


def _resize(frame: np.ndarray, spec: ClipSpec, *, order: ColorOrder) -> np.ndarray:
    """One frame at the canvas's size, in the colors that the modality is made from."""
    height, width = frame.shape[:2]
    size = canvas_size(height, width, spec)
    if size != (height, width):
        frame = cv2.resize(frame, size[::-1], interpolation=INTERPOLATIONS[spec.interpolation])
    if spec.modality in ("gray", "grouped", "flow", "flow_hsv"):
        return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY if order == "bgr" else cv2.COLOR_RGB2GRAY)
    return frame.copy() if spec.color_order == order else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def canvas_size(height: int, width: int, spec: ClipSpec) -> tuple[int, int]:
    """(height, width) of a frame before its crop."""
    if spec.resize == "stretch":
        return spec.height, spec.width
    shorter, least = spec.resize_to or max(spec.height, spec.width), min(height, width)
    # The longer side rounds half up, in integers.
    tall, wide = ((2 * side * shorter + least) // (2 * least) for side in (height, width))
    return max(shorter, tall), max(shorter, wide)


def _compare(frames: Sequence[np.ndarray], spec: ClipSpec) -> np.ndarray:
    """An element of a step, uint8 (H, W, channels): a frame, or what several make."""
    first, second = frames[0], frames[-1]
    match spec.modality:
        case "gray":
            return first[..., None]
        case "grouped":
            return np.stack(frames, axis=-1)
        case "diff":
            return cv2.absdiff(first, second)
        case "rgb_diff":
            return cv2.addWeighted(second, 1, first, -1, REST)
        case "diff_mask":
            return diff_mask(first, second, spec.color_order)
    if spec.flow is None:
        return first
    if spec.modality == "flow_mask":
        return flow_mask(first, second, spec.flow, spec.color_order)
    return quantize(optical_flow(first, second, spec.flow), spec.flow.bound)
