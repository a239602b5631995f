"""How fast exported files run in ONNX Runtime, beside Keras and OpenVINO: `python -m benchmarks.inference`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.groups import Contestant, Limits, measure
from benchmarks.models import Prepared, matrix_file
from benchmarks.results import Row
from benchmarks.runners import (
    DeviceMatrixRunner,
    FileRunner,
    KerasRunner,
    MatrixRunner,
    OnnxRuntimeRunner,
    OpenVinoRunner,
)
from benchmarks.workers import Worker
from export.runtime import PROVIDERS, Classifier, Provider
from loaders.errors import ClipzooError

OURS, KERAS_EXPORT, MATRIX = "ONNX Runtime", "Keras's export", "matrix product"
MATRIX_SIZE, GPU_MATRIX_SIZE = 2048, 8192
CPU_BATCHES, GPU_BATCHES = (1, 8), (1, 2, 4, 8, 16, 32, 64, 128)
QUICK = Limits(rounds=5, seconds=1.0, most=1.5, turn=0.25)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A file to measure, and what to measure it beside.

    Attributes:
        onnx: our file.
        prepared: the model's other files; None for a file of the user's, which is measured beside OpenVINO alone.
        multiply_adds: of one clip; None where nobody counted them.
        half: a float16 export of the same model, where there is one.
    """

    onnx: Path
    prepared: Prepared | None = None
    multiply_adds: int | None = None
    half: Path | None = None


def bench(
    path: str | Path,
    *,
    provider: Provider = "cpu",
    batches: Sequence[int] = (1, 8),
    seconds: float = 3.0,
    threads: int | None = None,
    done: Callable[[Row], object] = lambda _: None,
) -> list[Row]:
    """Times a file on random clips, from host memory to host memory, in this process and alone.

    Each batch size is warmed up apart, then run for at least 10 rounds and `seconds`.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda` or `tensorrt`.
        batches: batch sizes, each >= 1.
        seconds: least time for each, > 0.
        threads: of ONNX Runtime on the CPU.
        done: called with each row as soon as it is measured.

    Returns:
        A row for each batch size.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    if not batches or min(batches) < 1 or seconds <= 0:
        raise ClipzooError(f"bench needs batches ({list(batches)}) >= 1 and seconds ({seconds}) > 0")
    runner = OnnxRuntimeRunner(path=Path(path), provider=provider, binding="host", options={}, threads=threads)
    rows = []
    for batch in batches:
        runner.start(batch)
        turns: list[list[float]] = []
        while sum(map(len, turns)) < 10 or sum(map(sum, turns)) < seconds:
            turns.append(runner.turn(seconds / 10))
        row = replace(_row(runner.classifier, _name(provider)), batch=batch, turns=turns, facts=runner.finish())
        rows.append(row)
        done(row)
    return rows


def compare_runtimes(
    subject: Subject,
    *,
    provider: Provider,
    batches: Sequence[int],
    limits: Limits,
    threads: int | None = None,
    done: Callable[[Row], object],
) -> None:
    """Measures one file beside its peers, all of them taking turns.

    Args:
        subject: the file.
        provider: of ONNX Runtime.
        batches: sizes, ascending.
        limits: how long.
        threads: of ONNX Runtime and OpenVINO on the CPU.
        done: called with each row as soon as it is measured.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    base = _row(Classifier(subject.onnx, provider=provider, threads=threads), _name(provider))
    if subject.multiply_adds:
        base = replace(base, facts={"multiply_adds": subject.multiply_adds})
    profile = Worker(OnnxRuntimeRunner, _ours(subject.onnx, provider, threads=threads))
    try:
        base = replace(base, facts={**base.facts, **profile.call("placement", batches[0])})
    finally:
        profile.close()
    contestants = _own(subject, base, provider, threads) + _peers(subject, base, provider, threads)
    measure(contestants, batches, limits=limits, done=done, on_gpu=provider != "cpu")


def _own(subject: Subject, base: Row, provider: Provider, threads: int | None) -> list[Contestant]:
    """Our file in every way that this provider has."""
    ways: list[tuple[dict[str, str], str, dict[str, str]]] = [({}, "host", {})]
    if provider == "cuda":
        tf32, exact, graph = {"use_tf32": "1"}, {"use_tf32": "0"}, {"use_tf32": "1", "enable_cuda_graph": "1"}
        ways = [
            ({"precision": "float32 without TF32", "binding": "host"}, "host", exact),
            ({"precision": "float32 without TF32", "binding": "device"}, "device", exact),
            ({"precision": "TF32", "binding": "device"}, "device", tf32),
            ({"precision": "TF32", "binding": "device, CUDA graph"}, "device", graph),
        ]
    elif provider == "tensorrt":
        ways = [
            ({"precision": "TF32", "binding": "device"}, "device", {}),
            ({"precision": "float16", "binding": "device"}, "device", {"trt_fp16_enable": "1"}),
        ]
    made = [(subject.onnx, base, *way) for way in ways]
    if subject.half is not None:
        half = _row(Classifier(subject.half, provider=provider, threads=threads), _name(provider))
        half = replace(half, facts=base.facts)
        made.append((subject.half, half, {"precision": "float16", "binding": "host"}, "host", {}))
        if provider == "cuda":
            made.append((subject.half, half, {"precision": "float16", "binding": "device"}, "device", {}))
            name = {"precision": "float16", "binding": "device, CUDA graph"}
            made.append((subject.half, half, name, "device", {"enable_cuda_graph": "1"}))
    return [
        Contestant(
            row=replace(row, settings={**row.settings, **settings}),
            make=OnnxRuntimeRunner,
            arguments=_ours(path, provider, binding=binding, options=options, threads=threads),
        )
        for path, row, settings, binding, options in made
    ]


def _peers(subject: Subject, base: Row, provider: Provider, threads: int | None) -> list[Contestant]:
    from importlib.util import find_spec

    plain = Row(model=base.model, runner="", batch=0, frames=base.frames, facts=_counted(base))
    found = []
    prepared = subject.prepared
    if prepared is not None:
        for backend, name in (("jax", "Keras JAX"), ("tensorflow", "Keras TensorFlow")):
            if find_spec(backend):
                environment = {
                    "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                    **({"CUDA_VISIBLE_DEVICES": "-1"} if provider == "cpu" else {}),
                }  # fmt: skip
                found.append(
                    Contestant(
                        row=replace(plain, runner=name, sha256=sha256(prepared.keras)), make=KerasRunner,
                        arguments={"path": prepared.keras}, environment=environment,
                    )
                )  # fmt: skip
    if provider == "cpu" and find_spec("openvino"):
        for precision in ("float32", "default"):
            row = replace(
                plain, runner="OpenVINO", settings={"precision": precision}, sha256=base.sha256, parity=base.parity
            )
            arguments = {"path": subject.onnx, "precision": precision, "threads": threads}
            found.append(Contestant(row=row, make=OpenVinoRunner, arguments=arguments))
    if prepared is not None and prepared.keras_onnx.is_file():
        row = replace(plain, runner=KERAS_EXPORT, settings=dict(base.settings), sha256=sha256(prepared.keras_onnx))
        arguments = {"path": prepared.keras_onnx, "provider": provider, "threads": threads}
        found.append(Contestant(row=row, make=FileRunner, arguments=arguments))
    return found + _matrices(subject, plain, provider)


def _matrices(subject: Subject, plain: Row, provider: Provider) -> list[Contestant]:
    """What the device can do at best, in each precision that our file is measured in."""
    if provider == "cpu":
        row = replace(plain, runner=MATRIX, settings={"size": f"{MATRIX_SIZE} float32 NumPy"})
        return [Contestant(row=row, make=MatrixRunner, arguments={"size": MATRIX_SIZE})]
    found = []
    ways = {
        "float32 without TF32": ("float32", {"use_tf32": "0"}),
        "TF32": ("float32", {"use_tf32": "1"}),
        "float16": ("float16", {}),
    }
    for precision, (kind, options) in ways.items():
        path = matrix_file(subject.onnx.parent, kind)
        if path.is_file():
            row = replace(plain, runner=MATRIX, settings={"size": str(GPU_MATRIX_SIZE), "precision": precision})
            arguments = {
                "path": path, "provider": provider, "options": options if provider == "cuda" else {},
                "size": GPU_MATRIX_SIZE,
            }  # fmt: skip
            found.append(Contestant(row=row, make=DeviceMatrixRunner, arguments=arguments))
    return found


def matrix_beside(row: Row, rows: Sequence[Row]) -> Row | None:
    """The matrix product that was measured beside a row, in the same precision."""
    precision = row.settings.get("precision", "")
    found = (r for r in rows if r.runner == MATRIX and (r.model, r.batch) == (row.model, row.batch))
    return next((r for r in found if r.settings.get("precision", "") == precision), None)


def missing_export(subject: Subject, batch: int) -> Row | None:
    """A labelled row where Keras has no ONNX file of the model."""
    prepared = subject.prepared
    if prepared is None or not prepared.keras_onnx_missing.is_file():
        return None
    note = prepared.keras_onnx_missing.read_text(encoding="utf-8").strip()
    return Row(model=prepared.model, runner=KERAS_EXPORT, batch=batch, status="not available", note=note)


def share_of_matrix_rate(row: Row, rows: Sequence[Row]) -> float | None:
    """The multiply-adds of a row's clips a second, as a share of those of the matrix product beside it."""
    matrix = matrix_beside(row, rows)
    if matrix is None:
        return None
    operations, product = row.facts.get("multiply_adds"), matrix.facts.get("floating_point_operations")
    if not operations or not product or not row.measured or not matrix.measured:
        return None
    return float(2 * operations * row.clips_per_second / (product / matrix.median.value))


def sha256(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ours(
    path: Path, provider: Provider, *, binding: str = "host", options: dict[str, str] | None = None, threads: int | None
) -> dict[str, Any]:
    return {"path": path, "provider": provider, "binding": binding, "options": options or {}, "threads": threads}


def _row(classifier: Classifier, provider: str) -> Row:
    metadata = classifier.metadata
    return Row(
        model=metadata.model,
        runner=OURS,
        settings={"provider": provider},
        batch=0,
        frames=next(iter(classifier.specs.values())).frames,
        sha256=sha256(classifier.path),
        parity=metadata.parity,
    )


def _counted(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.facts.items() if name == "multiply_adds"}


def _name(provider: Provider) -> str:
    return PROVIDERS[provider].removesuffix("ExecutionProvider")


if __name__ == "__main__":
    from benchmarks.cli_inference import main

    main()
