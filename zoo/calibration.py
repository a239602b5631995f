"""Whether a model is right as often as its probabilities say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
    """Clips whose confidence is alike.

    Attributes:
        clips: how many, >= 1.
        confidence: its mean, 0 to 1.
        right: how many of them were right.
    """

    clips: int
    confidence: float
    right: int


def calibration_bins(confidence: np.ndarray, right: np.ndarray, *, bins: int = 15) -> list[Bin]:
    """Clips by confidence, in bins of equal width; those without a clip are left out.

    Args:
        confidence: (clips,), the probability of the class that was said, 0 to 1.
        right: (clips,), whether it was right.
        bins: how many there are between 0 and 1.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        Bin(int(held.sum()), float(confidence[held].mean()), int(right[held].sum()))
        for held in (place == each for each in np.unique(place))
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray, *, bins: int = 15) -> float:
    """Expected calibration error (arXiv 1706.04599): the mean gap between confidence and accuracy, 0 to 1.

    Args: as of `calibration_bins`.
    """
    held = calibration_bins(confidence, right, bins=bins)
    return sum(abs(each.clips * each.confidence - each.right) for each in held) / len(confidence)
