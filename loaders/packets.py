"""What a container says of its frames, read without decoding: for long files, where decoding everything is waste."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from loaders.errors import VideoError
from loaders.opening import open_video

_START_CODES = (b"\0\0\1", b"\0\0\0\1")  # of every packet of MPEG-4, H.264 and HEVC
_ZEROS = bytes(16)  # no coded picture has so many: a hole that a copy or a disk left
_MOST_FPS = 240.0
_LEAD = 16  # frames that OpenCV goes back before it looks for the keyframe (CvCapture_FFMPEG::seek)


@dataclass(frozen=True)
class Packets:
    """The packets of the video stream of a file.

    Attributes:
        count: how many were read; a damaged file decodes to fewer frames.
        first: the earliest time stamp, in frames.
        regular: whether time stamps rise by one frame each, so that the time stamp of a frame is its number; and the
            packets looked into begin with a start code and have no hole, for a packet that a decoder drops would shift
            the numbers of all frames behind it.
        keyframes: numbers of the frames from which decoding can begin, rising.
    """

    count: int
    first: float
    regular: bool
    keyframes: tuple[int, ...]


@lru_cache(maxsize=256)
def read_packets(path: str, size: int, modified: int) -> Packets | None:
    """Reads all packets of a file, undecoded (about 2 microseconds each), until one is not as it should be.

    Args:
        path: the file.
        size: its bytes, and `modified`, its time of change (ns): what is remembered is of this file.

    Returns:
        None where the container gives no time stamps, or this OpenCV (before 4.11) does not tell them.
    """
    del size, modified
    if not hasattr(cv2, "CAP_PROP_PTS"):
        return None
    try:
        capture = open_video(path, decoded=False)
    except VideoError:
        return None
    grab, ask = capture.grab, capture.get  # called for every packet: 18,000 of them for ten minutes
    stamps: list[float] = []
    keys: list[float] = []
    sound = True
    while sound and grab():
        stamp = ask(cv2.CAP_PROP_PTS)
        stamps.append(stamp)
        key = ask(cv2.CAP_PROP_LRF_HAS_KEY_FRAME)
        if key:
            keys.append(stamp)
        if key or len(stamps) % 2:  # every second one: to look costs more than to count
            ok, packet = capture.retrieve()
            content = packet.tobytes() if ok and packet is not None else b""
            sound = content.startswith(_START_CODES) and _ZEROS not in content
    capture.release()
    if not keys:
        return None
    times = np.sort(np.array(stamps))  # packets lie in the order of decoding
    first = float(times[0])
    regular = bool((times == first + np.arange(len(times))).all())
    frames = tuple(sorted(int(key - first) for key in keys)) if regular and sound else ()
    return Packets(len(stamps), first, regular and sound, frames)


def lasts_longer(path: str | Path, seconds: float) -> bool:
    """Whether a file has more frames than so many seconds have, by its packets, undecoded, and not by what it claims.

    A file that says no frame rate, or one above 240 a second, is taken to have 240.

    Raises:
        VideoError: no such file, or not a video.
    """
    capture = open_video(path, decoded=False)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        most = seconds * (fps if 0 < fps < _MOST_FPS else _MOST_FPS)
        count = 0
        while count <= most and capture.grab():
            count += 1
    finally:
        capture.release()
    return count > most


def frame_pixels(path: str | Path) -> int:
    """Pixels of a frame, as the file's header says, before any is decoded.

    Raises:
        VideoError: no such file, or not a video.
    """
    capture = open_video(path, decoded=False)
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) * int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    finally:
        capture.release()


def may_seek(packets: Packets, count: int, header: int, wanted: Sequence[int]) -> bool:
    """Whether frames may be sought: packets, header and known count agree, nothing is out of step, and it pays."""
    return packets.regular and packets.count == count == header and worth_seeking(packets, wanted)


def worth_seeking(packets: Packets, wanted: Sequence[int]) -> bool:
    """Whether jumping to the keyframes before the wanted frames decodes less than half of what lies before the last."""
    return 2 * sum(stop - start for start, stop in _runs(packets, wanted)) < packets.count


def jump(packets: Packets, position: int, target: int) -> bool:
    """Whether to seek from `position` (the next frame to come) to `target`, and not to decode on to it."""
    return target < position or target - position > target - _origin(packets, target)


def _origin(packets: Packets, target: int) -> int:
    """Where decoding begins when OpenCV seeks to `target`."""
    before = max(0, target - _LEAD)
    return packets.keyframes[max(0, bisect_right(packets.keyframes, before) - 1)]


def _runs(packets: Packets, wanted: Sequence[int]) -> list[tuple[int, int]]:
    runs = []
    position = 0
    for target in wanted:
        runs.append((_origin(packets, target) if jump(packets, position, target) else position, target + 1))
        position = target + 1
    return runs
