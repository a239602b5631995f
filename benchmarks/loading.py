"""How fast clips are read, beside other libraries on the same files: `python -m benchmarks.loading VIDEOS`."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import psutil
import typer
from rich.console import Console

import loaders.decode
import loaders.packets
from benchmarks.harness import decoders
from benchmarks.harness.decoders import Reader
from loaders.atomic import write_text
from loaders.clip import read_clip
from loaders.lists import index_csv, index_folder
from loaders.sampling import uniform
from loaders.spec import ClipSpec, FlowSpec
from loaders.terminal import text_console

COLD = ClipSpec(frames=5, height=112, width=112)
Report = dict[str, Any]


def cold(paths: Sequence[Path], *, workers: int, rounds: int) -> Report:
    """Reads every file once a round by each way, alternating; what is remembered of a file is forgotten in between."""
    ways: dict[str, tuple[Reader, int]] = {"clipzoo": (decoders.clipzoo(COLD), workers)}
    missing = {}
    others: dict[str, tuple[Callable[[ClipSpec], Reader], int]] = {
        "clipzoo, one worker": (decoders.clipzoo, 1),
        "decord": (decoders.decord, workers),
        "torchcodec": (decoders.torchcodec, workers),
        "PyAV, a thread each": (decoders.pyav, workers),
        "PyAV, 2 codec threads": (decoders.pyav_threads, 1),
        "keras-video-generators' way": (decoders.keras_video_generators, 1),
    }
    for name, (make, threads) in others.items():
        try:
            ways[name] = (make(COLD), threads)
        except (ImportError, RuntimeError, OSError) as error:
            missing[name] = str(error).strip().splitlines()[0]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (read, threads) in ways.items():
            _forget()
            with ThreadPoolExecutor(threads) as pool:
                begun = time.perf_counter()
                for clip in pool.map(read, paths):
                    assert clip.shape[1:] == COLD.shape[1:]
                if number:
                    seconds[name].append(time.perf_counter() - begun)
    own = seconds["clipzoo"]
    return {
        "clips": len(paths),
        "workers": workers,
        "clips_per_second": {name: len(paths) / median(values) for name, values in seconds.items()},
        "times_as_fast": {
            name: median(peer / mine for mine, peer in zip(own, values, strict=True))
            for name, values in seconds.items()
        },
        "missing": missing,
        "seconds": seconds,
    }


def warm(videos: Path, *, workers: int, rounds: int) -> Report:
    """A ClipDataset's epochs: decoding, then from the disk cache and from memory."""
    os.environ.setdefault("KERAS_BACKEND", "jax" if _version("jax") else "tensorflow")
    from loaders.cache import DiskCache, MemoryCache
    from loaders.dataset import ClipDataset

    index = index_folder(videos)

    def epoch(dataset: ClipDataset) -> float:
        begun = time.perf_counter()
        seen = sum(len(batch[-1]) for batch in dataset)
        assert seen == len(index)
        return time.perf_counter() - begun

    with tempfile.TemporaryDirectory() as folder:
        caches: dict[str, Any] = {"disk": folder, "memory": MemoryCache()}
        sets = {name: ClipDataset(index, COLD, cache=cache, workers=workers) for name, cache in caches.items()}
        first = {name: epoch(dataset) for name, dataset in sets.items()}
        seconds: dict[str, list[float]] = {name: [] for name in sets}
        for _ in range(rounds):
            for name, dataset in sets.items():
                seconds[name].append(epoch(dataset))
        plain = ClipDataset(index, COLD, workers=workers)
        decoded = epoch(plain)
        size = DiskCache(folder).size()
    return {
        "clips": len(index),
        "decoding_seconds": decoded,
        "filling_seconds": first,
        "times_as_fast": {name: decoded / median(values) for name, values in seconds.items()},
        "clips_per_second": {name: len(index) / median(values) for name, values in seconds.items()},
        "disk_bytes": size,
        "seconds": seconds,
    }


def sparse(*, rounds: int, minutes: float) -> Report:
    """5 frames out of a long file of constant rate, beside decord; and the same frames of a full decode, bit by bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        count = write_long(path, minutes=minutes)
        ways = {"clipzoo": decoders.clipzoo(COLD), "decord": decoders.decord(COLD)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        found = {}
        for number in range(rounds + 1):
            for name, read in ways.items():
                _forget()
                begun = time.perf_counter()
                found[name] = read(path)
                if number:
                    seconds[name].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        every = decoders.decode_fully(path, COLD)
        whole = time.perf_counter() - begun
        taken = [every[number] for number in uniform(count, COLD.frames)]
    return {
        "frames": count,
        "seconds": seconds,
        "full_decode_seconds": whole,
        "cost_over_decord": median(m / p for m, p in zip(seconds["clipzoo"], seconds["decord"], strict=True)),
        "equal_to_full_decode": bool((found["clipzoo"] == np.stack(taken)).all()),
    }


def flow(paths: Sequence[Path]) -> Report:
    """Stacks of 5 fields at 25 segments, 224x224, cropped from 256 rows: clips a second on one thread."""
    report: Report = {"clips": len(paths)}
    for method in ("farneback", "dis"):
        spec = ClipSpec(
            frames=25, height=224, width=224, resize="fit", resize_to=256, modality="flow", stack=5,
            sampling="segments", flow=FlowSpec(method=method),
        )  # fmt: skip
        cv2.setNumThreads(1)
        begun = time.perf_counter()
        for path in paths:
            read_clip(path, spec)
        report[method] = len(paths) / (time.perf_counter() - begun)
    cv2.setNumThreads(-1)
    return report


def memory(videos: Path, *, workers: int) -> Report:
    """Resident memory after each of three epochs without a cache; and the cost of an index of 100,000 clips."""
    os.environ.setdefault("KERAS_BACKEND", "jax" if _version("jax") else "tensorflow")
    from loaders.dataset import ClipDataset

    dataset = ClipDataset(index_folder(videos), COLD, workers=workers)
    after = []
    for _ in range(3):
        for _ in dataset:
            pass
        after.append(_resident())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        lines = (f"class{n % 101}/clip{n}.mp4,class{n % 101},train,source{n // 5}\n" for n in range(100_000))
        path.write_text("file,label,split,group\n" + "".join(lines))
        before = _resident()
        begun = time.perf_counter()
        index = index_csv(path)
        seconds = time.perf_counter() - begun
        return {
            "epochs_mib": after,
            "index_clips": len(index),
            "index_seconds": seconds,
            "index_mib": _resident() - before,
        }


def write_long(path: Path, *, minutes: float, fps: int = 30) -> int:
    """Writes an MPEG-4 file of constant rate whose frames are all different. Returns how many there are."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (240, 640, 3), np.uint8), (0, 0), 5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (320, 240))
    count = round(minutes * 60 * fps)
    for number in range(count):
        frame = np.ascontiguousarray(wide[:, number % 320 : number % 320 + 320])
        writer.write(cv2.putText(frame, str(number), (10, 120), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3))
    writer.release()
    return count


def _forget() -> None:
    loaders.decode._COUNTS.clear()
    loaders.packets.read_packets.cache_clear()


def _resident() -> float:
    """MiB of this process in memory now."""
    return float(psutil.Process().memory_info().rss / 2**20)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _print(report: Report, console: Console) -> None:
    c, w, s, f, m = (report[name] for name in ("cold", "warm", "sparse", "flow", "memory"))
    for name, rate in c["clips_per_second"].items():
        console.print(f"cold   {name:28} {rate:8.1f} clips/s   clipzoo is {c['times_as_fast'][name]:.2f} times as fast")
    for name, why in c["missing"].items():
        console.print(f"cold   {name:28} not measured: {why}")
    for name, rate in w["clips_per_second"].items():
        console.print(f"warm   from {name:23} {rate:8.1f} clips/s   {w['times_as_fast'][name]:.0f} times decoding")
    exact = "bit for bit a full decode's" if s["equal_to_full_decode"] else "NOT those of a full decode"
    console.print(
        f"sparse 5 of {s['frames']} frames: {1000 * median(s['seconds']['clipzoo']):.0f} ms, "
        f"{s['cost_over_decord']:.2f} times decord's cost; {exact}"
    )
    console.print(
        f"flow   25 stacks of 5 at 224x224: Farneback {f['farneback']:.2f}, DIS {f['dis']:.2f} clips/s, 1 thread"
    )
    epochs = ", ".join(f"{mib:.0f}" for mib in m["epochs_mib"])
    console.print(
        f"memory {epochs} MiB after three epochs; an index of {m['index_clips']:,} clips takes "
        f"{m['index_seconds']:.2f} s and {m['index_mib']:.0f} MiB"
    )


def main(
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    workers: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    clips: Annotated[int, typer.Option(min=1, help="For cold reading: this many, evenly over the folder.")] = 60,
    minutes: Annotated[float, typer.Option(help="Length of the long file.")] = 10.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and raw samples here.")] = None,
) -> None:
    """Measure the loaders: cold, cached, sparse, flow, memory."""
    paths = index_folder(videos).paths
    chosen = [paths[i * len(paths) // clips] for i in range(clips)] if len(paths) > clips else paths
    report: Report = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "versions": {
            name: _version(name) for name in ("opencv-python-headless", "numpy", "keras", "decord", "av", "torchcodec")
        },
        "spec": COLD.to_dict(),
        "cold": cold(chosen, workers=workers, rounds=rounds),
        "warm": warm(videos, workers=workers, rounds=rounds),
        "sparse": sparse(rounds=rounds, minutes=minutes),
        "flow": flow(chosen[:6]),
        "memory": memory(videos, workers=workers),
    }
    console = text_console()
    _print(report, console)
    if json_file:
        write_text(json_file, json.dumps(report, indent=1) + "\n")
        console.print(f"wrote {json_file}")


if __name__ == "__main__":
    typer.run(main)
