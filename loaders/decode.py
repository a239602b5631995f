"""Frames out of a video file, by OpenCV: exact whatever the header claims."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from loaders.errors import ClipzooError, VideoError
from loaders.opening import no_frame, open_video, require_file
from loaders.packets import Packets, jump, may_seek, read_packets
from loaders.sampling import needs_frames
from loaders.spans import Span, lack
from loaders.spec import ClipSpec

LONG = 256  # frames; below, opening a file a second time to seek in it costs more than it saves
Frame = np.ndarray  # uint8 (height, width, 3), BGR, as OpenCV gives it

# True counts by file (a hash of path, bytes, time of change): a header that lied is believed only once, and a file
# whose end was seen once is not read to its end again.
_COUNTS: dict[int, int] = {}


class Visitor(Protocol):
    """What is to be done with the frames of a file."""

    @property
    def wanted(self) -> Collection[int]:
        """Numbers of the frames to decode, each once."""

    def visit(self, number: int, frame: Frame) -> None:
        """Called for each wanted frame, in rising order; `frame` is uint8 (height, width, 3), BGR."""


V = TypeVar("V", bound=Visitor)


def read_frames(path: str | Path, plan: Callable[[int, float], V]) -> V:
    """Decodes the frames of a file that a plan wants, exactly those that a decoder finds at these numbers.

    Args:
        path: the video file.
        plan: (frames in the file, frames a second) -> what to do; called again if the count was wrong.

    Returns:
        The last plan, all of whose frames were visited.

    Raises:
        VideoError: no such file, not a video, or no frame can be decoded.
    """
    return deque(follow_frames(path, plan), maxlen=1).pop()


def follow_frames(path: str | Path, plan: Callable[[int, float], V]) -> Iterator[V]:
    """As `read_frames`, but stops behind each frame, so that what is done can be handed on before the file ends.

    The header's frame count is a hint (video2x#742; damaged files and some muxers lie): the file is read to its end,
    and where the hint was wrong it is read once more with the count that was seen. Seeking lands on wrong frames
    (opencv#9053, #4890, #26827), so files are decoded forward; only in a long file whose packets agree with the header
    and lie one frame apart is a frame sought, and kept only if its time stamp is that of its number. One FFmpeg
    thread: workers read files side by side.

    Args:
        path: the video file.
        plan: (frames in the file, frames a second) -> what to do; called again where the count was wrong or a frame
            could not be sought: its frames come from the first one on then, and what it is to do is what is left.

    Yields:
        The plan in force, behind each of its frames, and once more at the end: the count that it was made for is the
        true one then, and all its frames were visited.

    Raises:
        VideoError: no such file, not a video, or no frame can be decoded.
    """
    stat = require_file(path)
    key = _identity(path, stat.st_size, stat.st_mtime_ns)
    seekable = True
    for _ in range(4):
        count = _COUNTS.get(key)
        sure = count is not None
        capture = open_video(path)
        try:
            header = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            count = count or header
            try:
                visitor = plan(count, capture.get(cv2.CAP_PROP_FPS))
            except ClipzooError:
                if sure:
                    raise
                # Nothing is refused for what the header says.
                seen = sum(1 for _ in iter(capture.grab, False))
                if seen == 0:
                    raise no_frame(path) from None
                _COUNTS[key] = seen
                continue
            wanted = sorted(visitor.wanted)
            if sure and not wanted:
                yield visitor
                return
            if seekable and count >= LONG:
                packets = read_packets(os.fspath(path), stat.st_size, stat.st_mtime_ns)
                if packets and may_seek(packets, count, header, wanted):
                    if (yield from _seek(capture, packets, wanted, visitor)):
                        yield visitor
                        return
                    seekable = False
                    continue
            seen = yield from _forward(capture, wanted, visitor, stop=count if sure else None)
        except cv2.error as error:
            raise VideoError(path, f"OpenCV cannot decode it ({error.err or error.msg})") from None
        finally:
            capture.release()
        if seen == 0:
            raise no_frame(path)
        if seen == count or (sure and wanted and seen == wanted[-1] + 1):
            _COUNTS[key] = count
            yield visitor
            return
        _COUNTS[key] = seen
    raise VideoError(path, "it yields another number of frames each time that it is read")


def frame_count(path: str | Path) -> tuple[int, float]:
    """Frames in a file and frames a second: by its packets where they agree with its header, else by decoding it.

    Raises:
        VideoError: no such file, not a video, or no frame can be decoded.
    """
    header, fps = _first_frame(path)
    return _true_count(path, header), fps


def _first_frame(path: str | Path) -> tuple[int, float]:
    """What the header says, frames and frames a second, of a file whose first frame can be decoded."""
    require_file(path)
    capture = open_video(path)
    try:
        header, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
        if not capture.read()[0]:
            raise no_frame(path)
    finally:
        capture.release()
    return header, fps


def _true_count(path: str | Path, header: int) -> int:
    stat = require_file(path)
    known = _COUNTS.get(_identity(path, stat.st_size, stat.st_mtime_ns))
    if known:
        return known
    packets = read_packets(os.fspath(path), stat.st_size, stat.st_mtime_ns)
    if packets and packets.regular and packets.count == header:
        return header
    return read_frames(path, lambda count, _: _Count(count)).frames


class _Count:
    """Visits no frame; its last plan knows how many there are."""

    wanted: tuple[int, ...] = ()

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def visit(self, number: int, frame: Frame) -> None:
        raise AssertionError("no frame is wanted")


def remember_count(path: str | Path, size: int, modified: int, count: int) -> None:
    """Notes the true count of a file, so that it is not found out again; `modified` in ns."""
    _COUNTS[_identity(path, size, modified)] = count


def forget_counts() -> None:
    """Drops the counts, for a process that reads files without end and each of them once."""
    _COUNTS.clear()


def _identity(path: str | Path, size: int, modified: int) -> int:
    return hash((os.fspath(path), size, modified))


def check_readable(
    paths: Sequence[str | Path],
    *,
    specs: Mapping[str, ClipSpec] | None = None,
    spans: Sequence[Span | None] | None = None,
    workers: int = 2,
    advance: Callable[[], object] = lambda: None,
) -> list[VideoError | None]:
    """Opens every file, decodes its first frame, and asks whether it has the frames that `specs` need.

    Frames are counted only where a spec or a span can be too much for a file: by the packets, or else by decoding it.

    Args:
        paths: the video files; one with several spans stands there for each, and is opened once.
        specs: input name -> what will be read for it; left out, any frame is enough.
        spans: part of each file, seconds; None for the whole file.
        workers: threads.
        advance: called after each file, to show progress.

    Returns:
        For each path, in order, what is wrong with it: no such file, not a video, no frame can be decoded, too few
        frames; or None.
    """
    wanted = list((specs or {}).values())
    asked = list(spans) if spans is not None else [None] * len(paths)
    places: dict[str | Path, list[int]] = {}
    for place, (path, _) in enumerate(zip(paths, asked, strict=True)):
        places.setdefault(path, []).append(place)
    found: list[VideoError | None] = [None] * len(paths)

    def check(path: str | Path) -> None:
        mine = places[path]
        try:
            header, fps = _first_frame(path)
            counted = any(asked[place] for place in mine) or any(needs_frames(spec) for spec in wanted)
            count = _true_count(path, header) if counted else max(1, header)
            for place in mine:
                found[place] = lack(path, count, fps, asked[place], wanted)
        except VideoError as error:
            for place in mine:
                found[place] = error
        finally:
            advance()

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        list(pool.map(check, places))
    return found


def _forward(
    capture: cv2.VideoCapture, wanted: Sequence[int], visitor: V, *, stop: int | None
) -> Generator[V, None, int]:
    """Decodes from the start: to the end of the file, or, if its count is known, to the last wanted frame.

    Returns how many frames there were.
    """
    wish = set(wanted)
    last = wanted[-1] + 1 if stop is not None and wanted else stop
    seen = 0
    while seen != last and capture.grab():
        if seen in wish:
            ok, frame = capture.retrieve()
            if not ok:
                break
            visitor.visit(seen, frame)
            yield visitor
        seen += 1
    return seen


def _seek(capture: cv2.VideoCapture, packets: Packets, wanted: Sequence[int], visitor: V) -> Generator[V, None, bool]:
    """Decodes the wanted frames alone. Returns False as soon as one is not surely the right one."""
    position = 0
    for number in wanted:
        if jump(packets, position, number):
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            position = number
        while position < number and capture.grab():
            position += 1
        if not capture.grab() or capture.get(cv2.CAP_PROP_PTS) != packets.first + number:
            return False
        ok, frame = capture.retrieve()
        if not ok:
            return False
        visitor.visit(number, frame)
        yield visitor
        position = number + 1
    return True
