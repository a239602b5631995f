"""What computes in a worker: ONNX Runtime, Keras, OpenVINO, or a plain matrix product. Each is a Runner."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime import Classifier
from export.session import PROVIDERS, onnxruntime, open_session
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
            Seconds of each round.
        """
        if self._seconds < SHORT:
            self._round()
        samples: list[float] = []
        begun = time.perf_counter()
        while not samples or time.perf_counter() - begun < seconds:
            samples.append(_timed(self._round))
        return samples

    def finish(self) -> dict[str, Any]:
        """All facts, with the peak memory of this process so far, MiB."""
        return {**self.facts, "peak_memory_mib": round(_peak_mib(), 1)}


class OnnxRuntimeRunner(Runner):
    """Our file in ONNX Runtime.

    Args:
        path: the file.
        provider: `cpu`, `cuda` or `tensorrt`.
        binding: `host`: arrays in, arrays out. `device`: clips lie on the device already, and answers stay there (I/O
            binding); on a CPU that only saves the allocation of the outputs.
        options: of the provider, such as `use_tf32` and `enable_cuda_graph`.
        threads: on the CPU; None: its own choice.
    """

    def __init__(
        self, *, path: Path, provider: Any, binding: str, options: dict[str, str], threads: int | None
    ) -> None:
        super().__init__()
        onnxruntime()  # no runner's time to load holds the import of its library
        begun = time.perf_counter()
        self.classifier = Classifier(path, provider=provider, provider_options=options, threads=threads)
        self.facts["session_seconds"] = time.perf_counter() - begun
        self.binding, self.device = binding, "cpu" if provider == "cpu" else "cuda"
        self.path, self.provider, self.options, self.threads = path, provider, options, threads

    def prepare(self, batch: int) -> Round:
        if "enable_cuda_graph" in self.options:
            # A captured graph is replayed for every batch of its session, whatever its size.
            self.classifier = Classifier(self.path, provider=self.provider, provider_options=self.options)
        clips = random_inputs(self.classifier.session, batch)
        if self.binding == "host":
            return lambda: self.classifier.scores(clips)
        return self.bind(clips)

    def bind(self, clips: dict[str, np.ndarray]) -> Round:
        """Puts clips on the device, and returns what computes their answers there."""
        session, ort = self.classifier.session, onnxruntime()
        batch = len(next(iter(clips.values())))
        binding = session.io_binding()
        # Kept: a captured graph reads and writes these very addresses.
        self._bound = {name: ort.OrtValue.ortvalue_from_numpy(clip, self.device, 0) for name, clip in clips.items()}
        for name, value in self._bound.items():
            binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            shape = [batch, *output.shape[1:]]
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self.device, 0)
            self._bound[output.name] = value
            binding.bind_ortvalue_output(output.name, value)

        def run() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run

    def bound_answers(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers to other clips of the same number, written over those that lie on the device; a captured graph must
        answer these too."""
        for name, values in clips.items():
            self._bound[name].update_inplace(values)
        self._round()
        return {output.name: self._bound[output.name].numpy() for output in self.classifier.session.get_outputs()}

    def placement(self, batch: int) -> dict[str, Any]:
        """Where nodes really ran, and what took the time, from a profile of 4 rounds, the first left out.

        Returns:
            `nodes`: provider -> how many ran on it; `elsewhere`: name -> operator and bytes of the output, of those
            that ran on another provider than the one asked for; `operators`: operator -> share of the time, the
            greatest five, on a CPU.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(
                self.classifier.path,
                provider=self.provider,
                provider_options=self.options,
                threads=self.threads,
                profile=Path(folder) / "profile",
            )
            clips = random_inputs(session, batch)
            for _ in range(4):
                session.run(None, clips)
            events = json.loads(Path(session.end_profiling()).read_text())
        return read_profile(events, self.classifier.provider)


class FileRunner(Runner):
    """Any ONNX file in ONNX Runtime on the CPU, or on another provider: Keras's own export."""

    def __init__(self, *, path: Path, provider: str, threads: int | None) -> None:
        super().__init__()
        onnxruntime()
        begun = time.perf_counter()
        self.session = open_session(path, provider=provider, threads=threads)
        self.facts["session_seconds"] = time.perf_counter() - begun

    def prepare(self, batch: int) -> Round:
        clips = random_inputs(self.session, batch)
        return lambda: self.session.run(None, clips)


class KerasRunner(Runner):
    """The Keras model, `predict_on_batch`, on the backend that KERAS_BACKEND names.

    Args:
        path: the `.keras` file.
        gpu: whether it must be on a GPU.
    """

    def __init__(self, *, path: Path, gpu: bool) -> None:
        super().__init__()
        from zoo.registry import load_model

        self.facts["keras_device"] = keras_device(gpu=gpu)
        begun = time.perf_counter()
        self.model = load_model(path)
        self.facts["session_seconds"] = time.perf_counter() - begun

    def prepare(self, batch: int) -> Round:
        from benchmarks.models import model_input, random_clips
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


class DeviceMatrixRunner(Runner):
    """The product of two square matrices on the device of an ONNX Runtime provider, where they lie already.

    Args:
        path: the file that multiplies, of `benchmarks.models.matrix_file`.
        provider: of ONNX Runtime.
        options: of the provider.
        size: rows of a matrix.
    """

    def __init__(self, *, path: Path, provider: str, options: dict[str, str], size: int) -> None:
        super().__init__()
        self.session = open_session(path, provider=provider, provider_options=options)
        self.device, self.size = "cpu" if provider == "cpu" else "cuda", size
        self.facts["floating_point_operations"] = 2 * size**3

    def prepare(self, batch: int) -> Round:
        ort, rng = onnxruntime(), np.random.default_rng(0)
        binding = self.session.io_binding()
        self._bound = []
        for value in self.session.get_inputs():
            kind = np.float16 if value.type == "tensor(float16)" else np.float32
            matrix = rng.random((self.size, self.size), np.float32).astype(kind)
            self._bound.append(ort.OrtValue.ortvalue_from_numpy(matrix, self.device, 0))
            binding.bind_ortvalue_input(value.name, self._bound[-1])
            product = ort.OrtValue.ortvalue_from_shape_and_type(matrix.shape, kind, self.device, 0)
        self._bound.append(product)
        binding.bind_ortvalue_output(self.session.get_outputs()[0].name, product)

        def run() -> None:
            self.session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run


def random_inputs(session: Any, batch: int) -> dict[str, np.ndarray]:
    """Noise for every input of an ONNX Runtime session.

    Raises:
        ClipzooError: an input is not uint8.
    """
    rng = np.random.default_rng(0)
    wrong = [value.name for value in session.get_inputs() if value.type != "tensor(uint8)"]
    if wrong:
        raise ClipzooError(f"input {', '.join(wrong)} is not uint8: no model of clipzoo's")
    return {value.name: rng.integers(0, 256, [batch, *value.shape[1:]], np.uint8) for value in session.get_inputs()}


def read_profile(events: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    """Sums up a profile of ONNX Runtime; see `OnnxRuntimeRunner.placement`."""
    nodes: dict[str, dict[str, Any]] = {}
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            name, used = event["name"].removesuffix("_kernel_time"), event["args"]
            if name in nodes:  # a node's first run finds its algorithm and its memory
                times[used["op_name"]] += event["dur"]
            nodes[name] = used
    whole = sum(times.values()) or 1
    if provider != "CPUExecutionProvider":
        times.clear()  # on a GPU these are the times of launching, not of computing
    asked = {provider} | ({PROVIDERS["cuda"]} if provider == PROVIDERS["tensorrt"] else set())  # CUDA does the rest
    return {
        "nodes": dict(Counter(used["provider"] for used in nodes.values())),
        "elsewhere": {
            name: {"operator": used["op_name"], "bytes": int(used.get("output_size", 0))}
            for name, used in sorted(nodes.items())
            if used["provider"] not in asked
        },
        "operators": {name: round(spent / whole, 4) for name, spent in times.most_common(5)},
    }


def _peak_mib() -> float:
    """The most that this process had in memory. Linux hands `ru_maxrss` on from the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), "")
        if found:
            return float(found.split()[1]) / 1024
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


def _timed(run: Round) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
