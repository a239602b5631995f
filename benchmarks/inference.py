"""How fast an exported file runs in ONNX Runtime."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime import Classifier, Provider, onnxruntime
from loaders.errors import ClipzooError

ROUNDS, SECONDS, WARM_UP = 10, 3.0, 3


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """One batch size of one file on one provider.

    Attributes:
        batch: clips that go through together.
        provider: the one in use, as ONNX Runtime names it.
        rounds: how many were timed, after the warm-up.
        p50_ms: median time of a round, milliseconds; likewise p95_ms.
        clips_per_second: of the median round; likewise frames_per_second.
        samples_ms: every round.
    """

    batch: int
    provider: str
    rounds: int
    p50_ms: float
    p95_ms: float
    clips_per_second: float
    frames_per_second: float
    samples_ms: tuple[float, ...]


def bench(
    path: str | Path,
    *,
    provider: Provider = "cpu",
    batches: Sequence[int] = (1, 8),
    seconds: float = SECONDS,
    threads: int | None = None,
    done: Callable[[Throughput], object] = lambda _: None,
) -> dict[str, Any]:
    """Times a file on random clips, from host memory to host memory.

    Each batch size is warmed up apart, then run for at least 10 rounds and `seconds`.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda` or `tensorrt`.
        batches: batch sizes, each >= 1.
        seconds: least time for each, > 0.
        threads: of ONNX Runtime on the CPU.
        done: called with each row as soon as it is measured.

    Returns:
        What was measured, on what, ready for JSON; `rows` holds a table for each batch size.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    if not batches or min(batches) < 1 or seconds <= 0:
        raise ClipzooError(f"bench needs batches ({list(batches)}) >= 1 and seconds ({seconds}) > 0")
    start = time.perf_counter()
    classifier = Classifier(path, provider=provider, threads=threads)
    loaded = time.perf_counter() - start
    rows = []
    for batch in batches:
        rows.append(_time(classifier, batch, seconds))
        done(rows[-1])
    return {
        "file": str(path),
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "model": classifier.metadata.model,
        "specs": {name: spec.to_dict() for name, spec in classifier.specs.items()},
        "parity": classifier.metadata.parity,
        "provider": classifier.provider,
        "threads": threads,
        "onnxruntime": onnxruntime().__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "session_seconds": loaded,
        "rows": [asdict(row) for row in rows],
    }


def _time(classifier: Classifier, batch: int, seconds: float) -> Throughput:
    rng = np.random.default_rng(0)
    clips = {name: rng.integers(0, 256, (batch, *spec.shape), np.uint8) for name, spec in classifier.specs.items()}
    frames = next(iter(classifier.specs.values())).frames
    for _ in range(WARM_UP):
        classifier.scores(clips)
    samples: list[float] = []
    begun = time.perf_counter()
    while len(samples) < ROUNDS or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        classifier.scores(clips)
        samples.append((time.perf_counter() - start) * 1e3)
    median, slow = (float(value) for value in np.percentile(samples, (50, 95)))
    rate = batch / median * 1e3
    return Throughput(
        batch=batch,
        provider=classifier.provider,
        rounds=len(samples),
        p50_ms=median,
        p95_ms=slow,
        clips_per_second=rate,
        frames_per_second=rate * frames,
        samples_ms=tuple(samples),
    )
