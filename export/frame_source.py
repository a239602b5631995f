"""What a stream is watched from: a camera, a video file that plays in real time, or an address of the network."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from loaders.errors import ClipzooError, VideoError
from loaders.opening import no_frame, open_video, require_file

_PATIENCE = 10000  # milliseconds that a network source may say nothing
_SKIPS = 4  # frames that are skipped one behind the other to catch up; then one is shown, however late


class Source(NamedTuple):
    """An open source.

    Attributes:
        name: for messages; of an address without name and password.
        capture: OpenCV's.
        fps: frames a second, as it says itself; None where it does not.
        plays: whether it has an end, and gives frames as fast as they are asked for, so that it must be played.
    """

    name: str
    capture: cv2.VideoCapture
    fps: float | None
    plays: bool


class Frame(NamedTuple):
    """A frame of a source.

    Attributes:
        picture: uint8 (height, width, 3), BGR.
        seconds: when it is to be seen: of what plays, by its number; else when it came, from the first on.
        arrived: when it came, by the clock of `time.monotonic`.
    """

    picture: np.ndarray
    seconds: float
    arrived: float


def open_frame_source(source: str) -> Source:
    """Opens a source. Nothing but an address (`scheme://...`) has this program use the network.

    Args:
        source: the number of a camera, such as `0`; a video file; or an address, as FFmpeg takes it: `rtsp://...`,
            `http://...`.

    Raises:
        VideoError: a file that cannot be read, or that does not say its frame rate.
        ClipzooError: no such camera, or an address that does not answer with a video.
    """
    if source.isascii() and source.isdigit():
        if int(source) >= 2**31:  # OpenCV counts in 32 bits
            raise ClipzooError(
                f"camera {source}: no machine has so many; give the number of one that is there, such as 0"
            )
        name = f"camera {int(source)}"
        return _opened(name, cv2.VideoCapture(int(source)), "is not there, or another program uses it")
    if "://" in source:
        name = re.sub(r"(?<=://)[^/@]*@", "", source)
        patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, patience)
        return _opened(name, capture, "does not answer with a video that OpenCV can open; see that it is up")
    require_file(source)
    found = _opened(source, open_video(source), "")
    if found.fps is None:
        found.capture.release()
        raise VideoError(source, "does not say its frame rate, so nobody knows how fast to play it")
    return found._replace(plays=True)


def _opened(name: str, capture: cv2.VideoCapture, otherwise: str) -> Source:
    if not capture.isOpened():
        capture.release()
        raise ClipzooError(f"{name}: {otherwise}")
    fps = capture.get(cv2.CAP_PROP_FPS)
    known = fps if 0 < fps <= 1000 else None  # streams without a rate say 0, or ticks of their clock
    return Source(name, capture, known, known is not None and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)


class Reader:
    """Reads a source in a thread of its own and holds its newest frames alone, so that nobody is behind it.

    Args:
        source: open; it is closed when the reading ends.
        most: frames that are held; of more, the oldest are dropped.

    Attributes:
        dropped: frames that nobody got: not held any more, or skipped because decoding is behind what plays.
        ended: why a source ended that has no end, in words; empty if it did not.
    """

    def __init__(self, source: Source, *, most: int) -> None:
        self.source = source
        self.dropped, self.ended = 0, ""
        self._held: deque[Frame] = deque(maxlen=most)
        self._stop, self._over = threading.Event(), False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"reads {source.name}")

    def start(self) -> None:
        """From now on the source plays."""
        self._thread.start()

    def take(self) -> list[Frame]:
        """All frames that are held, the oldest first; waits for one. Empty: there are no more.

        Raises:
            Exception: whatever ended the reading, but for what `ended` says.
        """
        with self._changed:
            # Not without end: whoever waits so sees no Ctrl-C on some systems.
            while not self._held and not self._over and not self._stop.is_set():
                self._changed.wait(0.1)
            found = [] if self._stop.is_set() else list(self._held)
            self._held.clear()
        if not found and self._failure is not None:
            raise self._failure
        return found

    def stop(self) -> None:
        """Ends the reading; frames that are held are gone."""
        self._stop.set()

    def close(self) -> None:
        """Ends the reading, and waits for that a moment: a camera may hang for longer."""
        self.stop()
        with suppress(RuntimeError):  # not started
            self._thread.join(2)
            return
        self.source.capture.release()

    def _run(self) -> None:
        try:
            self._read()
        except cv2.error as error:
            self.ended = f"OpenCV cannot decode it ({error.err or error.msg})"
        except Exception as error:
            self._failure = error  # raised where somebody sees it
        finally:
            self.source.capture.release()
            with self._changed:
                self._over = True
                self._changed.notify()

    def _read(self) -> None:
        capture, fps = self.source.capture, self.source.fps
        began, number, skipped = time.monotonic(), 0, 0
        while not self._stop.is_set():
            if self.source.plays and fps is not None:
                early = began + number / fps - time.monotonic()
                if early > 0:
                    self._stop.wait(early)
                elif early < -1 / fps and skipped < _SKIPS and number:
                    if not capture.grab():
                        return
                    number, skipped, self.dropped = number + 1, skipped + 1, self.dropped + 1
                    continue
            there, picture = capture.read()
            if not there:
                if number == 0 and self.source.plays and Path(self.source.name).is_file():
                    self.ended = no_frame(self.source.name).reason
                elif number == 0 or not self.source.plays:
                    self.ended = "gives no more frames" if number else "opens and gives no frame"
                return
            arrived = time.monotonic()
            began = arrived if number == 0 else began
            seconds = number / fps if self.source.plays and fps is not None else arrived - began
            with self._changed:
                self.dropped += len(self._held) == self._held.maxlen
                self._held.append(Frame(picture, seconds, arrived))
                self._changed.notify()
            number, skipped = number + 1, 0
