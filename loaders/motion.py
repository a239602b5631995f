"""A made set of real encoded clips whose classes only motion tells apart, for demonstrations and tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from loaders.errors import ClipzooError
from loaders.index import ClipIndex, index_folder

MOTIONS = ("down", "growing", "left", "right", "turning", "up")
_SMALLEST, _LARGEST = 0.14, 0.30  # half the shape's longer side, as a share of the frame


def draw_motion_clips(
    root: str | Path, *, clips: int = 600, frames: int = 16, size: int = 48, fps: int = 15, seed: int = 0
) -> ClipIndex:
    """Writes `clips` video files, `root/<motion>/<number>.avi` (Motion JPEG), the same number in every class.

    One bright shape on a dark ground moves left, right, up or down, turns, or grows. Start, size, angle, speed and
    shades are random in every class, and what leaves the frame comes in on the other side (what has grown too large
    starts small again), so that a single frame has the same distribution whatever the class.

    Args:
        root: the folder to make.
        clips: how many, at least one a class.
        frames: frames of each, >= 2.
        size: height and width, pixels.
        fps: frames a second in the header.
        seed: of everything random.

    Returns:
        The index of the folder.

    Raises:
        ClipzooError: too few clips or frames, or the folder cannot take the files.
    """
    if clips < len(MOTIONS) or frames < 2 or size < 16:
        raise ClipzooError(
            f"motion clips need clips ({clips}) >= {len(MOTIONS)}, frames ({frames}) >= 2, size ({size}) >= 16"
        )
    root = Path(root)
    for number in range(clips):
        motion = MOTIONS[number % len(MOTIONS)]
        path = root / motion / f"{number // len(MOTIONS):04d}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (size, size))
        if not writer.isOpened():
            raise ClipzooError(f"{path}: cannot be written")
        for frame in motion_frames(
            motion, frames=frames, size=size, rng=np.random.default_rng((seed, number))
        ):
            writer.write(frame)
        writer.release()
    return index_folder(root)


def motion_frames(motion: str, *, frames: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The frames of one clip: `frames` arrays, uint8 (size, size, 3), BGR."""
    position = rng.uniform(0, 1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    scale = rng.uniform(0, 1)  # place between smallest and largest, on a logarithmic axis
    shade, ground = rng.integers(150, 256, 3), rng.integers(0, 90, 3)
    travel = rng.uniform(0.5, 0.9)
    corners = np.array([(-1.0, -0.55), (1.0, -0.55), (1.0, 0.55), (-1.0, 0.55)])
    drawn = []
    for time in np.linspace(0, 1, frames):
        x, y = position
        turned, grown = angle, scale
        match motion:
            case "left":
                x -= travel * time
            case "right":
                x += travel * time
            case "up":
                y -= travel * time
            case "down":
                y += travel * time
            case "turning":
                turned += np.pi * travel * time
            case "growing":
                grown += travel * time
            case _:
                raise ClipzooError(f"no motion {motion!r}; there are {', '.join(MOTIONS)}")
        half = _SMALLEST * (_LARGEST / _SMALLEST) ** (grown % 1)
        turn = np.array([(np.cos(turned), -np.sin(turned)), (np.sin(turned), np.cos(turned))])
        outline = (corners @ turn.T) * half
        frame = np.empty((size, size, 3), np.uint8)
        frame[:] = ground
        for across in (-1, 0, 1):
            for along in (-1, 0, 1):
                points = (outline + (x % 1 + across, y % 1 + along)) * size
                cv2.fillPoly(frame, [np.round(points * 16).astype(np.int32)], shade.tolist(), cv2.LINE_AA, 4)
        drawn.append(frame)
    return drawn
