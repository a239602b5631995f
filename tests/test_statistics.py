"""Medians, ratios and their intervals hold as often as they say; equal runs are seldom said to differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import compare
from benchmarks.harness.records import Results
from benchmarks.harness.statistics import median_interval, paired_difference, unpaired_ratio
from tests.support.results import a_row, a_setup


def test_the_interval_of_a_median_is_made_of_order_statistics() -> None:
    found = median_interval([5, 1, 9, 3, 7, 2, 8, 4, 6, 10])
    assert (found.value, found.low, found.high) == (5.5, 2, 9)  # the 2nd and the 9th of 10: 97.9 %
    assert median_interval([3.0]).width == 0
    few = median_interval([1, 2, 3, 4])
    assert (few.low, few.high) == (1, 4)


def test_the_interval_of_a_median_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (8, 10, 25):
        samples = rng.exponential(size=(400, count))
        inside = [(i := median_interval(row)).low <= np.log(2) <= i.high for row in samples]
        assert np.mean(inside) >= 0.92, count


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
def test_a_median_lies_within_its_interval(values: list[float]) -> None:
    found = median_interval(values)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


def test_ratios_of_unpaired_runs() -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(1.0, 0.02, 20), rng.normal(1.5, 0.02, 20)
    found = unpaired_ratio(own, other, level=0.95)
    assert found.low < 1.5 < found.high
    assert 1.4 < found.low < found.high < 1.6
    assert found.excludes_one
    assert not unpaired_ratio(own, own, level=0.95).excludes_one
    assert not unpaired_ratio([1.0, 1.1, 1.2], [2.0, 2.1, 2.2], level=0.95).excludes_one  # 3 values show nothing


@pytest.mark.slow
def test_two_runs_of_the_same_thing_are_seldom_said_to_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    said = 0
    for trial in range(24):
        pair = []
        for side in "ab":
            results = Results.start(tmp_path / f"{trial}{side}.jsonl", a_setup())
            for batch in range(1, 11):
                results.add(a_row(batch=batch, turns=[[value] for value in rng.lognormal(0, 0.05, 10)]))
            pair.append(results)
        said += any(difference.differs for difference in compare(*pair))
    assert said <= 5  # 5 % of 24 is 1.2; 6 and more would come about once in 800 times


def test_a_difference_that_may_be_chance_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    groups = [str(number // 4) for number in range(200)]
    first = rng.integers(0, 2, 200).astype(float)
    same, p = paired_difference(first, rng.permutation(first).tolist(), groups)
    assert same.value == 0 and same.low < 0 < same.high and p > 0.5
    better, p = paired_difference(first, np.maximum(first, np.arange(200) % 3 == 0).tolist(), groups)
    assert 0 < better.low < better.value < better.high and p < 0.001
    worse, _ = paired_difference(np.maximum(first, np.arange(200) % 3 == 0).tolist(), first, groups)
    assert worse.value == -better.value and worse.high < 0
    few, p = paired_difference([0.0] * 20, [1.0] * 20, [str(number % 5) for number in range(20)])
    assert (few.value, few.low, few.high, p) == (1.0, -1.0, 1.0, 1.0)  # five groups say nothing
