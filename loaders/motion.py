"""A made set of real encoded clips whose classes only motion tells apart, for demonstrations and tests."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from loaders.check import whole
from loaders.errors import ClipzooError, WriteError
from loaders.index import ClipIndex
from loaders.lists import index_folder
from loaders.motion_jpeg import motion_jpeg_bytes, write_motion_jpeg
from loaders.spec import MOST

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

    The folder holds exactly these clips then: those of an earlier draw go, when all new ones are there.

    Args:
        root: the folder to make, or one that holds an earlier draw and nothing else.
        clips: how many, at least one a class.
        frames: frames of each, >= 2.
        size: height and width, pixels, >= 16.
        fps: frames a second in the header, >= 1.
        seed: of everything random, >= 0.
        advance: called after each clip, to show progress.

    Returns:
        The index of the folder.

    Raises:
        ClipzooError: an argument out of range, or the folder holds what was not drawn here: nothing is deleted then.
        WriteError: the folder cannot take the files; an earlier draw stays as it was.
    """
    whole("motion clips", clips, least=len(MOTIONS))
    whole("motion frames", frames, least=2, most=MOST)
    whole("motion size", size, least=16, most=MOST)
    whole("motion fps", fps)
    whole("motion seed", seed, least=0)
    root = Path(root)
    old = _drawn_before(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=root, ignore_cleanup_errors=True) as folder:
            files = [f"{MOTIONS[n % len(MOTIONS)]}/{n // len(MOTIONS):04d}.avi" for n in range(clips)]
            for number, file in enumerate(files):
                rng = np.random.default_rng((seed, number))
                pictures = motion_frames(MOTIONS[number % len(MOTIONS)], frames=frames, size=size, rng=rng)
                path = Path(folder, file)
                path.parent.mkdir(exist_ok=True)
                write_motion_jpeg(path, pictures, fps, named=root / file)
                advance()
            for motion in MOTIONS:
                (root / motion).mkdir(exist_ok=True)
            for file in files:
                Path(folder, file).replace(root / file)
        for path in old - {root / file for file in files}:
            path.unlink()
    except OSError as error:
        raise WriteError(root, error.strerror or str(error)) from None
    return index_folder(root)


def _drawn_before(root: Path) -> set[Path]:
    """The files of an earlier draw; raises ClipzooError where anything else lies there that is not hidden."""
    found = set()
    for path in (p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts)):
        if path.parent == root and path.name in MOTIONS and path.is_dir():
            continue
        if path.parent.parent != root or not re.fullmatch(r"\d{4,}\.avi", path.name) or not motion_jpeg_bytes(path):
            raise ClipzooError(
                f"{root}: holds {path.relative_to(root)}, which was not drawn here; give a folder that is empty, or new"
            )
        found.add(path)
    return found


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
        center = _MARGIN + (1 - 2 * _MARGIN) * np.array((x, y))
        covered, headed = (_cover((part @ turn.T * half + center) * size, size) for part in (bar, head))
        color = light * 255
        color[..., 1] *= headed
        frame = np.round(ground + covered[..., None] * (color - ground)).astype(np.uint8)
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
