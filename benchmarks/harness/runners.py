"""What computes in a worker is a Runner: here Keras, OpenVINO, and a plain matrix product."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from loaders.errors import ClipzooError

Round = Callable[[], object]
WARM_UP, LONG = 2, 2.0  # rounds, and seconds of a first one that is warm-up enough
BACKENDS = {"jax": "Keras JAX", "tensorflow": "Keras TensorFlow"}
SHORT = 0.5  # seconds: a round shorter than this is run once, uncounted, at the start of each turn


class Runner:
    """Something that can be timed. A subclass gives `prepare`, which returns one round as a function.

    Attributes:
        facts: single figures that go into the row.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self._round: Round = lambda: None
        self._seconds = 0.0

    def prepare(self, batch: int) -> Round:
        """What a round of this many clips is."""
        raise NotImplementedError

    def start(self, batch: int) -> float:
        """Prepares a batch size and warms it up.

        Returns:
            Seconds of a warm round, or of the first one where that is long. What the first one took, compilation
            included, is a fact.
        """
        self._round = self.prepare(batch)
        first = self.facts["first_run_seconds"] = _timed(self._round)
        self._seconds = min(_timed(self._round) for _ in range(WARM_UP)) if first < LONG else first
        return self._seconds

    def turn(self, seconds: float) -> list[float]:
        """Times rounds, at least one, until this many seconds have passed.

        The first round after a pause, where threads have gone to sleep and another runner's data is in the cache, does
        not count.

        Returns:
            Seconds of each round, from the end of the one before: their sum is the time that passed.
        """
        if self._seconds < SHORT:
            self._round()
        samples: list[float] = []
        begun = ended = time.perf_counter()
        while not samples or ended - begun < seconds:
            self._round()
            before, ended = ended, time.perf_counter()
            samples.append(ended - before)
        return samples

    def finish(self) -> dict[str, Any]:
        """All facts, with the peak memory of this process so far, MiB."""
        return {**self.facts, "peak_memory_mib": round(_peak_mib(), 1)}


class KerasRunner(Runner):
    """The Keras model, `predict_on_batch`, on the backend that KERAS_BACKEND names.

    Args:
        path: the `.keras` file.
        gpu: whether it must be on a GPU.
    """

    def __init__(self, *, path: Path, gpu: bool) -> None:
        super().__init__()
        from zoo.saving import load_model

        self.facts["keras_device"] = keras_device(gpu=gpu)
        begun = time.perf_counter()
        self.model = load_model(path)
        self.facts["session_seconds"] = time.perf_counter() - begun

    def prepare(self, batch: int) -> Round:
        from benchmarks.harness.models import model_input, random_clips
        from zoo.contract import specs

        given = model_input(random_clips(specs(self.model), batch))
        return lambda: np.asarray(self.model.predict_on_batch(given))


class OpenVinoRunner(Runner):
    """Our file in OpenVINO on the CPU.

    Args:
        path: the file.
        precision: `float32`, or `default`: its own choice, which is bfloat16 on processors that have it.
        threads: None: its own choice.
    """

    def __init__(self, *, path: Path, precision: str, threads: int | None) -> None:
        super().__init__()
        import openvino

        begun = time.perf_counter()
        hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"} if precision == "float32" else {}
        if threads:
            hints["INFERENCE_NUM_THREADS"] = threads
        self.compiled = openvino.Core().compile_model(str(path), "CPU", hints)
        self.facts["session_seconds"] = time.perf_counter() - begun
        self.facts["precision_in_use"] = str(self.compiled.get_property("INFERENCE_PRECISION_HINT"))

    def prepare(self, batch: int) -> Round:
        rng = np.random.default_rng(0)
        clips = {}
        for value in self.compiled.inputs:
            shape = [axis.get_length() for axis in list(value.partial_shape)[1:]]
            clips[value.any_name] = rng.integers(0, 256, [batch, *shape], np.uint8)
        return lambda: self.compiled(clips)


class MatrixRunner(Runner):
    """NumPy's float32 product of two square matrices: how fast the processor computes what networks are made of."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.size = size
        self.facts["floating_point_operations"] = 2 * size**3

    def prepare(self, batch: int) -> Round:
        rng = np.random.default_rng(0)
        left, right = (rng.random((self.size, self.size), np.float32) for _ in range(2))
        out = np.empty_like(left)
        return lambda: np.matmul(left, right, out=out)


def _peak_mib() -> float:
    """The most that this process had in memory: psutil knows it on Windows alone, and Linux hands `ru_maxrss` on from
    the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), "")
        if found:
            return float(found.split()[1]) / 1024
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset / 2**20)
    import resource  # Windows has none

    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def keras_environment(backend: str, *, gpu: bool) -> dict[str, str]:
    """Variables of a process that runs Keras on a backend beside others that do, on the GPU or on the CPU alone."""
    return {
        "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true", **({} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"}),
    }  # fmt: skip


def keras_device(*, gpu: bool) -> str:
    """The device that Keras's backend computes on.

    Raises:
        ClipzooError: a GPU was asked for, and the backend has fallen back to the CPU.
    """
    import keras

    if keras.config.backend() == "jax":
        import jax

        device = jax.devices()[0]
        name, found = f"{device.device_kind} ({device.platform})", device.platform == "gpu"
    else:
        import tensorflow as tf

        found = bool(tf.config.list_physical_devices("GPU"))
        name = "GPU" if found else "CPU"
    if gpu and not found:
        raise ClipzooError(f"Keras on {keras.config.backend()} computes on {name}, not on the GPU that was asked for")
    return name


def figures(result: Any) -> dict[str, Any]:
    """What a row's facts say of a `zoo.evaluation.Evaluation`: shares from 0 to 1."""
    return {
        "top1": result.top1, "interval": list(result.interval), "mean_class_accuracy": result.mean_class_accuracy,
        "clips": result.clips,
    }  # fmt: skip


def _timed(run: Round) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
