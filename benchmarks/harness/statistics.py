"""Medians and their intervals. No distribution is assumed: times of a shared machine have none with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf

import numpy as np

LEVEL = 0.95
SETTLED = 0.03  # width of an interval, as a share of its figure, under which the figure is settled
FEWEST = 6  # values whose smallest and largest enclose the median with that probability
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Interval:
    """A figure, and between which bounds it lies."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Between the bounds, as a share of the figure."""
        return (self.high - self.low) / self.value

    @property
    def excludes_one(self) -> bool:
        """Whether, as a ratio, it says that two things differ."""
        return not self.low <= 1 <= self.high


def median_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The median, and the order statistics between which it lies with at least this probability.

    The number of values under the true median is binomial, whatever their distribution. With few values (under FEWEST
    for 95 %) no pair of them is sure enough: then the bounds are the smallest and the largest.

    Args:
        values: at least one, independent.
        level: the probability, 0 to 1.
    """
    ordered = np.sort(np.asarray(values, float))
    count = len(ordered)
    outside, under = 0, 0.0  # values left out at each end, and the chance that the median lies beyond them
    while outside < (count - 1) // 2:
        under += comb(count, outside) / 2**count
        if 2 * under > 1 - level:
            break
        outside += 1
    outside = max(0, outside - 1)
    return Interval(float(np.median(ordered)), float(ordered[outside]), float(ordered[count - 1 - outside]))


def unpaired_ratio(own: Sequence[float], other: Sequence[float], *, level: float, draws: int = 20_000) -> Interval:
    """median(other) / median(own) of two runs that were not measured side by side, by the bootstrap (seed 0).

    A bootstrap never leaves the range of the values. Where there are so few that two runs of the same thing lie wholly
    apart by chance more often than the level allows, the interval is from 0 to infinity.

    Args:
        own: independent values of one run.
        other: those of the other.
        level: of the interval, 0 to 1.
        draws: of the bootstrap.
    """
    if 2 / comb(len(own) + len(other), len(own)) > 1 - level:
        return Interval(float(np.median(other) / np.median(own)), 0.0, inf)
    rng = np.random.default_rng(0)

    def medians(values: Sequence[float]) -> np.ndarray:
        given = np.asarray(values, float)
        return np.asarray(np.median(rng.choice(given, (draws, len(given))), axis=1))

    ratios = medians(other) / medians(own)
    low, high = np.quantile(ratios, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(np.median(other) / np.median(own)), float(low), float(high))


def percentiles(values: Sequence[float]) -> Mapping[int, float]:
    """p50, p90, p95 and p99."""
    return dict(zip(PERCENTILES, np.percentile(values, PERCENTILES).tolist(), strict=True))
