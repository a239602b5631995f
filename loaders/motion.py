"""A made set of real encoded clips whose classes only motion tells apart, for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_folder

# Shares of the frame: how near the middle of a bar comes to the edges, and half its length.
_MARGIN, _SMALLEST, _LARGEST = 0.18, 0.08, 0.24
# The whole way at full speed: shares of what the margin leaves, and of the logarithmic way from smallest to largest;
# radians.
_WAY_ACROSS, _WAY_GROWN, _WAY_TURNED = 0.7, 0.8, 1.3 * np.pi
_MOVES = {  # motion -> what changes, and whether it falls
    "down": ("y", False),
    "growing": ("size", False),
    "left": ("x", True),
    "right": ("x", False),
    "turning": ("angle", False),
    "up": ("y", True),
}
MOTIONS = tuple(_MOVES)


def draw_motion_clips(
    root: str | Path,
    *,
    clips: int = 600,
    frames: int = 16,
    size: int = 48,
    fps: int = 15,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> ClipIndex:
    """Writes `clips` video files, `root/<motion>/<number>.avi` (Motion JPEG), the same number in every class.

    One bar with a green head moves left, right, up or down, turns, or grows; the light is redder to the right and bluer
    below. Start, size, angle and speed are random. A bar that does not move in some way stands where a bar that does
    might be at any moment, so that a frame picked at random has the same distribution whatever the class.

    Args:
        root: the folder to make.
        clips: how many, at least one a class.
        frames: frames of each, >= 2.
        size: height and width, pixels.
        fps: frames a second in the header.
        seed: of everything random.
        advance: called after each clip, to show progress.

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
        for frame in motion_frames(motion, frames=frames, size=size, rng=np.random.default_rng((seed, number))):
            writer.write(frame)
        writer.release()
        advance()
    return index_folder(root)


def motion_frames(motion: str, *, frames: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The frames of one clip: `frames` arrays, uint8 (size, size, 3), BGR."""
    speed = rng.uniform(0.7, 1.0)
    # How far along its way the bar is in each respect: a random place, or, where it moves, from start to end.
    along = dict(zip(("x", "y", "size", "angle"), rng.uniform(0, 1, 4), strict=True))
    x0, y0, size0 = rng.uniform(0, 1, 3) * (1 - np.array((_WAY_ACROSS, _WAY_ACROSS, _WAY_GROWN)) * speed)
    angle0 = rng.uniform(0, 2 * np.pi)
    moved, backwards = _MOVES[motion]
    ground = rng.integers(0, 40)
    light = _light(size)
    bar = np.array([(-1.0, -0.4), (1.0, -0.4), (1.0, 0.4), (-1.0, 0.4)])
    head = np.array([(0.0, -0.4), (1.0, -0.4), (1.0, 0.4), (0.0, 0.4)])
    drawn = []
    for time in np.linspace(0, 1, frames):
        along[moved] = 1 - time if backwards else time
        x, y = x0 + speed * _WAY_ACROSS * along["x"], y0 + speed * _WAY_ACROSS * along["y"]
        half = _SMALLEST * (_LARGEST / _SMALLEST) ** (size0 + speed * _WAY_GROWN * along["size"])
        turned = angle0 + speed * _WAY_TURNED * along["angle"]
        turn = np.array([(np.cos(turned), -np.sin(turned)), (np.sin(turned), np.cos(turned))])
        centre = _MARGIN + (1 - 2 * _MARGIN) * np.array((x, y))
        covered, headed = (_cover((part @ turn.T * half + centre) * size, size) for part in (bar, head))
        colour = light * 255
        colour[..., 1] *= headed
        frame = np.round(ground + covered[..., None] * (colour - ground)).astype(np.uint8)
        drawn.append(frame)
    return drawn


def _cover(corners: np.ndarray, size: int) -> np.ndarray:
    """How much of each pixel a polygon covers, 0 to 1, float (size, size)."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask / 255


def _light(size: int) -> np.ndarray:
    """The same light in every clip, float (size, size, 3): red falls in from the right, blue from below."""
    ramp = np.linspace(0.2, 1, size)
    light = np.ones((size, size, 3))
    light[..., 2] = ramp[None, :]
    light[..., 0] = ramp[:, None]
    return light
