"""Frames out of a video file, by OpenCV: exact whatever the header claims."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from loaders.errors import VideoError

_NO_FRAME = "it opens and yields no frame: damaged, or a codec (%s) that this OpenCV cannot decode"

Frame = np.ndarray  # uint8 (height, width, 3), BGR, as OpenCV gives it

# True counts of the files whose header lied, by (path, bytes, time of change), so that each is believed only once.
_TRUE_COUNTS: dict[tuple[str, int, int], int] = {}


def read_frames(
    path: str | Path, pick: Callable[[int], Sequence[int]], each: Callable[[Frame], np.ndarray]
) -> list[np.ndarray]:
    """Decodes a file forward and keeps the frames that `pick` names.

    The header's frame count is a hint (video2x#742; damaged files and some muxers lie): the file is
    read to its end, and where the hint was wrong it is read once more with the count that was seen. Seeking is not
    used, since CAP_PROP_POS_FRAMES lands on wrong frames (opencv#9053, #4890, #26827). One FFmpeg thread: workers
    read files side by side.

    Args:
        path: the video file.
        pick: number of frames in the file -> indices wanted, in never falling order.
        each: applied to each wanted frame as soon as it is decoded: uint8 (height, width, 3), BGR.

    Returns:
        What `each` made, one for each index, in order.

    Raises:
        VideoError: no such file, not a video, or no frame can be decoded.
    """
    stat = _stat(path)
    identity = (os.fspath(path), stat.st_size, stat.st_mtime_ns)
    count = _TRUE_COUNTS.get(identity)
    for _ in range(3):
        capture = _open(path)
        try:
            if count is None:
                count = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            wanted = list(pick(count))
            kept, seen = _forward(capture, wanted, each)
        except cv2.error as error:
            raise VideoError(path, f"OpenCV cannot decode it ({error.err or error.msg})") from None
        finally:
            capture.release()
        if seen == 0:
            raise VideoError(path, _NO_FRAME % _codec(path))
        if seen == count:
            return [kept[index] for index in wanted]
        count = _TRUE_COUNTS[identity] = seen
    raise VideoError(path, "it yields another number of frames each time that it is read")


def check_readable(
    paths: Sequence[str | Path], *, workers: int = 2, advance: Callable[[], object] = lambda: None
) -> list[VideoError | None]:
    """Opens every file and decodes its first frame.

    Args:
        paths: the video files.
        workers: threads.
        advance: called after each file, to show progress.

    Returns:
        For each file, in order, what is wrong with it: no such file, not a video, no frame can be decoded; or None.
    """

    def check(path: str | Path) -> VideoError | None:
        try:
            _stat(path)
            capture = _open(path)
            try:
                if not capture.read()[0]:
                    raise VideoError(path, _NO_FRAME % _codec(path))
            finally:
                capture.release()
        except VideoError as error:
            return error
        finally:
            advance()
        return None

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return list(pool.map(check, paths))


def _forward(
    capture: cv2.VideoCapture, wanted: Sequence[int], each: Callable[[Frame], np.ndarray]
) -> tuple[dict[int, np.ndarray], int]:
    """Reads to the end of the file. Returns the wanted frames by index, and how many frames there are."""
    kept: dict[int, np.ndarray] = {}
    wish = set(wanted)
    seen = 0
    while capture.grab():
        if seen in wish:
            ok, frame = capture.retrieve()
            if not ok:
                break
            kept[seen] = each(frame)
        seen += 1
    return kept, seen


def _stat(path: str | Path) -> os.stat_result:
    if not str(path).isascii():
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:  # OpenCV would end the process
            raise VideoError(path, "its name is not UTF-8; rename it") from None
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from None
    if not Path(path).is_file():
        raise VideoError(path, "is a folder, not a file" if Path(path).is_dir() else "is not a file")
    if stat.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "cannot be read (Permission denied)")
    return stat


def _open(path: str | Path) -> cv2.VideoCapture:
    # Absolute: FFmpeg takes what stands before the colon of "12:30.avi" for a protocol.
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        capture.release()
        raise VideoError(path, "is not a video that OpenCV can open")
    return capture


def _codec(path: str | Path) -> str:
    capture = _open(path)
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    capture.release()
    name = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
    return name if name.isprintable() and name else "unknown"
