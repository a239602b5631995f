"""Motion JPEG in AVI: the one kind of video that every OpenCV writes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from loaders.errors import WriteError


def write_motion_jpeg(
    path: str | Path, pictures: Iterable[np.ndarray], fps: float, *, named: str | Path | None = None
) -> None:
    """Writes a video.

    Args:
        path: the file to write, `.avi`.
        pictures: its frames, uint8 (height, width, 3), BGR, all of one size; at least one.
        fps: frames a second.
        named: the file as messages are to name it, if not `path`.

    Raises:
        WriteError: the disk does not take it all.
    """
    given = iter(pictures)
    first = next(given)
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    opened = writer.isOpened()
    for picture in chain([first], given):
        writer.write(picture)
    writer.release()
    # OpenCV says nothing of a disk that is full.
    if not opened or not 0 < motion_jpeg_bytes(path) == Path(path).stat().st_size:
        raise WriteError(named or path, "the disk took only a part of it")


def motion_jpeg_bytes(path: str | Path) -> int:
    """How many bytes a Motion JPEG file of OpenCV says it has; 0 for any other file.

    A file has a RIFF chunk for each GiB or so, one behind the other, and each says how long it is (OpenDML).
    """
    with Path(path).open("rb") as file:
        start = file.read(116)
        if (start[:4], start[8:12], start[112:]) != (b"RIFF", b"AVI ", b"MJPG"):
            return 0
        end = 0
        while start[:4] == b"RIFF":
            end += int.from_bytes(start[4:8], "little") + 8
            file.seek(end)
            start = file.read(8)
        return end
