"""Parts of a file: seconds as the frames that they are, and what is said where a clip does not fit into them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from loaders.errors import ClipzooError, VideoError
from loaders.sampling import sample
from loaders.spec import ClipSpec

Span = tuple[float, float]  # start and end, seconds


def frame_span(count: int, fps: float, span: Span | None, path: str | Path) -> tuple[int, int]:
    """(start, stop) of a span in frames, stop excluded: at least one frame, none behind the end of the file.

    Raises:
        VideoError: the span begins behind the end, or the file does not say its frame rate.
        ClipzooError: no span of time.
    """
    start, stop = open_span(fps, span, path)
    if start >= count:
        assert span is not None
        raise VideoError(path, f"the {span_words(span)} begins behind its end ({count / fps:.2f} s)")
    return start, min(count, stop)


def open_span(fps: float, span: Span | None, path: str | Path) -> tuple[int, int]:
    """As `frame_span`, of a file that has no end."""
    if span is None:
        return 0, sys.maxsize
    if not 0 <= span[0] < span[1] < float("inf"):  # nan is none either
        raise ClipzooError(f"span ({span[0]}, {span[1]}) must be seconds, 0 <= start < end")
    if not fps > 0:
        raise VideoError(path, f"does not say its frame rate, which the {span_words(span)} needs")
    start = round(span[0] * fps)
    return start, max(start + 1, round(span[1] * fps))


def span_words(span: Span) -> str:
    """A span as messages name it."""
    return f"span {span[0]:g} to {span[1]:g} s"


def refusal(path: str | Path, span: Span | None, error: ClipzooError) -> VideoError:
    """What a clip is refused for, by the name of its file and, where it is a part of one, by its span."""
    if isinstance(error, VideoError):
        return error
    return VideoError(path, str(error) if span is None else f"in the {span_words(span)} {error}")


def lack(path: str | Path, count: int, fps: float, span: Span | None, specs: Iterable[ClipSpec]) -> VideoError | None:
    """Why a file of `count` frames has no clip for `specs`: too few frames, or a span behind its end; or None."""
    try:
        start, stop = frame_span(count, fps, span, path)
        for spec in specs:
            sample(stop - start, spec, fps=fps)
    except ClipzooError as error:
        return refusal(path, span, error)
    return None
