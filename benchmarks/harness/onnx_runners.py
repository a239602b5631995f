"""ONNX files in ONNX Runtime, as something that can be timed: ours, Keras's own, and one that multiplies matrices."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.runners import Round, Runner
from export.runtime import Classifier
from export.session import PROVIDERS, onnxruntime, open_session
from loaders.errors import ClipzooError


class OnnxRuntimeRunner(Runner):
    """Our file in ONNX Runtime.

    Args:
        path: the file.
        provider: see `Classifier`.
        binding: `host`: arrays in, arrays out. `device`: clips lie on the device already, and answers stay there (I/O
            binding); on a CPU that only saves the allocation of the outputs.
        options: of the provider, such as `use_tf32` and `enable_cuda_graph`.
        threads: on the CPU; None: its own choice.
        verify: whether the file must be, byte for byte, what was exported.
    """

    def __init__(
        self,
        *,
        path: Path,
        provider: Any,
        binding: str,
        options: dict[str, str],
        threads: int | None,
        verify: bool = True,
    ) -> None:
        super().__init__()
        onnxruntime()  # no runner's time to load holds the import of its library
        begun = time.perf_counter()
        self.classifier = Classifier(path, provider=provider, provider_options=options, threads=threads, verify=verify)
        self.facts["session_seconds"] = time.perf_counter() - begun
        self.binding, self.device = binding, "cuda" if provider in ("cuda", "tensorrt") else "cpu"
        self.path, self.provider, self.options, self.threads = path, provider, options, threads

    def prepare(self, batch: int) -> Round:
        if "enable_cuda_graph" in self.options:
            # A captured graph is replayed for every batch of its session, whatever its size.
            self.classifier = Classifier(self.path, provider=self.provider, provider_options=self.options)
        elif self.provider == "tensorrt" and batch > self.classifier.max_batch:
            begun = time.perf_counter()  # another engine is built
            self.classifier = Classifier(
                self.path, provider=self.provider, provider_options=self.options, max_batch=batch
            )
            self.facts["session_seconds"] = time.perf_counter() - begun
        clips = random_inputs(self.classifier.session, batch)
        if self.binding == "host":
            return lambda: self.classifier.scores(clips)
        return self.bind(clips)

    def bind(self, clips: dict[str, np.ndarray]) -> Round:
        """Puts clips on the device, and returns what computes their answers there."""
        # Kept: a captured graph reads and writes these very addresses.
        run, self._bound = bound(self.classifier.session, clips, self.device)
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


class DeviceMatrixRunner(Runner):
    """The product of two square matrices on the device of an ONNX Runtime provider, where they lie already.

    Args:
        path: the file that multiplies, of `benchmarks.harness.prepared.matrix_file`.
        provider: of ONNX Runtime.
        options: of the provider.
        size: rows of a matrix.
    """

    def __init__(self, *, path: Path, provider: str, options: dict[str, str], size: int) -> None:
        super().__init__()
        self.session = open_session(path, provider=provider, provider_options=options)
        self.device, self.size = "cuda" if provider in ("cuda", "tensorrt") else "cpu", size
        self.facts["floating_point_operations"] = 2 * size**3

    def prepare(self, batch: int) -> Round:
        rng = np.random.default_rng(0)
        kinds = {value.name: value.type for value in self.session.get_inputs()}
        matrices = {
            name: rng.random((self.size, self.size), np.float32).astype(np.float16 if "float16" in kind else np.float32)
            for name, kind in kinds.items()
        }
        run, self._bound = bound(self.session, matrices, self.device)
        return run


def bound(session: Any, given: Mapping[str, np.ndarray], device: str) -> tuple[Round, dict[str, Any]]:
    """What computes a session's outputs from and to memory of the device (I/O binding), and the values there.

    Args:
        session: of ONNX Runtime.
        given: inputs by name; the first axis of each output is as long as theirs, of their other axes those that the
            file leaves open.
        device: `cpu` or `cuda`.
    """
    ort, binding = onnxruntime(), session.io_binding()
    values = {name: ort.OrtValue.ortvalue_from_numpy(array, device, 0) for name, array in given.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    first = next(iter(given.values()))
    for output in session.get_outputs():
        open_ends = [size if isinstance(size, int) else first.shape[-1] for size in output.shape[1:]]
        kind = np.float16 if output.type == "tensor(float16)" else np.float32
        shape = [len(first), *open_ends]
        values[output.name] = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, device, 0)
        binding.bind_ortvalue_output(output.name, values[output.name])

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run, values


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
