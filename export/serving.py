"""An exported file behind HTTP, by LitServe: its workers read videos and compute, whatever waits goes together.

LitServe has the queue, the workers and their restart. It holds a body in memory, puts no bound on its queue, and loses
what is in hand at SIGTERM: uploads and limits are `export.intake`'s, and stopping is uvicorn's, in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import litserve
import numpy as np
import psutil
import uvicorn
from litserve.loops.simple_loops import BatchedLoop
from litserve.utils import wrap_litserve_start
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from export.intake import PREDICT, Intake, Metrics
from export.prediction import predicted
from export.runtime import Classifier
from export.serve_options import ServeOptions
from loaders import check
from loaders.clip import read_batches
from loaders.decode import forget_counts
from loaders.errors import ClipzooError, VideoError
from loaders.opening import trust_no_file
from loaders.packets import frame_pixels, lasts_longer
from loaders.processor import cores

_STOPS = (signal.SIGINT, signal.SIGTERM)


class _AsManyAsWait(BatchedLoop):
    """Batches of what waits. LitServe's own asks its queue a thousand times a second while nothing comes."""

    def get_batch_requests(
        self, lit_api: Any, request_queue: Queue[Any], transport: Any
    ) -> tuple[list[Any], list[Any]]:
        try:
            first = [request_queue.get(timeout=1.0)]
        except Empty:
            return [], []

        class Waiting:
            def get_nowait(self) -> Any:
                return first.pop() if first else request_queue.get_nowait()

        return super().get_batch_requests(lit_api, Waiting(), transport)


class ClipAPI(litserve.LitAPI):
    """What a worker does with a batch of jobs of `export.intake`: reads the clips side by side, and classifies them.

    Attributes:
        keeper: the process that keeps the queues.
    """

    keeper: int

    def __init__(self, model: Path, spool: Path, options: ServeOptions) -> None:
        super().__init__(max_batch_size=options.batch, api_path=PREDICT, loop=_AsManyAsWait())
        self._model, self._spool, self._options = model, spool, options

    def setup(self, device: object) -> None:
        """Opens the file, in the worker's process."""
        for stop in _STOPS:  # of the whole group: what is in hand is answered first, and the server ends its workers
            signal.signal(stop, signal.SIG_IGN)
        threading.Thread(target=_end_with_parent, args=[psutil.Process(self.keeper)], daemon=True).start()
        _quiet()
        trust_no_file()
        self._threads = max(1, cores() // self._options.workers)
        self._classifier = _open(self._model, self._options, threads=self._threads)

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As it is: clips are stacked where those are left out that cannot be read."""
        return inputs

    def predict(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers, or what is wrong, of each job."""
        # A decoder cannot be interrupted: a batch in which it hangs ends with the process.
        signal.setitimer(signal.ITIMER_REAL, self._options.timeout)
        try:
            return self._answers(jobs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            forget_counts()

    def _answers(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        begun = time.monotonic()
        files = [self._spool / job["file"] for job in jobs]
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(self._refuse, files, jobs))
        places = [place for place, refused in enumerate(found) if refused is None]
        for read in read_batches(
            [files[place] for place in places], self._classifier.specs, batch_size=max(1, len(places)),
            workers=self._threads, on_error="skip",
        ):  # fmt: skip
            for position, error in read.errors:
                found[places[position]] = _unreadable(jobs[places[position]], error)
            if not read.positions:
                continue
            at = time.monotonic()
            mine = [places[position] for position in read.positions]
            rows = self._rows(read.clips, [jobs[place]["name"] for place in mine])
            seconds = {"read": at - begun, "compute": time.monotonic() - at}
            for place, row in zip(mine, rows, strict=True):
                waited = {"queue": begun - jobs[place]["at"], **seconds}
                found[place] = self._answer(jobs[place], row, waited, batch=len(mine))
        return [each or {"status": 500, "error": "it was not read"} for each in found]

    def _refuse(self, file: Path, job: Mapping[str, Any]) -> dict[str, Any] | None:
        seconds, most = self._options.max_seconds, self._options.max_pixels
        try:
            pixels = frame_pixels(file)
            if pixels > most:
                what = f"the video's frames have {pixels:,} pixels, more than {most:,}"
            elif lasts_longer(file, seconds):
                what = f"the video is longer than {seconds:g} s"
            else:
                return None
        except VideoError as error:
            return _unreadable(job, error)
        return {"status": 413, "error": f"{job['name']}: {what}, the limit of this server"}

    def _rows(self, clips: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray | None]:
        """Probabilities or numbers of each clip; None for one whose answer is no number."""
        try:
            return list(self._classifier.scores(clips, names=names)[self._classifier.outputs[-1]])
        except ClipzooError as error:
            if len(names) == 1:
                print(f"error: {error}", file=sys.stderr, flush=True)
                return [None]
        alone = ({name: clip[n : n + 1] for name, clip in clips.items()} for n in range(len(names)))
        return [self._rows(one, [name])[0] for one, name in zip(alone, names, strict=True)]

    def _answer(
        self, job: Mapping[str, Any], row: np.ndarray | None, seconds: Mapping[str, float], *, batch: int
    ) -> dict[str, Any]:
        if row is None:
            return {"status": 500, "error": f"{job['name']}: the model gives no finite answer for it"}
        said = asdict(predicted(row, self._classifier.metadata, file=job["name"]))
        answer = {name: value for name, value in said.items() if name not in ("start", "end")}
        return {"answer": {**answer, "seconds": seconds}, "batch": batch}


class _Server(litserve.LitServer):
    def launch_inference_worker(self, lit_api: ClipAPI) -> Any:
        lit_api.keeper = self.manager._process.pid
        return super().launch_inference_worker(lit_api)


def serve(
    model: str | Path,
    options: ServeOptions | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serves a file until SIGTERM or SIGINT; what is in hand is answered first. Call it in the main thread.

    Args:
        model: the ONNX file.
        options: what is taken, and by how many.
        host: the address to listen at; others than this machine reach another one than the loopback's.
        port: 0 takes a free one.
        ready: called with the server's address once it answers.

    Raises:
        ClipzooError: as `Classifier`; or nothing can listen there.
    """
    model, options, metrics = Path(model), options or ServeOptions(), Metrics()
    check.whole("port", port, least=0, most=65535)
    with _listening(host, port):  # what is wrong is said before anything starts; workers shall not inherit this one
        _open(model, options)
    _quiet()
    with tempfile.TemporaryDirectory(prefix="clipzoo-serve-", ignore_cleanup_errors=True) as folder:
        spool = Path(folder)
        server = _Server(
            ClipAPI(model, spool, options), accelerator="cpu", devices=1, workers_per_device=options.workers,
            timeout=options.timeout, max_payload_size=None, restart_workers=True, disable_openapi_url=True,
            middlewares=[(Intake, {"options": options, "spool": spool, "metrics": metrics})],
        )  # fmt: skip
        server.monitor_internal = 0.2  # seconds until a worker that ended is missed
        server.app.add_route("/metrics", _told(metrics))
        # What is started now keeps ignoring them: a signal to the whole group shall not end it before us.
        before = {stop: signal.signal(stop, signal.SIG_IGN) for stop in _STOPS}
        try:
            with wrap_litserve_start(server, worker_monitor=True):
                try:
                    for stop in _STOPS:
                        signal.signal(stop, _stop)
                    _run(server, host, port, options, ready)
                except _StoppedError:
                    pass
                finally:
                    for stop in _STOPS:
                        signal.signal(stop, signal.SIG_IGN)
                    _end_workers(server)
        finally:
            for stop, handler in before.items():
                signal.signal(stop, handler)


def _run(server: Any, host: str, port: int, options: ServeOptions, ready: Callable[[str], None]) -> None:
    try:
        server.verify_worker_status()
    except RuntimeError:
        raise ClipzooError("no worker could open the file; what it said stands above") from None
    with _listening(host, port) as listener:
        config = uvicorn.Config(
            server.app, log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=int(options.timeout) + 5,
        )  # fmt: skip
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        why = str(getattr(error, "strerror", error)).partition(" (")[0]
        raise ClipzooError(f"cannot listen at {host}, port {port} ({why}); give another --host or --port") from None
    with listener:
        yield listener


def _end_workers(server: Any) -> None:
    """Ends the workers for good, when nothing is in hand; LitServe's monitor would start others."""
    server._shutdown_event.set()
    for thread in threading.enumerate():
        if thread.name == "litserve-monitoring":
            thread.join()
    for worker in server.inference_workers:
        worker.kill()


class _StoppedError(BaseException):
    """A signal, before the server answers, or again from uvicorn when it has answered what was in hand."""


def _stop(*_: object) -> None:
    raise _StoppedError


def _end_with_parent(keeper: psutil.Process) -> None:
    """Ends this worker, and the process that keeps the queues, when the server was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        with suppress(psutil.Error):
            keeper.kill()
        os._exit(1)


def _told(metrics: Metrics) -> Callable[[Any], Any]:
    async def told(request: Any) -> litserve.Response:
        return litserve.Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return told


def _quiet() -> None:
    litserve.configure_logging("error", stream=sys.stderr)


def _open(model: Path, options: ServeOptions, *, threads: int | None = None) -> Classifier:
    """The file, after a batch of black clips: what is slow once (TensorRT builds its engine), no request waits for."""
    on_cpu = options.provider == "cpu"
    classifier = Classifier(
        model, provider=options.provider, provider_options=options.provider_options, max_batch=options.batch,
        threads=threads if on_cpu else None, verify=options.verify,
    )  # fmt: skip
    specs = classifier.specs.items()
    classifier.scores({name: np.zeros((options.batch, *spec.shape), np.uint8) for name, spec in specs})
    return classifier


def _unreadable(job: Mapping[str, Any], error: VideoError) -> dict[str, Any]:
    return {"status": 422, "error": f"{job['name']}: {error.reason}"}
