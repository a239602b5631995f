"""Steps of training planned over hosts, and run on virtual devices."""

from __future__ import annotations

import pytest

from benchmarks.cluster import LATENCY, ScalingEstimate
from tests.support.commands import script


def test_an_exchange_of_gradients_costs_what_the_ring_costs() -> None:
    alone = ScalingEstimate(hosts=1, step=0.1, gradient_bytes=10**8, bandwidth=10)
    assert (alone.exchange, alone.efficiency) == (0, (1, 1))
    four = ScalingEstimate(hosts=4, step=0.1, gradient_bytes=10**8, bandwidth=10)
    assert four.exchange == pytest.approx(2 * 3 / 4 * 0.08 + 6 * LATENCY)  # 100 MB take 0.08 s over 10 Gbit/s
    worst, best = four.efficiency
    assert worst == pytest.approx(0.1 / (0.1 + four.exchange))
    assert best == pytest.approx(0.1 / (0.1 + four.exchange - 0.2 / 3))
    assert ScalingEstimate(hosts=4, step=1.0, gradient_bytes=10**8, bandwidth=10).efficiency[1] == 1


@pytest.mark.slow
def test_a_step_is_planned_over_hosts_and_run_on_virtual_devices() -> None:
    done = script("cluster", "--quick", "--hosts", 6)
    assert done.returncode == 0, done.stderr
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert [cells[0] for cells in table] == ["1", "2", "4", "1", "2", "4", "6"]
    measured, planned = table[:3], table[3:]
    assert all(float(cells[1]) > 0 for cells in measured), measured
    assert [float(cells[1]) for cells in planned] == sorted(float(cells[1]) for cells in planned)
