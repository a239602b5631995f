"""Who is measured beside whom: our file in every way that a provider has, its peers, and the matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness.groups import Contestant
from benchmarks.harness.onnx_runners import DeviceMatrixRunner, FileRunner, OnnxRuntimeRunner
from benchmarks.harness.prepared import Prepared, matrix_file
from benchmarks.harness.records import KERAS_EXPORT, MATRIX, OURS, Row
from benchmarks.harness.runners import (
    BACKENDS,
    KerasRunner,
    MatrixRunner,
    OpenVinoRunner,
    keras_environment,
)
from benchmarks.harness.workers import Worker, WorkerError
from export.runtime import Classifier
from export.session import PROVIDERS, Provider
from loaders.digest import sha256

MATRIX_SIZE, GPU_MATRIX_SIZE = 2048, 8192
EXACT, TF32, HALF = "float32 without TF32", "TF32", "float16"
_BUILT = {"trt_engine_cache_enable": "0", "trt_timing_cache_enable": "0"}  # the time to load a file holds its engine
_EXACT, _TF32, _GRAPH = {"use_tf32": "0"}, {"use_tf32": "1"}, {"enable_cuda_graph": "1"}
GPU_WAYS: dict[str, tuple[tuple[bool, str, str, dict[str, str]], ...]] = {  # of a float16 file?
    "cuda": (
        (False, EXACT, "host", _EXACT),
        (False, EXACT, "device", _EXACT),
        (False, TF32, "host", _TF32),
        (False, TF32, "device", _TF32),
        (False, TF32, "device, graph", {**_TF32, **_GRAPH}),
        (True, HALF, "host", {}),
        (True, HALF, "device", {}),
        (True, HALF, "device, graph", _GRAPH),
    ),
    "tensorrt": (
        (False, "TensorRT's choice", "host", _BUILT),
        (False, "TensorRT's choice", "device", _BUILT),
        (False, HALF, "device", {**_BUILT, "trt_fp16_enable": "1"}),
    ),
}
_PROFILE_LIMIT = 300.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkTarget:
    """A file to measure, and what to measure it beside.

    Attributes:
        onnx: our file.
        prepared: the model's other files; None for a file of the user's, which is measured beside OpenVINO alone.
        multiply_adds: of one clip; None where nobody counted them.
        half: a float16 export of the same model, where there is one.
        others: precision -> an export of the same model in it, measured on the CPU beside `onnx`.
    """

    onnx: Path
    prepared: Prepared | None = None
    multiply_adds: int | None = None
    half: Path | None = None
    others: Mapping[str, Path] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What every row says of the model."""
        return {"multiply_adds": self.multiply_adds} if self.multiply_adds else {}


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A file, and how ONNX Runtime runs it.

    Attributes:
        path: the file.
        settings: what the row says.
        binding: `host` or `device`.
        options: of the provider.
    """

    path: Path
    settings: dict[str, str] = field(default_factory=dict)
    binding: str = "host"
    options: dict[str, str] = field(default_factory=dict)


def own(subject: BenchmarkTarget, provider: Provider, threads: int | None) -> list[Contestant]:
    """Our file in every way that this provider has; on a CPU with where its nodes ran."""
    found = []
    for way in _ways(subject, provider):
        row = own_row(Classifier(way.path, provider=provider, threads=threads), provider)
        if subject.prepared is None:
            row = replace(row, model=subject.onnx.stem)  # two files of a user's may be of one model
        arguments = {
            "path": way.path, "provider": provider, "binding": way.binding, "options": way.options, "threads": threads,
        }  # fmt: skip
        # On a GPU the stage `correctness` looks, and minutes are dear there.
        facts = {**subject.facts, **(_placement(arguments) if provider == "cpu" else {})}
        row = replace(row, settings={**row.settings, **way.settings}, facts=facts)
        found.append(Contestant(row=row, make=OnnxRuntimeRunner, arguments=arguments))
    return found


def _ways(subject: BenchmarkTarget, provider: Provider) -> list[_Way]:
    if provider == "cpu":
        others = [_Way(path=path, settings={"precision": name}) for name, path in subject.others.items()]
        return [_Way(path=subject.onnx), *others]
    files = {False: subject.onnx, True: subject.half}
    if Classifier(subject.onnx).metadata.precision == "float16":  # a file of the user's
        files = {False: None, True: subject.onnx}
    found = []
    for half, precision, binding, options in GPU_WAYS[provider]:
        path = files[half]
        if path is not None:
            settings = {"precision": precision, "binding": binding}
            found.append(_Way(path=path, settings=settings, binding=binding.partition(",")[0], options=options))
    return found


def _placement(arguments: dict[str, Any]) -> dict[str, Any]:
    """Where the nodes run; nothing where that cannot be found out: the measurement will say why."""
    try:
        worker = Worker(OnnxRuntimeRunner, arguments, limit=_PROFILE_LIMIT)
    except WorkerError:
        return {}
    try:
        found: dict[str, Any] = worker.call("placement", 1)
    except WorkerError:
        return {}
    finally:
        worker.close()
    return found


def peers(subject: BenchmarkTarget, provider: Provider, threads: int | None) -> list[Contestant]:
    """Keras on both backends, OpenVINO, Keras's own export, and the matrix product."""
    name = subject.prepared.model if subject.prepared else subject.onnx.stem
    frames = next(iter(Classifier(subject.onnx).specs.values())).frames
    plain = Row(model=name, runner="", batch=0, frames=frames, facts=subject.facts)
    found = _keras(subject, plain, provider)
    if provider == "cpu" and find_spec("openvino"):
        for precision in ("float32", "default"):
            row = replace(plain, runner="OpenVINO", settings={"precision": precision}, sha256=sha256(subject.onnx))
            arguments = {"path": subject.onnx, "precision": precision, "threads": threads}
            found.append(Contestant(row=row, make=OpenVinoRunner, arguments=arguments))
    prepared = subject.prepared
    if prepared is not None and prepared.keras_onnx.is_file():
        settings = {"provider": provider_name(provider)}
        row = replace(plain, runner=KERAS_EXPORT, settings=settings, sha256=sha256(prepared.keras_onnx))
        arguments = {"path": prepared.keras_onnx, "provider": provider, "threads": threads}
        found.append(Contestant(row=row, make=FileRunner, arguments=arguments))
    return found + _matrices(subject, plain, provider)


def _keras(subject: BenchmarkTarget, plain: Row, provider: Provider) -> list[Contestant]:
    prepared = subject.prepared
    if prepared is None:
        return []
    found = []
    for backend, name in BACKENDS.items():
        if find_spec(backend):
            environment = keras_environment(backend, gpu=provider != "cpu")
            # On a GPU both backends let the matrix units round factors to TF32 unless they are told otherwise.
            settings = {} if provider == "cpu" else {"precision": TF32, "binding": "host"}
            row = replace(plain, runner=name, settings=settings, sha256=sha256(prepared.keras))
            arguments = {"path": prepared.keras, "gpu": provider != "cpu"}
            found.append(Contestant(row=row, make=KerasRunner, arguments=arguments, environment=environment))
    return found


def _matrices(subject: BenchmarkTarget, plain: Row, provider: Provider) -> list[Contestant]:
    """What the device can do at best, in each precision that our file is measured in."""
    if provider == "cpu":
        row = replace(plain, runner=MATRIX, settings={"size": f"{MATRIX_SIZE} float32 NumPy"})
        return [Contestant(row=row, make=MatrixRunner, arguments={"size": MATRIX_SIZE})]
    found = []
    ways = {EXACT: ("float32", {"use_tf32": "0"}), TF32: ("float32", {"use_tf32": "1"}), HALF: ("float16", {})}
    for precision, (kind, options) in ways.items():
        path = matrix_file(subject.onnx.parent, kind)
        if path.is_file() and (provider == "cuda" or precision == HALF):
            row = replace(plain, runner=MATRIX, settings={"size": str(GPU_MATRIX_SIZE), "precision": precision})
            arguments = {"path": path, "provider": "cuda", "options": options, "size": GPU_MATRIX_SIZE}
            found.append(Contestant(row=row, make=DeviceMatrixRunner, arguments=arguments, once=True))
    return found


def own_row(classifier: Classifier, provider: Provider) -> Row:
    """What the rows of our file have in common."""
    return Row(
        model=classifier.metadata.model,
        runner=OURS,
        settings={"provider": provider_name(provider)},
        batch=0,
        frames=next(iter(classifier.specs.values())).frames,
        sha256=sha256(classifier.path),
        parity=classifier.metadata.parity,
    )


def provider_name(provider: Provider) -> str:
    """As people write it: CPU, CUDA, Tensorrt, OpenVINO bfloat16."""
    precision = provider.partition("-")[2]
    return " ".join(filter(None, (PROVIDERS[provider].removesuffix("ExecutionProvider"), precision)))


def matrix_beside(row: Row, rows: Sequence[Row]) -> Row | None:
    """The matrix product in the same precision that was measured beside a row, or else with another of its batches."""
    precision = row.settings.get("precision", "")
    found = [r for r in rows if r.runner == MATRIX and r.model == row.model]
    found = [r for r in found if r.settings.get("precision", "") == precision]
    return next((r for r in found if r.batch == row.batch), found[0] if found else None)


def missing_exports(subject: BenchmarkTarget, batches: Sequence[int]) -> list[Row]:
    """Labeled rows where Keras has no ONNX file of the model."""
    prepared = subject.prepared
    if prepared is None or not prepared.keras_onnx_missing.is_file():
        return []
    note = prepared.keras_onnx_missing.read_text(encoding="utf-8").strip()
    plain = Row(model=prepared.model, runner=KERAS_EXPORT, batch=0, status="not available", note=note)
    return [replace(plain, batch=batch) for batch in batches]


def share_of_matrix_rate(row: Row, rows: Sequence[Row]) -> float | None:
    """The multiply-adds of a row's clips a second, as a share of those of the matrix product beside it."""
    matrix = matrix_beside(row, rows)
    if matrix is None:
        return None
    operations, product = row.facts.get("multiply_adds"), matrix.facts.get("floating_point_operations")
    if not operations or not product or not row.measured or not matrix.measured:
        return None
    return float(2 * operations * row.clips_per_second / (product / matrix.round_seconds.value))
