"""Requests that come when they come: their moments, the queue's bound, and latencies from the moment of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness import open_loop
from benchmarks.harness.open_loop import Load, answer_all, camera_arrivals, poisson_arrivals
from benchmarks.harness.records import Results
from benchmarks.harness.statistics import percentiles
from loaders import ClipzooError
from tests.support.clock import FakedClock
from tests.support.results import a_row, a_setup


def run(
    arrivals: Sequence[float], *, batch: int, queue: int, seconds: Sequence[float] | float = 1.0
) -> tuple[Load, list[list[int]]]:
    """What comes of requests where each batch takes so long; and which went together."""
    clock, taken = FakedClock(), list[list[int]]()

    def answer(requests: Sequence[int]) -> None:
        clock.sleep(seconds if isinstance(seconds, int | float) else seconds[len(taken)])
        taken.append(list(requests))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_loop, "time", clock)
        return answer_all(answer, arrivals, batch=batch, queue=queue), taken


def test_poisson_arrivals_are_those_of_their_seed_and_rate() -> None:
    found = poisson_arrivals(50, 40, seed=3)
    assert found == poisson_arrivals(50, 40, seed=3) != poisson_arrivals(50, 40, seed=4)
    assert found == sorted(found) and len(found) == 2000 and 0 < found[0] < found[-1] < 40
    gaps = np.diff(found)  # exponential: as wide as they are long, and each apart from the next
    assert np.mean(gaps) == pytest.approx(1 / 50, rel=0.05) and np.std(gaps) == pytest.approx(1 / 50, rel=0.1)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.08
    per_second = np.bincount(np.array(found, int), minlength=40)
    assert 0.5 < per_second.var() / per_second.mean() < 1.7  # 1 of a Poisson process, 0 of an even beat
    assert len(poisson_arrivals(0.01, 1)) == 1


def test_each_camera_keeps_its_own_beat() -> None:
    found = camera_arrivals(3, 2.0, 5.0, seed=1)
    assert len(found) == 30 and found == sorted(found) == camera_arrivals(3, 2.0, 5.0, seed=1)
    phases = sorted({round(moment % 0.5, 9) for moment in found})
    assert len(phases) == 3
    for phase in phases:
        of_one = [moment for moment in found if round(moment % 0.5, 9) == phase]
        np.testing.assert_allclose(np.diff(of_one), 0.5)
    assert len(camera_arrivals(4, 0.5, 1.0)) == 4


def test_what_waits_goes_together_and_what_finds_no_room_is_refused() -> None:
    found, taken = run([0.0, 0.25, 0.5, 0.75, 5.0], batch=2, queue=2)
    assert taken == [[0], [1, 2], [4]]
    assert found.latencies == [1.0, 1.75, 1.5, 1.0]
    assert (found.refused, found.refused_share, found.batches, found.seconds) == (1, 0.2, [1, 2, 1], 6.0)
    assert found.mean_batch == 4 / 3
    found, taken = run([0.0, 0.25, 0.5, 0.75, 5.0], batch=2, queue=3)
    assert taken == [[0], [1, 2], [3], [4]] and found.refused == 0
    found, taken = run([0.0] * 7, batch=3, queue=7)  # a closed loop
    assert taken == [[0, 1, 2], [3, 4, 5], [6]] and found.seconds == 3.0


def test_a_stall_is_felt_by_all_who_come_meanwhile() -> None:
    """Coordinated omission: who asks again after an answer would see one slow request of a hundred."""
    arrivals = [float(second) for second in range(100)]
    found, _ = run(arrivals, batch=1, queue=100, seconds=[0.5] * 10 + [20.0] + [0.5] * 89)
    assert found.latencies[:10] == [0.5] * 10
    assert found.latencies[10:13] == [20.0, 19.5, 19.0]
    assert sum(latency > 1 for latency in found.latencies) == 38
    assert percentiles(found.latencies)[90] > 10
    refused, _ = run(arrivals, batch=1, queue=4, seconds=[0.5] * 10 + [20.0] + [0.5] * 89)
    assert refused.refused == 16  # of the 20 that came meanwhile, 4 found room


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 8), st.floats(0.01, 3)
)  # fmt: skip
def test_no_request_is_lost(moments: list[float], batch: int, queue: int, seconds: float) -> None:
    found, taken = run(sorted(moments), batch=batch, queue=queue, seconds=seconds)
    answered = [request for requests in taken for request in requests]
    assert len(found.latencies) + found.refused == len(moments)
    assert answered == sorted(set(answered)) and len(answered) == len(found.latencies)
    assert max(found.batches) <= min(batch, queue)
    assert all(seconds * 0.999 <= latency <= seconds * (2 + queue) for latency in found.latencies)


def test_a_p99_needs_a_thousand_samples(tmp_path: Path) -> None:
    assert list(percentiles(range(999))) == [50, 90, 95]
    assert percentiles(range(1000))[99] == pytest.approx(989.01)
    path = tmp_path / "serving-1.jsonl"
    few, many = ([0.001 * n for n in range(1, count + 1)] for count in (999, 1000))
    results = Results.start(path, a_setup(kind="serving"))
    for latencies in (few, many):
        results.add(a_row(batch=8, turns=[[0.5]], latencies=latencies))
    first, second = (row.summary() for row in Results.load(path).rows)
    assert "p99_ms" not in first and second["p99_ms"] == pytest.approx(990.01)
    assert second["p50_ms"] == pytest.approx(500.5) and second["clips_per_second"] == 16
    path.write_text(path.read_text().replace('"latencies": [0.001', '"latencies": [-0.001'))
    with pytest.raises(ClipzooError, match="damaged"):
        Results.load(path)
