"""Probabilities of windows -> segments: smoothed over time, then held by hysteresis. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loaders.spans import Span
from loaders.tasks import TASKS

_ROUNDING = 1e-6  # seconds; of frames divided by their rate


class Segment(NamedTuple):
    """A part of a video in which a label is there.

    Attributes:
        start: seconds from the first frame.
        end: seconds; end > start.
        label: the class.
        confidence: mean of its smoothed probability from start to end, 0 to 1.
    """

    start: float
    end: float
    label: str
    confidence: float


def smooth(spans: Sequence[Span], probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities at each instant: the mean of all windows that show it.

    With windows that overlap by half, what one window alone says counts half of what it and its neighbor say. Windows
    that do not overlap stay as they are.

    Args:
        spans: start and end of each window, seconds; both rise, and no instant is in no window.
        probabilities: of the windows, float32 (windows, labels).

    Returns:
        Where the value can change, float64 (parts + 1,), seconds; and its value between, float32 (parts, labels).
    """
    starts, ends = np.array(spans, np.float64).T
    edges = np.unique(np.concatenate([starts, ends]))
    first = np.searchsorted(ends, edges[:-1], side="right")  # the first window that does not end before a part
    stop = np.searchsorted(starts, edges[:-1], side="right")
    curve = np.empty((len(edges) - 1, probabilities.shape[1]), np.float32)
    for row, begin, end in zip(curve, first, stop, strict=True):
        row[:] = probabilities[begin:end].mean(axis=0)
    return edges, curve


def find_segments(
    edges: np.ndarray,
    curve: np.ndarray,
    labels: Sequence[str],
    *,
    on: float,
    off: float,
    least: float,
    one_at_a_time: bool,
) -> tuple[Segment, ...]:
    """Segments by hysteresis: a label is there while its probability is at least `off`, if it reaches `on` meanwhile.

    Two thresholds keep a segment whole whose probability wavers about one of them (Schmitt's trigger, 1938; in both
    directions of time, as Canny, PAMI 1986, follows edges).

    Args:
        edges: float64 (parts + 1,), seconds, rising.
        curve: float32 (parts, labels), as `smooth` gives it.
        labels: names, in the order of the columns.
        on: 0 < on <= 1.
        off: 0 <= off < on.
        least: seconds; what is shorter is no segment.
        one_at_a_time: whether the most probable label alone can be there, as for one class a clip; else each label has
            its segments, whatever the others do.

    Returns:
        Segments by start, those that start together by the order of the labels.
    """
    held = curve >= off
    if one_at_a_time:
        held &= TASKS["classification"].decide(curve)
    seconds = np.diff(edges)
    found = []
    for place in np.flatnonzero((held & (curve >= on)).any(axis=0)).tolist():
        turns = np.flatnonzero(np.diff(held[:, place], prepend=False, append=False)).tolist()
        for begin, end in zip(turns[::2], turns[1::2], strict=True):
            part = curve[begin:end, place]
            if part.max() >= on and edges[end] - edges[begin] >= least - _ROUNDING:
                confidence = float(np.average(part, weights=seconds[begin:end]))
                found.append(Segment(float(edges[begin]), float(edges[end]), labels[place], confidence))
    return tuple(sorted(found, key=lambda segment: segment.start))
