"""Which frames of a file make a clip. Pure functions of integers."""

from __future__ import annotations

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec


def uniform(count: int, frames: int) -> list[int]:
    """Indices of `frames` frames spread evenly over `count`, the first and the last among them.

    Index i is floor(i * (count - 1) / (frames - 1) + 1/2), in integers: no rounding differs between machines. One
    frame is the middle one, (count - 1) // 2. A file shorter than the clip repeats frames where they stand.

    Args:
        count: frames in the file, >= 1.
        frames: frames wanted, >= 1.

    Returns:
        `frames` indices, never falling, each in 0..count-1.

    Raises:
        ClipzooError: `count` or `frames` below 1.
    """
    if count < 1 or frames < 1:
        raise ClipzooError(f"sampling needs count ({count}) >= 1 and frames ({frames}) >= 1")
    if frames == 1:
        return [(count - 1) // 2]
    steps = frames - 1
    return [(2 * i * (count - 1) + steps) // (2 * steps) for i in range(frames)]


SAMPLINGS = {"uniform": uniform}


def sample(count: int, spec: ClipSpec) -> list[int]:
    """Indices of the frames that `spec` takes from a file of `count` frames."""
    return SAMPLINGS[spec.sampling](count, spec.frames)
