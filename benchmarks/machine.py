"""What a benchmark runs on: processor or GPU, driver, versions, commit, and how quiet it is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.results import FOLDER, Kind, Setup
from zoo.backend import versions

ROOT = Path(__file__).resolve().parents[1]
CUDA_LIBRARIES = (
    "nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12",
    "nvidia-cudnn-cu12", "tensorrt",
)  # fmt: skip
VERSIONED = (
    "clipzoo", "keras", "tensorflow", "jax", "jaxlib", "onnxruntime", "onnxruntime-gpu", "openvino", "tf2onnx", "onnx",
    "numpy", "opencv-python-headless", *CUDA_LIBRARIES,
)  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """What `nvidia-smi` says of a GPU: its name, driver, memory in use and in all (MiB), and load in percent."""

    name: str
    driver: str
    used_mib: float
    total_mib: float
    busy_percent: float


def gpu() -> Gpu | None:
    """The NVIDIA GPU that this process sees first; None where there is none."""
    if not shutil.which("nvidia-smi"):
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    asked = "name,driver_version,memory.used,memory.total,utilization.gpu"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    command += ["-i", visible] if visible.isdigit() or visible.startswith("GPU-") else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        return None
    name, driver, *figures = (cell.strip() for cell in done.stdout.splitlines()[0].split(","))
    return Gpu(name, driver, *map(_figure, figures))


def _figure(cell: str) -> float:
    """0 where it says [N/A], as it does for some figures of a GPU that is cut into several."""
    try:
        return float(cell)
    except ValueError:
        return 0.0


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(seconds: float) -> float:
    """How many cores others use, watched for some seconds in which this process sleeps; where that cannot be seen, or
    for 0 seconds, the load of the minute before."""
    before = _ticks()
    if before is None or not seconds:
        return os.getloadavg()[0]
    time.sleep(seconds)
    busy, every = (now - then for now, then in zip(_ticks() or before, before, strict=True))
    return (os.cpu_count() or 1) * busy / max(1, every)


def _ticks() -> tuple[int, int] | None:
    """Of all processors since they started: busy, by this machine's programs or the host's others; and in all."""
    try:
        user, nice, system, idle, waiting, *other = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + sum(other)
    return busy, busy + idle + waiting


def setup(kind: Kind, *, on_gpu: bool, threads: int | None = None, watch: float = 0.0) -> Setup:
    """Describes the machine as it is now.

    Args:
        kind: of the benchmark.
        on_gpu: whether the GPU computes.
        threads: of each runner, where they were asked for.
        watch: seconds to look how quiet it is.
    """
    found = gpu() if on_gpu else None
    device = found.name if found else _processor()
    host = device if found else f"{device} {cores()} cores"
    return Setup(
        kind=kind,
        machine=re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", host.lower())).strip("-"),
        device=device,
        cores=cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        driver=found.driver if found else None,
        load=round(busy_cores(watch), 2),
        versions=versions(VERSIONED),
        threads=threads,
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=sys.argv[1:],
    )


def default_path(setup: Setup, *, quick: bool = False) -> Path:
    """Where the results of a run go: `benchmarks/results/<machine>/<kind>-<time>.jsonl`; those of a quick look, which
    are no results, go to `.models/quick/`."""
    folder = ROOT / ".models" / "quick" if quick else FOLDER / setup.machine
    return folder / f"{setup.kind}-{setup.started[:19].replace(':', '')}.jsonl"


def commit() -> str | None:
    """Of the checkout that this file lies in, with `+` where files differ from it, or of the parcel; None elsewhere."""
    if (ROOT / "COMMIT").is_file():
        return (ROOT / "COMMIT").read_text(encoding="utf-8").strip()
    try:
        done = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if done.returncode:
        return None
    return done.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
