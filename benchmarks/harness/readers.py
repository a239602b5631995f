"""Reading clips as something that can be timed: files, a dataset's epochs, an index."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

import loaders.decode
import loaders.packets
from benchmarks.harness import decoders
from benchmarks.harness.decoders import Reader
from benchmarks.harness.runners import Round, Runner
from loaders.clip import read_clip
from loaders.lists import index_csv, index_folder
from loaders.spec import ClipSpec

READERS: dict[str, tuple[Callable[[ClipSpec], Reader], int | None]] = {  # and threads; None: as many as are asked for
    "clipzoo": (decoders.clipzoo, None),
    "clipzoo, one worker": (decoders.clipzoo, 1),
    "decord": (decoders.decord, None),
    "torchcodec": (decoders.torchcodec, None),
    "PyAV, a thread each": (decoders.pyav, None),
    "PyAV, 2 codec threads": (partial(decoders.pyav, threads=2), 1),
    "keras-video-generators' way": (decoders.keras_video_generators, 1),
}


class FilesRunner(Runner):
    """Every file once, by one of `READERS`. What is remembered of a file is forgotten before each round.

    Args:
        paths: the files.
        reader: a name of `READERS`.
        spec: what is read.
        workers: threads.
    """

    def __init__(self, *, paths: Sequence[Path], reader: str, spec: ClipSpec, workers: int) -> None:
        super().__init__()
        make, threads = READERS[reader]
        self.paths, self.spec, self.workers = paths, spec, threads or workers
        self.read = make(spec)

    def prepare(self, batch: int) -> Round:
        def once() -> None:
            loaders.decode._COUNTS.clear()
            loaders.packets.read_packets.cache_clear()
            with ThreadPoolExecutor(self.workers) as pool:
                for clip in pool.map(self.read, self.paths):
                    assert clip.shape[1:] == self.spec.shape[1:]

        return once


class FlowRunner(Runner):
    """Flow of every file once, on one thread.

    Args:
        paths: the files.
        spec: what is read.
    """

    def __init__(self, *, paths: Sequence[Path], spec: ClipSpec) -> None:
        super().__init__()
        import cv2

        cv2.setNumThreads(1)
        self.paths, self.spec = paths, spec

    def prepare(self, batch: int) -> Round:
        return lambda: [read_clip(path, self.spec) for path in self.paths]


class EpochRunner(Runner):
    """An epoch of a ClipDataset. Facts are `epochs_mib`, what was in memory after each of the first three, and
    `disk_bytes` of the disk cache.

    Args:
        videos: a folder of clips, one sub-folder per action.
        cache: `disk`, `memory`, or `none`: each epoch decodes.
        spec: what is read.
        workers: threads that read.
    """

    def __init__(self, *, videos: Path, cache: str, spec: ClipSpec, workers: int) -> None:
        super().__init__()
        from loaders.cache import MemoryCache
        from loaders.dataset import ClipDataset

        self._folder = tempfile.TemporaryDirectory(prefix="clipzoo-cache-")
        caches: dict[str, Any] = {"disk": self._folder.name, "memory": MemoryCache(), "none": None}
        self.dataset = ClipDataset(index_folder(videos), spec, cache=caches[cache], workers=workers)
        self.facts["epochs_mib"] = []

    def prepare(self, batch: int) -> Round:
        def epoch() -> None:
            assert sum(len(given[-1]) for given in self.dataset) == batch
            if len(self.facts["epochs_mib"]) < 3:
                self.facts["epochs_mib"].append(_resident_mib())

        return epoch

    def finish(self) -> dict[str, Any]:
        from loaders.cache import DiskCache

        return {**super().finish(), "disk_bytes": DiskCache(self._folder.name).size()}


class IndexRunner(Runner):
    """An index of a CSV list, made anew in each round. A fact is `index_mib`, what the first adds to memory."""

    def prepare(self, batch: int) -> Round:
        self._folder = tempfile.TemporaryDirectory(prefix="clipzoo-list-")
        path = Path(self._folder.name) / "list.csv"
        lines = (f"class{n % 101}/clip{n}.mp4,class{n % 101},train,source{n // 5}\n" for n in range(batch))
        path.write_text("file,label,split,group\n" + "".join(lines))

        def once() -> None:
            before = _resident_mib()
            self.index = index_csv(path)
            self.facts.setdefault("index_mib", _resident_mib() - before)

        return once


def _resident_mib() -> float:
    """Of this process, now."""
    return float(psutil.Process().memory_info().rss / 2**20)
