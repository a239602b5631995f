"""Videos that are written while they are made: MPEG-4 in MP4, or Motion JPEG in AVI, by the suffix."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from loaders.errors import ClipzooError, WriteError
from loaders.motion_jpeg import write_motion_jpeg

SUFFIXES = (".mp4", ".avi")


def require_video_suffix(path: str | Path) -> None:
    """Raises ClipzooError where `write_video` writes no file of that name."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ClipzooError(f"{path}: a video ends in {' or '.join(SUFFIXES)}")


def write_video(
    path: str | Path, pictures: Iterable[np.ndarray], fps: float, *, named: str | Path | None = None
) -> None:
    """Writes a video.

    Args:
        path: the file to write, `.mp4` or `.avi`.
        pictures: its frames, uint8 (height, width, 3), BGR, all of one size; at least one.
        fps: frames a second.
        named: the file as messages are to name it, if not `path`.

    Raises:
        WriteError: this OpenCV cannot encode it, or the disk does not take it all.
        ClipzooError: another suffix.
    """
    require_video_suffix(path)
    if Path(path).suffix.lower() == ".avi":
        write_motion_jpeg(path, pictures, fps, named=named)
        return
    given, count = iter(pictures), 0
    first = next(given)
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise WriteError(named or path, "this OpenCV writes no MPEG-4 of that size and rate; a name in .avi may do")
    for picture in chain([first], given):
        writer.write(picture)
        count += 1
    writer.release()
    written = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
    written.release()
    if found != count:  # OpenCV says nothing of a disk that is full
        raise WriteError(named or path, "the disk took only a part of it")
