"""How well segments of videos are found: mean average precision at temporal overlaps, as ActivityNet defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from export.segments import Segment

OVERLAPS = (0.3, 0.5, 0.7)  # of THUMOS 2014


def overlap(one: Segment, other: Segment) -> float:
    """Temporal intersection over union (tIoU) of two segments, 0 to 1."""
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return shared / (one.end - one.start + other.end - other.start - shared)


def average_precisions(
    found: Mapping[str, Sequence[Segment]], truth: Mapping[str, Sequence[Segment]], *, least: float
) -> dict[str, float]:
    """Average precision of each label that the truth has.

    As ActivityNet's evaluation has it (Caba Heilbron et al., CVPR 2015): segments of all videos are taken by falling
    confidence. One is right if it overlaps a true segment of its video and label by `least`, of those that no earlier
    one took that which it overlaps most. The area is under the precision that is reached at each recall or beyond it.

    Args:
        found: video -> segments, as a model found them.
        truth: video -> true segments; their confidence is not looked at.
        least: tIoU, 0 < least <= 1.

    Returns:
        Label -> average precision, 0 to 1; 0 for a label of which nothing was found.
    """
    labels = sorted({segment.label for segments in truth.values() for segment in segments})
    return {label: _average_precision(found, truth, label, least) for label in labels}


def mean_average_precision(
    found: Mapping[str, Sequence[Segment]], truth: Mapping[str, Sequence[Segment]], *, least: float
) -> float:
    """The mean of `average_precisions` over the labels of the truth, 0 to 1; same arguments."""
    precisions = average_precisions(found, truth, least=least).values()
    return sum(precisions) / max(1, len(precisions))


def _average_precision(
    found: Mapping[str, Sequence[Segment]], truth: Mapping[str, Sequence[Segment]], label: str, least: float
) -> float:
    wanted = {video: [each for each in segments if each.label == label] for video, segments in truth.items()}
    ranked = [(video, each) for video, segments in found.items() for each in segments if each.label == label]
    ranked.sort(key=lambda pair: -pair[1].confidence)
    taken: set[tuple[str, int]] = set()
    right = np.zeros(len(ranked), bool)
    for rank, (video, segment) in enumerate(ranked):
        free = [
            (overlap(segment, true), place)
            for place, true in enumerate(wanted.get(video, ()))
            if (video, place) not in taken
        ]
        best, place = max(free, key=lambda pair: pair[0], default=(0.0, 0))
        if best >= least:
            taken.add((video, place))
            right[rank] = True
    precision = np.cumsum(right) / np.arange(1, len(ranked) + 1)
    beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float(beyond[right].sum() / sum(map(len, wanted.values())))
