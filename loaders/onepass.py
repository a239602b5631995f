"""Many spans of one file in one pass: each clip is handed on as soon as no frame behind it can change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from loaders.canvas import InputBuilder, frames_of, moved
from loaders.decode import follow_frames
from loaders.errors import ClipzooError, VideoError
from loaders.flow import require_methods
from loaders.sampling import Step, sample
from loaders.spans import Span, frame_span, open_span, refusal
from loaders.spec import ClipSpec


def read_spans(
    path: str | Path, specs: Sequence[ClipSpec], spans: Sequence[Span | None]
) -> Iterator[list[np.ndarray] | VideoError]:
    """Reads the canvases of several spans of a file, in one pass, as the test split samples them.

    What is kept is what clips that have begun and were not given yet need; they are given in the order of `spans`, so
    spans that begin one behind the other take the least.

    Args:
        path: the video file.
        specs: of the inputs.
        spans: parts of the file, seconds; None for all of it.

    Yields:
        For each span, in order, for each spec uint8 (frames, H, W, channels); or why the clip cannot be read.

    Raises:
        ClipzooError: this OpenCV has not the flow method of a spec.
    """
    require_methods(specs)
    given = 0

    def plan(count: int, fps: float) -> _Pass:  # called again where the header's count was wrong
        return _Pass(path, specs, spans[given:], count, fps)

    try:
        for reading in follow_frames(path, plan):
            while reading.ready():
                given += 1
                yield reading.give()
        while given < len(spans):
            given += 1
            yield reading.give()
    except VideoError as error:
        for _ in range(given, len(spans)):
            yield error


class _Pass:
    """The clips of a file, as its visitor."""

    def __init__(
        self, path: str | Path, specs: Sequence[ClipSpec], spans: Sequence[Span | None], count: int, fps: float
    ) -> None:
        self.path, self.specs, self.spans, self.count, self.fps = path, specs, spans, count, fps
        self.tracks = [InputBuilder(spec) for spec in specs]
        starts = np.zeros(len(spans), np.int64)
        passed = np.zeros(count, bool)  # a set of all frames of a day would be large
        for n in range(len(spans)):
            steps = self._steps(n)
            if not isinstance(steps, VideoError):
                frames = frames_of(*steps)
                starts[n] = min(frames)
                passed[list(frames)] = True
        self.wanted: list[int] = np.flatnonzero(passed).tolist()
        self._order = np.argsort(starts, kind="stable").tolist()
        self._starts = starts
        self._begun = 0
        self._given = 0
        self._seen = 0

    def visit(self, number: int, frame: np.ndarray) -> None:
        while self._begun < len(self._order) and self._starts[self._order[self._begun]] <= number:
            steps = self._steps(self._order[self._begun])
            if not isinstance(steps, VideoError):
                for track, taken in zip(self.tracks, steps, strict=True):
                    track.begin(taken)
            self._begun += 1
        for track in self.tracks:
            track.visit(number, frame)
        self._seen = number + 1

    def ready(self) -> bool:
        """Whether the next clip is the same however long the file turns out to be: its last frame came."""
        if self._given == len(self.spans):
            return False
        try:
            return open_span(self.fps, self.spans[self._given], self.path)[1] <= self._seen
        except ClipzooError:
            return True  # refused, whatever the file

    def give(self) -> list[np.ndarray] | VideoError:
        """The next clip; all of its frames came."""
        steps = self._steps(self._given)
        self._given += 1
        if isinstance(steps, VideoError):
            return steps
        return [track.finish(taken) for track, taken in zip(self.tracks, steps, strict=True)]

    def _steps(self, n: int) -> list[list[Step]] | VideoError:
        """What the steps of a clip are made of, for each spec; made anew: of thousands of clips it would be much."""
        span = self.spans[n]
        try:
            start, stop = frame_span(self.count, self.fps, span, self.path)
            return [moved(sample(stop - start, spec, fps=self.fps), start) for spec in self.specs]
        except ClipzooError as error:
            return refusal(self.path, span, error)
