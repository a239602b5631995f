"""How an exported file answers requests that come when they come: `python -m benchmarks.serving`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.harness.contestants import own_row
from benchmarks.harness.open_loop import Load, answer_all, camera_arrivals, poisson_arrivals
from benchmarks.harness.prepared import onnx_of
from benchmarks.harness.records import Row
from benchmarks.harness.script import PreparedFolder, Quick, ResultFile, measuring, run_script
from benchmarks.harness.workers import Worker, WorkerError
from export.runtime import Classifier
from export.session import Provider, require_provider
from export.synthetic import synthetic_clips
from loaders.check import number, whole
from loaders.terminal import text_console

MODELS = ("convnet_gru", "mobilenet_gru", "tsm_mobilenetv2")
SHARES = (0.25, 0.5, 0.75, 0.9, 1.1)  # of what a closed loop does
PATIENCE = 300.0  # seconds that one load may take beyond its own


class RequestRunner:
    """A Classifier and one worker before it, who takes what waits up to a batch; clips lie in memory.

    Args:
        path: the ONNX file.
        provider: of ONNX Runtime.
        batch: clips that go through the network together, at the most.
        queue: requests that wait, at the most.
        threads: of ONNX Runtime on the CPU.
    """

    def __init__(self, *, path: Path, provider: Provider, batch: int, queue: int, threads: int | None = None) -> None:
        self.classifier = Classifier(path, provider=provider, threads=threads, max_batch=batch)
        self.batch, self.queue = batch, queue
        self.clips = synthetic_clips(self.classifier.specs)
        for size in range(1, batch + 1):  # what is slow once, no request waits for
            self._answer(range(size))

    def closed_loop(self, seconds: float) -> Load:
        """Batches without a pause, for this long at least: what the file can do."""
        first = answer_all(self._answer, [0.0] * self.batch, batch=self.batch, queue=self.batch)
        requests = self.batch * max(1, round(seconds / first.seconds))
        return answer_all(self._answer, [0.0] * requests, batch=self.batch, queue=requests)

    def open_loop(self, arrivals: Sequence[float]) -> Load:
        """Requests at these moments."""
        return answer_all(self._answer, arrivals, batch=self.batch, queue=self.queue)

    def _answer(self, requests: Sequence[int]) -> None:
        # Each request brings a clip of its own: they are put together here, as a server must.
        self.classifier.scores({n: np.stack([c[r % len(c)] for r in requests]) for n, c in self.clips.items()})


def serving(
    path: str | Path,
    *,
    provider: Provider = "cpu",
    shares: Sequence[float] = SHARES,
    windows: float = 2.0,
    seconds: float = 12.0,
    batch: int = 8,
    queue: int = 16,
    seed: int = 0,
    threads: int | None = None,
    done: Callable[[Row], object],
) -> None:
    """Measures a file behind a queue, in a process of its own: a closed loop, Poisson arrivals at shares of its rate,
    and cameras.

    Args:
        path: the ONNX file.
        provider: of ONNX Runtime.
        shares: requests a second, as shares of what the closed loop answers, each above 0.
        windows: clips a second of each camera, above 0. As many cameras as can be are sought, by halving: p95 must be
            below the time between two windows, and none refused.
        seconds: of each load, above 0.
        batch: clips that go through the network together, at the most.
        queue: requests that wait, at the most; more are refused.
        seed: of the arrivals.
        threads: of ONNX Runtime on the CPU.
        done: called with each row as soon as it is measured.

    Raises:
        ClipzooError: the file cannot be used, or an argument is out of its range.
    """
    for name, value in (("windows", windows), ("seconds", seconds), *(("shares", share) for share in shares)):
        number(name, value, above=0)
    for name, count in (("batch", batch), ("queue", queue)):
        whole(name, count)
    plain = own_row(Classifier(path, provider=provider, threads=threads), provider)
    plain = replace(plain, model=Path(path).stem, batch=batch, settings={**plain.settings, "queue": str(queue)})
    arguments = {"path": Path(path), "provider": provider, "batch": batch, "queue": queue, "threads": threads}
    worker = None

    def measured(load: str, method: str, given: object, offered: float | None = None, **facts: object) -> Row:
        assert worker is not None
        row = replace(plain, settings={**plain.settings, "load": load})
        try:
            found: Load = worker.call(method, given)
        except WorkerError as error:
            done(replace(row, status=error.status, note=str(error)))
            raise
        row = _row(row, found, offered=offered, facts=facts)
        done(row)
        return row

    try:
        worker = Worker(RequestRunner, arguments, limit=PATIENCE + seconds)
        capacity = measured("closed loop", "closed_loop", seconds).clips_per_second
        for share in shares:
            rate = share * capacity
            arrivals = poisson_arrivals(rate, seconds, seed=seed)
            measured(f"Poisson, {share:g} of it", "open_loop", arrivals, rate, share=share)
        _most_cameras(capacity, windows, seconds, seed, measured)
    except WorkerError as error:
        if worker is None:
            row = replace(plain, settings={**plain.settings, "load": "closed loop"})
            done(replace(row, status=error.status, note=str(error)))
    finally:
        if worker is not None:
            worker.close()


def _most_cameras(capacity: float, windows: float, seconds: float, seed: int, measured: Callable[..., Row]) -> None:
    """Halves between none and one more than the closed loop answers: more are served
    for a while, and no longer."""
    served, beyond = 0, int(capacity / windows + 1e-6) + 1
    while beyond - served > 1:
        cameras = (served + beyond) // 2
        row = measured(
            f"{cameras} cameras, {windows:g} clips/s each", "open_loop",
            camera_arrivals(cameras, windows, seconds, seed=seed), cameras * windows, cameras=cameras,
            windows_per_second=windows,
        )  # fmt: skip
        served, beyond = (cameras, beyond) if row.facts["in_time"] else (served, cameras)


def _row(row: Row, found: Load, *, offered: float | None, facts: dict[str, object]) -> Row:
    """A turn is the time in which a batch of clips was answered; of a closed loop there is no latency to speak of."""
    turn = found.seconds * row.batch / len(found.latencies)
    row = replace(row, turns=[[turn]], latencies=found.latencies if offered else [])
    facts = {
        **facts, "answered": len(found.latencies), "refused": found.refused, "refused_share": found.refused_share,
        "mean_batch": found.mean_batch, **({"offered_per_second": offered} if offered else {}),
    }  # fmt: skip
    if "cameras" in facts:
        window = 1 / float(facts["windows_per_second"])  # type: ignore[arg-type]
        facts["in_time"] = not found.refused and row.summary()["p95_ms"] < 1e3 * window
    return replace(row, facts=facts)


def suite(
    models: Annotated[
        list[str] | None,
        typer.Option("--models", help=f"Names in the zoo, or ONNX files; {', '.join(MODELS)} if left out."),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt, openvino or openvino-bfloat16.")] = "cpu",
    share: Annotated[
        list[float] | None, typer.Option(help="Requests a second, of what a closed loop answers; 0.25 to 1.1.")
    ] = None,
    windows: Annotated[float, typer.Option(help="Clips a second of each camera.")] = 2.0,
    seconds: Annotated[float | None, typer.Option(help="Of each load; 12, or 1 with --quick.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips that go through the network together, at the most.")] = 8,
    queue: Annotated[int, typer.Option(min=1, help="Requests that wait, at the most; more are refused.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of ONNX Runtime on the CPU.")] = None,
    folder: PreparedFolder = None,
    quick: Quick = False,
    json_file: ResultFile = None,
) -> None:
    """Measure a file behind a queue: latency and clips/s under Poisson arrivals, and how many cameras it serves."""
    console = text_console()
    require_provider(provider)
    names = models or (["mobilenet_gru"] if quick else list(MODELS))
    paths = [onnx_of(name, folder) for name in names]
    on_gpu = provider in ("cuda", "tensorrt")
    with measuring("serving", json_file, console, on_gpu=on_gpu, threads=threads, quick=quick) as results:
        for path in paths:
            console.print(f"{path.stem}: measuring, load by load")
            serving(
                path, provider=provider, shares=share or SHARES, windows=windows,  # type: ignore[arg-type]
                seconds=seconds or (1.0 if quick else 12.0), batch=batch, queue=queue, seed=seed, threads=threads,
                done=results.add,
            )  # fmt: skip


if __name__ == "__main__":
    run_script(suite)
