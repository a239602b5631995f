"""Chunks of work answered by one worker here, or by many of Ray Data: the same code, the same answers."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2

from loaders.check import whole
from loaders.errors import ClipzooError
from loaders.processor import cores

LOST = "ends the process that reads it"
_RETRIES = 2  # of a chunk whose worker ended; then its items are tried one by one
_STORE_BYTES = 2**28  # of answers on their way; a local Ray would take a third of the memory
_SECONDS = 5.0  # for an address to answer; Ray itself tries for two minutes and ends the process


class Worker(Protocol):
    """Answers a chunk: a row for each item, in order. It keeps what is costly, such as a session, from call to call."""

    def __call__(self, items: Sequence[Any], /) -> list[Any]: ...


def map_chunks(
    chunks: Mapping[int, Sequence[Any]],
    make: Callable[..., Worker],
    *,
    lost: Callable[[Any], Any],
    ray: str | None = None,
    ray_workers: int | None = None,
    gpu: bool = False,
) -> Generator[tuple[int, list[Any]], None, None]:
    """Answers chunks of items, and gives the answers of each as they come.

    Of a worker that is killed, Ray starts another and gives it the chunk again: no other answer is lost, and none comes
    twice. Where that does not help, the items of the chunk are tried one by one.

    Args:
        chunks: number -> items.
        make: called with `threads`, of a worker's network, or None for as many as there are: a worker. With Ray it is
            called in each worker's process, and must be a function of a module, or a `functools.partial` of one.
        lost: the row of an item that ends every worker that tries it.
        ray: `local` starts Ray here, an address (`host:port`, `auto`, `ray://host:port`) uses one that runs; None: one
            worker, in this process.
        ray_workers: how many, >= 1; of an address all that it has room for, and of `local` one a core, if left out.
        gpu: whether each takes a GPU.

    Yields:
        The number of a chunk, and its rows; with Ray in any order.

    Raises:
        ClipzooError: Ray is not installed, its address does not answer, it has no room, or what a worker raises.
    """
    if ray is None:
        worker = make(threads=None)
        for number, items in chunks.items():
            yield number, worker(items)
        return
    if not chunks:
        return
    with _cluster(ray, ray_workers, gpu=gpu) as cluster:
        left, answered = dict(chunks), False
        for number, rows in cluster.map(chunks, make):
            answered = True
            if left.pop(number, None) is not None:
                yield number, rows
        places = [(number, place) for number, items in left.items() for place in range(len(items))]
        singles = {at: [left[number][place]] for at, (number, place) in enumerate(places)}
        found = {places[at]: rows[0] for at, rows in cluster.map(singles, make)} if singles else {}
        if not (answered or found):
            raise ClipzooError(
                f"--ray {ray}: its workers end before they answer; see that clipzoo is installed where they run, and "
                "that they have the memory"
            )
        for number, items in left.items():
            yield (
                number,
                [found[number, place] if (number, place) in found else lost(item) for place, item in enumerate(items)],
            )


@dataclass(frozen=True, kw_only=True)
class _Cluster:
    """Ray, connected.

    Attributes:
        address: for messages.
        workers: how many.
        resources: what each takes, as Ray names it.
    """

    address: str
    workers: int
    resources: Mapping[str, float]

    def map(self, chunks: Mapping[int, Sequence[Any]], make: Callable[..., Worker]) -> Iterator[tuple[int, list[Any]]]:
        """As `map_chunks`, but for chunks whose workers ended again and again, which are left out."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_items

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # what a worker raises comes as data: these are workers that ended
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # A block a chunk: what is tried again where a worker ends.
        work = [{"work": pickle.dumps((number, list(items)))} for number, items in chunks.items()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the retries, which have no other name up to 2.63
            data = from_items(work, override_num_blocks=len(work)).map_batches(
                _Actor,
                fn_constructor_args=(make, max(1, int(self.resources["num_cpus"]))),
                batch_size=None,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=min(self.workers, len(work)), max_tasks_in_flight_per_actor=2),
                max_restarts=-1,
                max_task_retries=_RETRIES,
                **self.resources,
            )
        try:
            for block in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for packed in block["answer"].to_pylist():
                    number, rows, error = pickle.loads(packed)
                    if error is not None:
                        raise error
                    yield number, rows
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise ClipzooError(f"--ray {self.address}: {_line(error)}") from error


class _Actor:
    """A worker in a process of Ray. It is made with the first chunk, so that what that raises is said as it is."""

    def __init__(self, make: Callable[..., Worker], threads: int) -> None:
        cv2.setNumThreads(threads)
        self._make, self._threads = make, threads
        self._worker: Worker | None = None

    def __call__(self, block: Any) -> dict[str, list[bytes]]:
        answers = []
        for packed in block["work"].to_pylist():
            number, items = pickle.loads(packed)
            rows: list[Any] = []
            error: Exception | None = None
            try:
                self._worker = self._worker or self._make(threads=self._threads)
                rows = self._worker(items)
            except ClipzooError as raised:
                error = ClipzooError(str(raised))  # those with more arguments cannot be pickled
            except Exception:
                error = RuntimeError(f"in a worker of Ray:\n{traceback.format_exc()}")
            answers.append(pickle.dumps((number, rows, error)))
        return {"answer": answers}


@contextmanager
def _cluster(address: str, workers: int | None, *, gpu: bool) -> Iterator[_Cluster]:
    """Ray at an address; one that was started here ends with the block, and takes its files along."""
    if workers is not None:
        whole("ray_workers", workers)
    require_ray(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its C++ prints on stderr, past Python's logging
    import ray

    count = workers or cores()
    cpus = max(1, cores() // count) if address == "local" else 1
    began = not ray.is_initialized()
    # Paths of sockets have 107 letters at most, which a temporary folder of one's own may be too long for.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.name == "posix" else None)
    try:
        if began:
            local = {
                "num_cpus": count * cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES,
                "_temp_dir": folder,
            }  # fmt: skip
            _connect(ray, address, **(local if address == "local" else {}))
        room = ray.cluster_resources()
        there = int(room.get("GPU", 0) if gpu else room.get("CPU", 0))
        what = "GPU" if gpu else "processor"
        if there < (workers or 1):
            raise ClipzooError(
                f"--ray {address}: has {there} {what}s, and each of {workers or 1} workers takes one; give fewer "
                "--ray-workers"
            )
        if address != "local" or gpu:
            count = workers or there
        yield _Cluster(address=address, workers=count, resources={"num_cpus": cpus, "num_gpus": int(gpu)})
    finally:
        if began:
            ray.shutdown()
        _delete(folder)


def _delete(folder: str) -> None:
    """Its processes end a little after Ray says that they have, and write until then."""
    end = time.monotonic() + _SECONDS
    while Path(folder).exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > end:
            return
        time.sleep(0.1)


def require_ray(address: str) -> None:
    """Raises ClipzooError where Ray is not installed, and for what is no address, or one where nothing listens."""
    if not (find_spec("ray") and find_spec("pyarrow")):
        raise ClipzooError(f'--ray {address}: Ray Data is not installed: pip install "clipzoo[ray]"')
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
        except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: no name of a host
            why = getattr(error, "strerror", None) or error
            raise ClipzooError(
                f"--ray {address}: nothing answers there ({why}); start Ray there, or say --ray local"
            ) from None
    elif address not in ("local", "auto"):
        raise ClipzooError(f"--ray {address!r} must be local, auto, or the host:port of a Ray that runs")


def _connect(ray: Any, address: str, **options: Any) -> None:
    """Starts Ray, or connects to it, and has it say nothing but through us."""
    try:
        with _nothing_on_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (Exception, SystemExit) as error:  # it ends the process where what listens is no Ray
        raise ClipzooError(f"--ray {address}: cannot be used ({_line(error)})") from None
    with suppress(AttributeError):  # else it prints on stdout, in colors, that a worker ended and is replaced
        ray._private.worker._worker_logs_enabled = False


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Drops what is written to file descriptor 2: Ray's C++ says there that it was told to be quiet."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a name, no path
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
