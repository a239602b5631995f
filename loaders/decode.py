"""Frames out of a video file, by OpenCV: exact whatever the header claims."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from loaders.errors import ClipzooError, VideoError
from loaders.packets import Packets, jump, may_seek, read_packets

NO_FRAME = "it opens and yields no frame: damaged, or a codec (%s) that this OpenCV cannot decode"

LONG = 256  # frames; below, opening a file a second time to seek in it costs more than it saves
Span = tuple[float, float]  # start and end, seconds
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

    The header's frame count is a hint (video2x#742; damaged files and some muxers lie): the file is read to its end,
    and where the hint was wrong it is read once more with the count that was seen. Seeking lands on wrong frames
    (opencv#9053, #4890, #26827), so files are decoded forward; only in a long file whose packets agree with the header
    and lie one frame apart is a frame sought, and kept only if its time stamp is that of its number. One FFmpeg
    thread: workers read files side by side.

    Args:
        path: the video file.
        plan: (frames in the file, frames a second) -> what to do; called again if the count was wrong.

    Returns:
        The last plan, all of whose frames were visited.

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
                seen = _forward(capture, [], lambda number, frame: None, stop=None)
                if seen == 0:
                    raise _no_frame(path) from None
                _COUNTS[key] = seen
                continue
            wanted = sorted(visitor.wanted)
            if seekable and count >= LONG:
                packets = read_packets(os.fspath(path), stat.st_size, stat.st_mtime_ns)
                if packets and may_seek(packets, count, header, wanted):
                    if _seek(capture, packets, wanted, visitor.visit):
                        return visitor
                    seekable = False
                    continue
            seen = _forward(capture, wanted, visitor.visit, stop=count if sure else None)
        except cv2.error as error:
            raise VideoError(path, f"OpenCV cannot decode it ({error.err or error.msg})") from None
        finally:
            capture.release()
        if seen == 0:
            raise _no_frame(path)
        if seen == count or (sure and wanted and seen == wanted[-1] + 1):
            _COUNTS[key] = count
            return visitor
        _COUNTS[key] = seen
    raise VideoError(path, "it yields another number of frames each time that it is read")


def frame_count(path: str | Path) -> tuple[int, float]:
    """Frames in a file and frames a second: by its packets where they agree with its header, else by decoding it.

    Raises:
        VideoError: no such file, not a video, or no frame can be decoded.
    """
    stat = require_file(path)
    known = _COUNTS.get(_identity(path, stat.st_size, stat.st_mtime_ns))
    capture = open_video(path)
    header, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    readable = capture.grab()
    capture.release()
    if known:
        return known, fps
    packets = read_packets(os.fspath(path), stat.st_size, stat.st_mtime_ns)
    if readable and packets and packets.regular and packets.count == header:
        return header, fps
    return read_frames(path, lambda count, _: _Count(count)).frames, fps


class _Count:
    """Visits no frame; its last plan knows how many there are."""

    wanted: tuple[int, ...] = ()

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def visit(self, number: int, frame: Frame) -> None:
        raise AssertionError("no frame is wanted")


def frame_span(count: int, fps: float, span: Span | None, path: str | Path) -> tuple[int, int]:
    """(start, stop) of a span in frames, stop excluded: at least one frame, none behind the end of the file.

    Raises:
        VideoError: the span begins behind the end, or the file does not say its frame rate.
        ClipzooError: no span of time.
    """
    if span is None:
        return 0, count
    if not 0 <= span[0] < span[1] < float("inf"):
        raise ClipzooError(f"span ({span[0]}, {span[1]}) must be seconds, 0 <= start < end")
    if not fps > 0:
        raise VideoError(path, f"does not say its frame rate, which the span {span[0]:g} to {span[1]:g} s needs")
    start = round(span[0] * fps)
    if start >= count:
        raise VideoError(path, f"the span {span[0]:g} to {span[1]:g} s begins behind its end ({count / fps:.2f} s)")
    return start, min(count, max(start + 1, round(span[1] * fps)))


def remember_count(path: str | Path, size: int, modified: int, count: int) -> None:
    """Notes the true count of a file, so that it is not found out again; `modified` in ns."""
    _COUNTS[_identity(path, size, modified)] = count


def _identity(path: str | Path, size: int, modified: int) -> int:
    return hash((os.fspath(path), size, modified))


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
            require_file(path)
            capture = open_video(path)
            try:
                if not capture.read()[0]:
                    raise _no_frame(path)
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
    capture: cv2.VideoCapture, wanted: Sequence[int], visit: Callable[[int, Frame], None], *, stop: int | None
) -> int:
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
            visit(seen, frame)
        seen += 1
    return seen


def _seek(
    capture: cv2.VideoCapture, packets: Packets, wanted: Sequence[int], visit: Callable[[int, Frame], None]
) -> bool:
    """Decodes the wanted frames alone. False as soon as one is not surely the right one."""
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
        visit(number, frame)
        position = number + 1
    return True


def require_file(path: str | Path) -> os.stat_result:
    """What the file system says of a file. Raises VideoError for what is no readable file, or empty."""
    if not str(path).isascii():
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:  # OpenCV would end the process
            raise VideoError(path, "its name is not UTF-8; rename it") from None
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise VideoError(
            str(path).replace("\0", "\\0"), "its name holds a NUL character, which no file's can"
        ) from None
    if not Path(path).is_file():
        raise VideoError(path, "is a folder, not a file" if Path(path).is_dir() else "is not a file")
    if stat.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "cannot be read (Permission denied)")
    return stat


def open_video(path: str | Path) -> cv2.VideoCapture:
    """Opens a file for decoding in one thread; release it. Raises VideoError for what OpenCV cannot open."""
    # Absolute: FFmpeg takes what stands before the colon of "12:30.avi" for a protocol.
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        capture.release()
        raise VideoError(path, "is not a video that OpenCV can open")
    return capture


def codec_name(capture: cv2.VideoCapture) -> str:
    """The four characters of an open file's codec; `unknown` where there are none that can be printed."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    name = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
    return name if name.isprintable() and name else "unknown"


def _no_frame(path: str | Path) -> VideoError:
    capture = open_video(path)
    codec = codec_name(capture)
    capture.release()
    return VideoError(path, NO_FRAME % codec)
