"""A source watched live: the newest frames are answered, and what cannot be is dropped, so that no answer is late."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from export.frame_source import Frame, Reader, Source, open_frame_source
from export.prediction import Prediction
from export.stream import Stream
from loaders.atomic import replacing, require_writable
from loaders.errors import ClipzooError
from loaders.printable import printable_name
from loaders.video_files import require_video_suffix, write_video

# What comes while a clip is computed must not be lost to the next clip.
_HELD, _HELD_BYTES = 32, 2**28
_FPS = 25.0  # of the annotated video, where the source does not say its own


@dataclass(kw_only=True)
class Watched:
    """What came of watching a source.

    Attributes:
        source: its name.
        frames: that entered the stream.
        dropped: frames of the source that did not.
        seconds: of the newest frame.
        latencies: from when its newest frame came to an answer, seconds, each.
        ended: why a source ended that has no end, in words; empty if it did not.
    """

    source: str
    frames: int = 0
    dropped: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    ended: str = ""

    @property
    def answers(self) -> int:
        """How many there were."""
        return len(self.latencies)

    @property
    def share_dropped(self) -> float:
        """Of the frames that the source gave, 0 to 1."""
        return self.dropped / max(1, self.frames + self.dropped)

    def latency(self, percentile: float) -> float:
        """Seconds from frame to answer, of so many of a hundred answers at the most; NaN without an answer."""
        return float(np.percentile(self.latencies, percentile)) if self.latencies else float("nan")

    def lines(self) -> list[str]:
        """The figures, for people."""
        found = [f"{self.frames} frames in {self.seconds:.1f} s, {self.share_dropped:.1%} dropped"]
        if self.latencies:
            median, most = (1000 * self.latency(percentile) for percentile in (50, 95))
            found.append(f"{self.answers} answers; from frame to answer {median:.0f} ms (median), {most:.0f} ms (95 %)")
        else:
            found.append("no answer: the clips of the model take more frames")
        return found


def watch(
    model: str | Path,
    source: str,
    *,
    out: str | Path | None = None,
    show: Callable[[Prediction], object] = lambda answer: None,
    begun: Callable[[Callable[[], None]], object] = lambda stop: None,
    **options: Any,
) -> Watched:
    """Answers a source live until it ends or is stopped.

    A thread reads the source and holds no more than 32 frames, or 256 MiB; of a file that takes frames, which computes
    each that is kept, no more than come for one that is kept. Older ones are dropped. All held frames enter the stream,
    then one answer is computed, of the newest. A video file plays at its own frame rate.

    Args:
        model: the ONNX file.
        source: the number of a camera, a video file, or an address; see `export.frame_source.open_frame_source`.
        out: a video to write, `.mp4` or `.avi`, with the answers on its frames. It runs as fast as the source; frames
            that were dropped show the one before.
        show: called with each answer.
        begun: called when the source begins to play, with what stops it.
        options: of `Stream`; its `fps` is the source's.

    Raises:
        VideoError: a file that cannot be read.
        ClipzooError: no such camera, an address that does not answer, a source without a frame, or as `Stream`.
    """
    if out is not None:
        require_video_suffix(out)
        require_writable(out)
    opened = open_frame_source(source)
    try:
        stream = Stream(model, fps=opened.fps, **options)
        stream.warm_up()
    except BaseException:
        opened.capture.release()
        raise
    reader = Reader(opened, most=stream.spacing if stream.stateful else _room(opened))
    watched = Watched(source=opened.name)
    begun(reader.stop)
    reader.start()
    try:
        frames = _answered(stream, reader, watched, show)
        first = next(frames, None)
        if first is None:
            raise ClipzooError(f"{opened.name}: {reader.ended or 'stopped before its first frame'}")
        if out is None:
            deque(frames, maxlen=0)
        else:
            fps = opened.fps or _FPS
            with replacing(out) as partial:
                write_video(partial, _annotated(first, frames, fps), fps, named=out)
    finally:
        reader.close()
    watched.dropped, watched.ended = reader.dropped, reader.ended
    return watched


def _room(source: Source) -> int:
    """How many frames of a source may wait."""
    sides = (source.capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return int(min(_HELD, max(1, _HELD_BYTES // max(1, 3 * math.prod(sides)))))


def _answered(
    stream: Stream, reader: Reader, watched: Watched, show: Callable[[Prediction], object]
) -> Iterator[tuple[Frame, Prediction | None]]:
    """Each frame, and the answer that was known when it came, or that is of it."""
    answer: Prediction | None = None
    while frames := reader.take():
        due, before = False, answer
        for frame in frames:
            due = stream.take(cv2.cvtColor(frame.picture, cv2.COLOR_BGR2RGB), seconds=frame.seconds) or due
        if due:
            answer = stream.answer()
            watched.latencies.append(time.monotonic() - frames[-1].arrived)
            show(answer)
        watched.frames, watched.seconds = watched.frames + len(frames), frames[-1].seconds
        for frame in frames[:-1]:
            yield frame, before
        yield frames[-1], answer


def _annotated(
    first: tuple[Frame, Prediction | None], others: Iterator[tuple[Frame, Prediction | None]], fps: float
) -> Iterator[np.ndarray]:
    """Pictures at an even rate, each with what was known when it was shown."""
    height, width = first[0].picture.shape[:2]
    given = 0
    for frame, answer in _chained(first, others):
        picture = None
        while given < frame.seconds * fps + 0.5:
            if picture is None:
                picture = frame.picture
                if picture.shape[:2] != (height, width):  # an address may change it
                    picture = cv2.resize(picture, (width, height))
                picture = draw_answer(picture, said(answer)) if answer else picture
            yield picture
            given += 1


def _chained(
    first: tuple[Frame, Prediction | None], others: Iterator[tuple[Frame, Prediction | None]]
) -> Iterator[tuple[Frame, Prediction | None]]:
    yield first
    yield from others


def said(answer: Prediction) -> str:
    """An answer on one line: `walk 87.3%`; of a model of numbers, each with its name."""
    if answer.probability is None:
        return ", ".join(f"{printable_name(name)} {value:.4g}" for name, value in answer.values.items())
    names = answer.labels or (answer.label,)
    return ", ".join(f"{printable_name(name)} {answer.probabilities[name]:.1%}" for name in names)


def draw_answer(picture: np.ndarray, text: str) -> np.ndarray:
    """A copy of a picture, uint8 (height, width, 3), BGR, with a line of text on a dark band at its top.

    OpenCV's letters are ASCII: others become question marks.
    """
    height, width = picture.shape[:2]
    font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, height / 480), max(1, round(height / 320))
    text = text.encode("ascii", "replace").decode()
    (long, tall), below = cv2.getTextSize(text, font, scale, thick)
    if long > 0.94 * width:
        scale *= 0.94 * width / long
        (long, tall), below = cv2.getTextSize(text, font, scale, thick)
    band = min(height, tall + 3 * below)
    drawn = picture.copy()
    drawn[:band] //= 3
    return cv2.putText(drawn, text, (width // 50, tall + below), font, scale, (255, 255, 255), thick, cv2.LINE_AA)
