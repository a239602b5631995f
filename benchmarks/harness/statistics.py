"""Medians and their intervals. No distribution is assumed: times of a shared machine have none with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf, isnan
from typing import Any

import numpy as np

from loaders.errors import ClipzooError

LEVEL = 0.95
SETTLED = 0.03  # width of an interval, as a share of its figure, under which the figure is settled
FEWEST = 6  # values whose smallest and largest enclose the median with that probability
PERCENTILES = (50, 90, 95, 99)
FEWEST_FOR_P99 = 1000  # samples: of fewer, less than ten lie beyond it, and it is the luck of those


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
    """The median, and the order statistics between which it lies with at least this probability, whatever the values'
    distribution (`scipy.stats.quantile_test`; Conover, Practical Nonparametric Statistics, 3.2).

    With few values (under FEWEST for 95 %) no pair of them is sure enough: then the bounds are the smallest and the
    largest.

    Args:
        values: at least one, independent.
        level: the probability, 0 to 1.
    """
    found = _scipy().quantile_test(values, p=0.5).confidence_interval(level)
    low, high = (end if isnan(bound) else bound for bound, end in zip(found, (min(values), max(values)), strict=True))
    return Interval(float(np.median(values)), float(low), float(high))


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

    def ratio(own: Any, other: Any, axis: int = -1) -> Any:
        return np.median(other, axis=axis) / np.median(own, axis=axis)

    value = float(ratio(own, other))
    if 2 / comb(len(own) + len(other), len(own)) > 1 - level:
        return Interval(value, 0.0, inf)
    found = _scipy().bootstrap(
        (own, other), ratio, n_resamples=draws, confidence_level=level, method="percentile", random_state=0
    )
    return Interval(value, *map(float, found.confidence_interval))


def paired_difference(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str], *, draws: int = 20_000
) -> tuple[Interval, float]:
    """How much more often the second is right than the first on the same clips, by the bootstrap over groups (seed 0).

    Clips of one group, such as one film, are right or wrong together, so that groups are drawn and not clips.

    Args:
        first: for each clip how often it was answered right, 0 to 1.
        second: likewise.
        groups: of each clip.
        draws: of the bootstrap.

    Returns:
        The difference of the means with its 95 % interval, and the two-sided p: the chance of a difference as far on
        the other side of 0.
    """
    names = sorted(set(groups))
    place = np.array([names.index(group) for group in groups])
    gains = np.bincount(place, np.subtract(second, first), len(names))
    counts = np.bincount(place, minlength=len(names))

    def mean(gains: Any, counts: Any, axis: int = -1) -> Any:
        return gains.sum(axis=axis) / counts.sum(axis=axis)

    value = float(mean(gains, counts))
    if len(names) < FEWEST:
        return Interval(value, -1.0, 1.0), 1.0
    found = _scipy().bootstrap(
        (gains, counts), mean, paired=True, n_resamples=draws, method="percentile", random_state=0
    )
    drawn = found.bootstrap_distribution
    sides = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return Interval(value, *map(float, found.confidence_interval)), float(min(1.0, 2 * sides))


def paired_seeds(first: Sequence[float], second: Sequence[float]) -> tuple[Interval, float]:
    """How much greater the second is, seed by seed, by the paired t-test.

    Args:
        first: a figure for each seed, two and more.
        second: likewise, of the same seeds.

    Returns:
        The mean difference with its 95 % interval, and the two-sided p; 1 where no seed differs.
    """
    gains = np.subtract(second, first)
    value = float(gains.mean())
    if np.ptp(gains) == 0:
        return Interval(value, value, value), 0.0 if value else 1.0
    found = _scipy().ttest_rel(second, first)
    return Interval(value, *map(float, found.confidence_interval(LEVEL))), float(found.pvalue)


def percentiles(values: Sequence[float]) -> Mapping[int, float]:
    """p50, p90, p95; and p99 of at least `FEWEST_FOR_P99` values."""
    wanted = [each for each in PERCENTILES if each < 99 or len(values) >= FEWEST_FOR_P99]
    return dict(zip(wanted, np.percentile(values, wanted).tolist(), strict=True))


def _scipy() -> Any:
    """Its statistics, imported when an interval is asked for: `clipzoo bench` needs none."""
    try:
        from scipy import stats
    except ImportError:
        raise ClipzooError('intervals need scipy, which is not installed: pip install "clipzoo[bench]"') from None
    return stats
