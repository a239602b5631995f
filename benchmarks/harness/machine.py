"""What a benchmark runs on: processor or GPU, driver, versions, commit, and how quiet it is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.records import FOLDER, Kind, Setup
from loaders.processor import cores
from zoo.backend import versions

ROOT = Path(__file__).resolve().parents[2]
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
    """What NVIDIA's management library says of a GPU.

    Attributes:
        name: of the GPU.
        driver: its version.
        used_mib: memory in use.
        total_mib: memory in all.
        busy_percent: load.
        clock_mhz: of the multiprocessors, now.
        power_watts: on average over the last second.
        celsius: temperature.
    """

    name: str
    driver: str
    used_mib: float
    total_mib: float
    busy_percent: float
    clock_mhz: float
    power_watts: float
    celsius: float


def gpu() -> Gpu | None:
    """The NVIDIA GPU that this process sees first; None where there is none, or no nvidia-ml-py to ask it."""
    try:
        import pynvml as nvml
    except ImportError:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    try:
        nvml.nvmlInit()
        if visible.startswith(("GPU-", "MIG-")):
            handle = nvml.nvmlDeviceGetHandleByUUID(visible)
        else:
            handle = nvml.nvmlDeviceGetHandleByIndex(int(visible) if visible.isdigit() else 0)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return None

    def figure(read: Callable[..., Any], *what: Any) -> Any:
        """0 where it is not supported, as some figures of a GPU that is cut into several are not."""
        try:
            return read(handle, *what)
        except nvml.NVMLError:
            return 0

    rates = figure(nvml.nvmlDeviceGetUtilizationRates)
    return Gpu(
        name=nvml.nvmlDeviceGetName(handle),
        driver=nvml.nvmlSystemGetDriverVersion(),
        used_mib=memory.used / 2**20,
        total_mib=memory.total / 2**20,
        busy_percent=rates.gpu if rates else 0,
        clock_mhz=figure(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        power_watts=figure(nvml.nvmlDeviceGetPowerUsage) / 1000,
        celsius=figure(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
    )


def busy_cores(seconds: float) -> float:
    """How many cores others use, the host's other guests included, watched for some seconds in which this process
    sleeps; for 0 seconds, the load of the minute before."""
    if not seconds:
        return psutil.getloadavg()[0]
    return psutil.cpu_count() * psutil.cpu_percent(interval=seconds) / 100


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
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        driver=found.driver if found else None,
        load=round(busy_cores(watch), 2),
        versions=versions(VERSIONED),
        threads=threads,
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=sys.argv[1:],
    )


def default_path(setup: Setup, *, quick: bool = False) -> Path:
    """Where the results of a run go: `benchmarks/results/MACHINE/KIND-TIME.jsonl` in a checkout, else
    `results/MACHINE/KIND-TIME.jsonl` where the command was called. Those of a quick look, which are no results, go to
    `quick` beside the models."""
    results = FOLDER if in_checkout() else Path.cwd() / "results"
    folder = models_folder() / "quick" if quick else results / setup.machine
    return folder / f"{setup.kind}-{setup.started[:19].replace(':', '')}.jsonl"


def in_checkout() -> bool:
    """Whether these files lie in a checkout or a parcel of clipzoo's, and not among installed packages."""
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "benchmarks").is_dir()


def models_folder() -> Path:
    """Where models and clips that benchmarks make for themselves are kept: `.models` in a checkout, else the user's
    cache folder."""
    if in_checkout():
        return ROOT / ".models"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipzoo" / "benchmarks"


def commit() -> str | None:
    """Of clipzoo's own checkout, with `+` where files differ from it, or of the parcel; None where these files lie
    anywhere else, such as among packages that are installed inside another repository."""
    if not in_checkout():
        return None
    if (ROOT / "COMMIT").is_file():
        return (ROOT / "COMMIT").read_text(encoding="utf-8").strip()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return None if done.returncode else done.stdout.strip()

    top, head = git("rev-parse", "--show-toplevel"), git("rev-parse", "HEAD")
    if top is None or head is None or Path(top).resolve() != ROOT:
        return None
    return head[:12] + ("+" if git("status", "--porcelain") else "")


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
