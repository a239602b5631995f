"""Requests that come when they come, whatever the server does: an open loop, with a bounded queue before one worker.

A closed loop asks again when it was answered, so that a slow answer keeps away those who would have waited behind it.
Here the moments of all requests are known before the first, and a latency begins at the moment, not when somebody got
round to it (Schroeder, Wierman, Harchol-Balter, NSDI 2006; Tene calls what that avoids coordinated omission).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came of requests.

    Attributes:
        latencies: seconds from the moment of a request to its answer, of those that were answered, in their order.
        refused: requests that found the queue full.
        batches: how many went through the network together, each time.
        seconds: from the beginning to the last answer.
    """

    latencies: list[float]
    refused: int
    batches: list[int]
    seconds: float

    @property
    def refused_share(self) -> float:
        """Of all requests, 0 to 1."""
        return self.refused / (self.refused + len(self.latencies))

    @property
    def mean_batch(self) -> float:
        """Clips that went through the network together, on average."""
        return len(self.latencies) / len(self.batches)


def poisson_arrivals(rate: float, seconds: float, *, seed: int = 0) -> list[float]:
    """Moments of a Poisson process, seconds from the beginning, ascending.

    As many as are expected in that time, at least one, so that the rate is what it says; given their number, the
    moments of such a process are drawn evenly and apart from each other (Kingman, Poisson Processes, 2.4).

    Args:
        rate: requests a second, above 0.
        seconds: how long, above 0.
        seed: of the process.
    """
    moments = np.random.default_rng(seed).uniform(0, seconds, max(1, round(rate * seconds)))
    return [float(moment) for moment in np.sort(moments)]


def camera_arrivals(cameras: int, windows: float, seconds: float, *, seed: int = 0) -> list[float]:
    """Moments at which cameras have a window of frames, ascending: each at its own even beat, out of step with the
    others.

    Args:
        cameras: how many, >= 1.
        windows: of each a second, above 0.
        seconds: how long, above 0; each camera has at least one window.
        seed: of where in its beat a camera begins.
    """
    beats = np.arange(max(1, ceil(windows * seconds))) / windows
    begins = np.random.default_rng(seed).uniform(0, 1 / windows, cameras)
    return sorted(float(moment) for moment in (begins[:, None] + beats).ravel())


def answer_all(answer: Callable[[Sequence[int]], object], arrivals: Sequence[float], *, batch: int, queue: int) -> Load:
    """Answers requests as one worker behind a queue does: it takes what waits, up to a batch, oldest first, and the
    next when that is answered. A request that finds the queue full is refused.

    Nothing leaves the queue while the worker computes, so those who came meanwhile are let in, or refused, in their
    order when it is done: the same as if they had been at their moments, without a second thread that takes the
    worker's time.

    Args:
        answer: computes the answers to requests, given by their places in `arrivals`.
        arrivals: moments in seconds from the beginning, ascending, at least one.
        batch: clips that go through the network together, at the most, >= 1.
        queue: requests that wait, at the most, >= 1; those being computed wait no more.
    """
    waiting: deque[int] = deque()
    latencies: list[float] = []
    batches: list[int] = []
    refused = place = 0
    begun = time.perf_counter()
    moments = [begun + arrival for arrival in arrivals]
    while waiting or place < len(moments):
        now = time.perf_counter()
        while place < len(moments) and moments[place] <= now:
            if len(waiting) < queue:
                waiting.append(place)
            else:
                refused += 1
            place += 1
        if not waiting:
            time.sleep(moments[place] - now)
            continue
        taken = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
        answer(taken)
        done = time.perf_counter()
        latencies += [done - moments[each] for each in taken]
        batches.append(len(taken))
    return Load(latencies=latencies, refused=refused, batches=batches, seconds=time.perf_counter() - begun)
