"""The first two stages of `benchmarks/gpu.sh`: is everything there, and are the answers right?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.harness.machine import CUDA_LIBRARIES, gpu
from benchmarks.harness.onnx_runners import OnnxRuntimeRunner
from benchmarks.harness.prepared import Prepared, matrix_file, stored_answers
from benchmarks.harness.records import OURS, Row
from benchmarks.harness.script import ResultFile, measuring, run_group
from benchmarks.harness.workers import Worker, WorkerError
from export.metadata import Precision
from export.parity import Parity, compare
from export.runtime import Classifier
from export.session import Provider, onnxruntime, open_session, require_provider
from loaders.digest import sha256
from loaders.errors import ClipzooError
from loaders.terminal import text_console
from zoo.backend import versions

# Beside Keras in float32. TF32 rounds the factors of every product to 11 bits, as float16 does.
BOUNDS = {
    "float32": 1e-4, "float32 without TF32": 1e-4, "TF32": 2e-2, "TF32, CUDA graph": 2e-2, "float16": 2e-2,
    "TensorRT's choice": 2e-2,
}  # fmt: skip
BUSY_PERCENT, BUSY_MIB = 10.0, 2048.0
_LIMIT = 300.0  # seconds that a file may take
SHAPE_BYTES = 256  # nodes that compute shapes, a few numbers each, run on the CPU on purpose

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
ProviderOption = Annotated[str, typer.Option(help="cuda, or cpu to try the stages without a GPU.")]
FolderOption = Annotated[Path, typer.Option(help="What `python -m benchmarks.models FOLDER --float16` wrote.")]


class GpuCheck:
    """What is asked of the GPU in processes of their own: so it is free again, and an error spoils nothing after it."""

    def devices(self) -> str:
        """JAX's."""
        import jax

        return ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices())

    def answers(self, row: Row, path: Path, options: dict[str, str], stored: Path) -> Row:
        """A row with how far a file's answers are from the stored ones."""
        return _check(row, path, options, *stored_answers(stored)[:2])


@app.command()
def check(provider: ProviderOption = "cuda", folder: FolderOption = Path("models")) -> None:
    """See that driver, libraries and files are there, that the provider is in use, and that the GPU is idle."""
    console = text_console()
    found = gpu()
    if provider != "cpu":
        if found is None:
            raise ClipzooError(
                "no NVIDIA GPU is found: is the driver installed, the GPU passed into the container, and nvidia-ml-py "
                'there (pip install "clipzoo[bench]")?'
            )
        console.print(
            f"GPU: {found.name}, driver {found.driver}, {found.used_mib:.0f} of {found.total_mib:.0f} MiB in use"
        )
        if found.busy_percent > BUSY_PERCENT or found.used_mib > BUSY_MIB:
            raise ClipzooError(
                f"the GPU is not idle ({found.busy_percent:.0f} % busy, {found.used_mib:.0f} MiB in use): figures "
                "would be those of two programs"
            )
    require_provider(provider)
    matrix = matrix_file(folder, "float32")
    if not matrix.is_file():
        raise ClipzooError(f"{matrix}: no such file; write it with: python -m benchmarks.models {folder} --float16")
    session = open_session(matrix, provider=provider)
    libraries = {name: found for name, found in versions(CUDA_LIBRARIES).items() if name != "python"}
    console.print(
        f"CUDA libraries: {', '.join(f'{n} {v}' for n, v in libraries.items()) or 'none from Python packages'}"
    )
    console.print(f"ONNX Runtime {onnxruntime().__version__}: {session.get_providers()[0]} is in use")
    if find_spec("jax"):
        worker = Worker(GpuCheck, {}, environment={"JAX_PLATFORMS": "cpu"} if provider == "cpu" else {}, limit=120)
        devices = worker.call("devices")
        worker.close()
        console.print(f"JAX: {devices}")
        if provider != "cpu" and "gpu" not in devices:
            raise ClipzooError(f'JAX sees no GPU ({devices}): pip install "clipzoo[jax-cuda]"')
    else:
        console.print("JAX: not installed; training and the comparison with Keras are left out")
    names = prepared_models(folder)
    console.print(f"models: {', '.join(names)}")


@app.command()
def correctness(
    provider: ProviderOption = "cuda",
    folder: FolderOption = Path("models"),
    json_file: ResultFile = None,
) -> None:
    """Hold every file's answers on this provider against Keras's stored ones, and against the CPU provider."""
    console = text_console()
    require_provider(provider)
    names = prepared_models(folder)
    with measuring("correctness", json_file, console, on_gpu=provider != "cpu", quick=True) as results:
        for name in names:
            check_answers(Prepared(folder, name), provider, done=results.add)
    failed = [row for row in results.rows if row.status not in ("ok", "not available")]
    wrong = [f"{row.model} in {row.settings['precision']}: {row.note}" for row in failed]
    if wrong:
        raise WorkerError("; ".join(wrong), "failed")


def check_answers(prepared: Prepared, provider: Provider | str, *, done: Callable[[Row], object]) -> None:
    """Runs a model's files in every precision that the provider has.

    A row for each precision: `failed` where an answer is out of its bound, a class differs, or nodes other than
    those that compute shapes ran on another provider; `not available` where a graph cannot be captured.

    Args:
        prepared: the files, with Keras's answers.
        provider: of ONNX Runtime.
        done: called with each row.
    """
    clips = stored_answers(prepared.answers)[0]
    ways: list[tuple[str, Path, dict[str, str]]] = [("float32", prepared.onnx, {})]
    if provider == "cuda":
        ways = [
            ("float32 without TF32", prepared.onnx, {"use_tf32": "0"}),
            ("TF32", prepared.onnx, {"use_tf32": "1"}),
            ("TF32, CUDA graph", prepared.onnx, {"use_tf32": "1", "enable_cuda_graph": "1"}),
        ]
    elif provider == "tensorrt":
        ways = [("TensorRT's choice", prepared.onnx, {})]
    if prepared.half.is_file():
        ways.append(("float16", prepared.half, {}))
    for precision, path, options in ways:
        row = Row(
            model=prepared.model, runner=OURS, settings={"provider": str(provider), "precision": precision},
            batch=len(next(iter(clips.values()))), sha256=sha256(path),
        )  # fmt: skip
        worker = None
        try:
            worker = Worker(GpuCheck, {}, limit=_LIMIT)
            row = worker.call("answers", row, path, options, prepared.answers)
        except WorkerError as error:
            graph = "enable_cuda_graph" in options and error.status == "failed"
            row = replace(row, status="not available" if graph else error.status, note=str(error))
        finally:
            if worker is not None:
                worker.close()
        done(row)


def prepared_models(folder: Path) -> list[str]:
    """Names of the models whose files lie in a folder.

    Raises:
        ClipzooError: there are none.
    """
    names = sorted(path.stem for path in folder.glob("*.npz"))
    if not names:
        raise ClipzooError(
            f"{folder}: holds no models; write them with: python -m benchmarks.models {folder} --float16"
        )
    return names


def _check(
    row: Row,
    path: Path,
    options: dict[str, str],
    clips: Mapping[str, np.ndarray],
    answers: Mapping[str, np.ndarray],
) -> Row:
    bound = OnnxRuntimeRunner(
        path=path, provider=row.settings["provider"], binding="device", options=options, threads=None
    )
    bound.start(len(next(iter(clips.values()))))  # with noise; a graph is captured here
    found = bound.bound_answers(dict(clips))
    on_cpu = Classifier(path).scores(clips)
    kind: Precision = "float16" if row.settings["precision"] == "float16" else "float32"
    beside_keras = compare(answers, found, source="stored answers", precision=kind)
    beside_cpu = compare(on_cpu, found, source="the CPU provider", precision=kind)
    allowed = BOUNDS[row.settings["precision"]]
    placed = bound.placement(1) if "enable_cuda_graph" not in options else {"elsewhere": {}}
    strange = [
        f"{name} ({node['operator']})" for name, node in placed["elsewhere"].items() if node["bytes"] > SHAPE_BYTES
    ]
    facts = {
        "from_keras": _greatest(beside_keras),
        "from_cpu": _greatest(beside_cpu),
        "allowed": allowed,
        "same_decision": beside_keras.same_decision,
        **placed,
    }
    complaints = []
    if not _greatest(beside_keras) <= allowed or not _greatest(beside_cpu) <= allowed:
        complaints.append(f"differs by {facts['from_keras']:.1e} from Keras, {facts['from_cpu']:.1e} from the CPU")
    if beside_keras.same_decision < 1:
        complaints.append(f"another class for {1 - beside_keras.same_decision:.0%} of the clips")
    if strange:
        complaints.append(f"{len(strange)} nodes ran on another provider, such as {strange[0]}")
    return replace(row, status="failed" if complaints else "ok", note="; ".join(complaints), facts=facts)


def _greatest(parity: Parity) -> float:
    return max(parity.differences.values())


if __name__ == "__main__":
    run_group(app)
