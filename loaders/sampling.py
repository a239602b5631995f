"""Which frames of a file make a clip. Pure functions of integers: no rounding differs between machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loaders.check import choice, whole
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.split import SPLITS, Split

Element = tuple[int, ...]  # a frame, the two frames of a difference or flow field, or three that are grouped
Step = tuple[Element, ...]  # what one step of a clip is made of
_OPTION = " (--set spec.short=repeat_last)"  # as the commands have it


def uniform(count: int, frames: int) -> list[int]:
    """Indices of `frames` frames spread evenly over `count`, the first and the last among them.

    Index i is floor(i * (count - 1) / (frames - 1) + 1/2). One frame is the middle one, (count - 1) // 2. A file
    shorter than the clip repeats frames where they stand.

    Args:
        count: frames in the file, >= 1.
        frames: frames wanted, >= 1.

    Returns:
        `frames` indices, never falling, each in 0..count-1.

    Raises:
        ClipzooError: `count` or `frames` below 1.
    """
    _positive(count=count, frames=frames)
    if frames == 1:
        return [(count - 1) // 2]
    steps = frames - 1
    return [(2 * i * (count - 1) + steps) // (2 * steps) for i in range(frames)]


def dense(count: int, frames: int, stride: int, draw: float | None = None) -> list[int]:
    """Every `stride`-th frame, `frames` of them: from the middle of the file, or from a random start.

    Args:
        count: frames in the file, >= (frames - 1) * stride + 1.
        frames: frames wanted, >= 1.
        stride: step between them, frames, >= 1.
        draw: 0 <= draw < 1 places the clip; None: in the middle, rounded down.

    Raises:
        ClipzooError: an argument out of range.
    """
    _positive(count=count, frames=frames, stride=stride)
    room = count - ((frames - 1) * stride + 1)
    if room < 0:
        raise ClipzooError(f"dense sampling of {frames} frames, stride {stride}, needs {count - room}, not {count}")
    start = room // 2 if draw is None else int(draw * (room + 1))
    return [start + i * stride for i in range(frames)]


def segments(
    count: int, frames: int, length: int = 1, *, split: Split = "test", draws: Sequence[float] | None = None
) -> list[int]:
    """The first index of `length` consecutive ones in each of `frames` segments (arXiv 1711.04161, released code).

    With d = count / frames, for segment i:

    | split | count >= frames * length | otherwise |
    |---|---|---|
    | train | floor(i d) + random in 0..floor(d) - length | min(floor(i d) + random in 0..floor(d), count - length) |
    | validation | floor((d - length + 1) / 2 + i d) | floor(i (count - length) / (frames - 1)) |
    | test | floor(i (count - length) / (frames - 1)) | 0 |

    One segment at test is the middle one. Where `count < length` every index is 0.

    Args:
        count: frames, or flow fields, in the file, >= 1.
        frames: segments, >= 1.
        length: consecutive ones taken from each, >= 1.
        split: which row.
        draws: for `train`, `frames` numbers in [0, 1).

    Raises:
        ClipzooError: an argument out of range, or `train` without draws.
    """
    _positive(count=count, frames=frames, length=length)
    last = max(0, count - length)
    short = count < frames * length
    if split == "train":
        if draws is None or len(draws) < frames:
            raise ClipzooError("segments of the train split need a random draw each")
        room = count // frames - (0 if short else length)
        return [min(i * count // frames + int(draws[i] * (room + 1)), last) for i in range(frames)]
    if split == "validation" and not short:
        return [(count - frames * (length - 1) + 2 * i * count) // (2 * frames) for i in range(frames)]
    if split == "test" and short:
        return [0] * frames
    return [last // 2] if frames == 1 else [i * last // (frames - 1) for i in range(frames)]


def windows(count: int, length: int, stride: int) -> list[tuple[int, int]]:
    """Windows that slide over a file, all different, the last one reaching the end.

    Args:
        count: frames in the file, >= 1.
        length: of a window, frames, >= 1; a file that is shorter is one window.
        stride: from one start to the next, frames, >= 1.

    Returns:
        (start, stop) of each, stop excluded.

    Raises:
        ClipzooError: an argument out of range.
    """
    _positive(count=count, length=length, stride=stride)
    if count <= length:
        return [(0, count)]
    starts = list(range(0, count - length + 1, stride))
    if starts[-1] + length < count:
        starts.append(count - length)
    return [(start, start + length) for start in starts]


def sample(
    count: int,
    spec: ClipSpec,
    *,
    split: Split = "test",
    draws: Sequence[float] | None = None,
    fps: float | None = None,
) -> list[Step]:
    """The frames that each step of a clip is made of, as `spec` says.

    A step is one frame for rgb and gray, three for grouped, one pair for what compares two frames, and `stack` pairs
    for flow. What is sampled is where each step begins; a file with too few places for that is dealt with as
    `spec.short` says.

    Args:
        count: frames in the file (or in the span of it that is read), >= 1.
        spec: what to take.
        split: `train` draws dense and segment positions at random.
        draws: for `train`, `spec.frames` numbers in [0, 1).
        fps: frames a second, for `spec.interval`.

    Returns:
        `spec.frames` steps; every index is in 0..count-1.

    Raises:
        ClipzooError: the file is too short and `spec.short` is `error`; `interval` without fps; no draws.
    """
    if spec.pairs == "sampled":
        single = spec.replace(modality="rgb", pairs="neighbors", flow=None, frames=spec.frames + spec.group - 1)
        taken = [element[0] for (element,) in sample(count, single, split=split, draws=draws, fps=fps)]
        return [(tuple(taken[place : place + spec.group]),) for place in range(spec.frames)]
    choice("split", split, SPLITS)
    if draws is None and is_random(spec, split):
        raise ClipzooError(f"{spec.sampling} sampling of the train split needs random draws")
    _check_reach(count, spec)
    length = spec.stack if spec.modality == "flow" else 1
    items = _places(count, spec)
    ticks = max(1, items - length + 1)  # where a step can begin
    stride = stride_of(spec, fps)
    needed = spec.frames * length if spec.sampling == "segments" else (spec.frames - 1) * stride + length
    if items < needed and spec.short == "error":
        raise ClipzooError(
            f"{_few(count)} for {spec.frames} steps ({spec.sampling}): {needed + spec.group - 1} are "
            f"needed, or a spec with short='repeat_last'{_OPTION}, 'wrap' or 'spread'"
        )
    stretched = items < needed and spec.short != "spread"
    if stretched:
        items, ticks = needed, needed - length + 1
    if spec.sampling == "segments":
        starts = segments(items, spec.frames, length, split=split, draws=draws)
    elif spec.sampling == "dense" and items >= needed:
        starts = dense(ticks, spec.frames, stride, draws[0] if split == "train" and draws is not None else None)
    elif stretched:
        starts = list(range(spec.frames))
    else:
        starts = uniform(ticks, spec.frames)
    return [tuple(_element(start + k, count, spec) for k in range(length)) for start in starts]


def every_element(count: int, spec: ClipSpec) -> list[Step]:
    """Every place of a file, one element a step: all that random sampling could ask for.

    Raises:
        ClipzooError: the file has too few frames for one element, and `spec.short` allows no other.
    """
    _check_reach(count, spec.replace(stack=1))
    return [(_element(n, count, spec),) for n in range(_places(count, spec))]


def draws_for(specs: Iterable[ClipSpec]) -> int:
    """How many random draws `sample` may ask for, whichever the sampling: of sampled neighbors the last has more."""
    return max(spec.frames + max(1, spec.group - 1) for spec in specs)


def _element(place: int, count: int, spec: ClipSpec) -> Element:
    places = _places(count, spec)
    place = place % places if spec.short == "wrap" else min(place, places - 1)
    return tuple(min(place + ahead, count - 1) for ahead in range(spec.group))


def _places(count: int, spec: ClipSpec) -> int:
    """Where elements can begin in a file of `count` frames; one that is too short has one all the same."""
    return max(1, count - spec.group + 1)


def _check_reach(count: int, spec: ClipSpec) -> None:
    if count >= spec.reach or spec.short in ("repeat_last", "wrap") or spec.group == 1:
        return
    does, again = (
        ("groups", "the last frame")
        if spec.modality == "grouped"
        else ("compares", "the last pair, as arXiv 1711.04161 does")
    )
    raise ClipzooError(
        f"{_few(count)} for {spec.modality}: a step {does} {spec.reach} neighbors"
        + (f" (stack={spec.stack})" if spec.stack > 1 else "")
        + f"; short='repeat_last'{_OPTION} repeats {again}"
    )


def needs_frames(spec: ClipSpec) -> bool:
    """Whether a file can have too few frames for `spec`, so that `sample` refuses it."""
    return spec.short == "error" or (spec.short == "spread" and spec.group > 1 and spec.pairs == "neighbors")


def is_random(spec: ClipSpec, split: Split) -> bool:
    """Whether the frames of a clip change from epoch to epoch."""
    return split == "train" and spec.sampling != "uniform"


def stride_of(spec: ClipSpec, fps: float | None) -> int:
    """Frames from one step of a dense sampling to the next; 1 for the others. Raises ClipzooError for an interval
    without fps, the frames a second."""
    if spec.sampling != "dense":
        return 1
    if spec.interval is None:
        return spec.stride
    if not fps or fps != fps or fps <= 0:
        raise ClipzooError(f"interval ({spec.interval} s) needs the frames a second of the file, which it does not say")
    return max(1, round(spec.interval * fps))


def _few(count: int) -> str:
    return "1 frame is too few" if count == 1 else f"{count} frames are too few"


def _positive(**numbers: int) -> None:
    for name, value in numbers.items():
        whole(f"sampling {name}", value)
