"""The files that benchmarks run: every model with live weights, our ONNX file, Keras's own, answers to check against.

`benchmarks.models` is the command. It needs TensorFlow; what it wrote runs where there is none.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import ROOT, VERSIONED, models_folder
from benchmarks.harness.models import (
    CLASSES,
    decoded_clips,
    model_input,
    random_clips,
    randomize,
    with_time_distributed,
)
from benchmarks.harness.runners import keras_environment
from benchmarks.harness.workers import Worker, WorkerError
from loaders.atomic import replacing, write_text
from loaders.errors import ClipzooError
from zoo.backend import versions
from zoo.registry import model_info

KERAS_EXPORT_LIMIT = 60.0


@dataclass(frozen=True)
class Prepared:
    """The files of one model in a folder.

    Attributes:
        folder: where they lie.
        model: name in the zoo.
    """

    folder: Path
    model: str

    @property
    def keras(self) -> Path:
        """The model with live weights."""
        return self.folder / f"{self.model}.keras"

    @property
    def onnx(self) -> Path:
        """Our export of it."""
        return self.folder / f"{self.model}.onnx"

    def require_onnx(self) -> Path:
        """`onnx`; raises a ClipzooError that says how to make it, where it is not there."""
        if not self.onnx.is_file():
            command = f"python -m benchmarks.models {self.folder} {self.model}"
            raise ClipzooError(f"{self.onnx}: no such file; write it with: {command}")
        return self.onnx

    @property
    def half(self) -> Path:
        """Our export of it in float16."""
        return self.folder / f"{self.model}.float16.onnx"

    @property
    def keras_onnx(self) -> Path:
        """Keras's own export of the same model and weights, with Keras's TimeDistributed in place of FrameWise."""
        return self.folder / f"{self.model}.keras-export.onnx"

    @property
    def keras_onnx_missing(self) -> Path:
        """Why there is no `keras_onnx`, as text."""
        return self.folder / f"{self.model}.keras-export.txt"

    @property
    def made(self) -> Path:
        """What the files were made of: a digest of code and versions, and the options."""
        return self.folder / f"{self.model}.made.json"

    @property
    def answers(self) -> Path:
        """Clips by input name, uint8, and Keras's answers to them by output name: arrays `in:NAME` and `out:NAME`; and
        the `multiply_adds` of a clip."""
        return self.folder / f"{self.model}.npz"


def prepare(
    name: str,
    folder: Path | None = None,
    *,
    keras_export: bool = True,
    half: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Prepared:
    """Makes the files of a model, or finds those made before by the same code and versions.

    Args:
        name: of the model in the zoo.
        folder: where; left out, `benchmarks.harness.machine.models_folder`, below a digest of code and versions.
        keras_export: whether Keras's own export is wanted too; it is given 60 seconds.
        half: whether a float16 export is wanted too.
        options: of `create_model`, for small tries; with a `folder` alone.

    Raises:
        ClipzooError: no such model, or its export failed.
    """
    model_info(name)
    digest, given = _digest(), dict(options or {})
    prepared = Prepared(folder or models_folder() / digest, name)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    made = json.dumps({"digest": digest, "options": given})
    if not prepared.made.is_file() or prepared.made.read_text(encoding="utf-8") != made:
        for stale in prepared.folder.glob(f"{name}.*"):
            stale.unlink()
        write_text(prepared.made, made)
    wanted = {"ours": (prepared.keras, prepared.onnx, prepared.answers), **({"half": (prepared.half,)} if half else {})}
    for what, files in wanted.items():
        if not all(file.is_file() for file in files):
            try:
                _make(prepared, what, given)
            except WorkerError as error:
                raise ClipzooError(f"{name}: its files could not be made ({error})") from None
    if keras_export and not prepared.keras_onnx.is_file() and not prepared.keras_onnx_missing.is_file():
        try:
            _make(prepared, "keras_export", given, limit=KERAS_EXPORT_LIMIT)
        except WorkerError as error:
            slow = f"Keras's export of it, unrolled over time, was {error}"
            write_text(prepared.keras_onnx_missing, f"{slow if error.status == 'too slow' else error}\n")
            for torn in prepared.folder.glob(f".{prepared.keras_onnx.stem}-*"):
                torn.unlink()
    return prepared


def onnx_of(name: str, folder: Path | None) -> Path:
    """An ONNX file as it is, or our export of a model of the zoo: that in a folder, or else one that is made.

    Raises:
        ClipzooError: no such model, the folder has it not, or its export failed.
    """
    if name.endswith(".onnx"):
        return Path(name)
    if folder is None:
        return prepare(name, keras_export=False).onnx
    return Prepared(folder, name).require_onnx()


class Maker:
    """Makes a model's files in a process of its own, with TensorFlow.

    Args:
        prepared: the files.
        options: of `create_model`.
    """

    def __init__(self, *, prepared: Prepared, options: dict[str, Any]) -> None:
        import keras

        keras.config.disable_traceback_filtering()
        self.prepared, self.options = prepared, options

    def ours(self) -> None:
        """The Keras file, our ONNX file and the answers."""
        from export.convert import to_onnx
        from zoo.contract import specs, with_logits
        from zoo.cost import multiply_adds
        from zoo.registry import create_model

        prepared = self.prepared
        model = randomize(create_model(prepared.model, classes=CLASSES, **self.options))
        with replacing(prepared.keras) as partial:
            model.save(partial)
        clips = decoded_clips(specs(model))
        to_onnx(prepared.keras, prepared.onnx, clips=clips)
        answers = with_logits(model).predict(model_input(clips), verbose=0)
        arrays = {f"in:{name}": values for name, values in clips.items()}
        arrays |= {f"out:{name}": np.asarray(values) for name, values in answers.items()}
        arrays["multiply_adds"] = np.array(multiply_adds(model))
        with replacing(prepared.answers) as partial:
            np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]

    def half(self) -> None:
        """Our file in float16."""
        from export.convert import to_onnx
        from zoo.contract import specs
        from zoo.saving import load_model

        clips = decoded_clips(specs(load_model(self.prepared.keras)))
        to_onnx(self.prepared.keras, self.prepared.half, clips=clips, precision="float16")

    def keras_export(self) -> None:
        """What a Keras user gets who writes TimeDistributed and calls `model.export(format="onnx")`."""
        from zoo.contract import specs
        from zoo.saving import load_model

        model = load_model(self.prepared.keras)
        copy = with_time_distributed(model)
        copy.predict_on_batch(model_input(random_clips(specs(model), 1)))  # Keras exports none that was never called
        with replacing(self.prepared.keras_onnx) as partial:
            copy.export(partial, format="onnx", verbose=False)


def _make(prepared: Prepared, what: str, options: dict[str, Any], *, limit: float | None = None) -> None:
    environment = keras_environment("tensorflow", gpu=False)
    worker = Worker(Maker, {"prepared": prepared, "options": options}, environment=environment)
    worker.limit = limit
    try:
        worker.call(what)
    finally:
        worker.close()


def stored_answers(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Clips by input, Keras's answers by output, and the multiply-adds of a clip, of `Prepared.answers`.

    Raises:
        ClipzooError: the file cannot be read.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        cost = int(arrays["multiply_adds"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ClipzooError(f"{path}: cannot be read as clips and answers ({error})") from None
    clips, answers = ({n.removeprefix(p): a for n, a in arrays.items() if n.startswith(p)} for p in ("in:", "out:"))
    return clips, answers, cost


def matrix_file(folder: Path, precision: str) -> Path:
    """The ONNX file that multiplies two matrices, float32 or float16."""
    return folder / f"matrix.{precision}.onnx"


def write_matrices(folder: Path) -> None:
    """Writes the matrix products that a GPU's rate is measured with: left x right, which stays on the device."""
    import onnx
    from onnx import TensorProto, helper

    for precision, kind in (("float32", TensorProto.FLOAT), ("float16", TensorProto.FLOAT16)):
        left, right, product = (
            helper.make_tensor_value_info(name, kind, ["n", "n"]) for name in ("left", "right", "product")
        )
        node = helper.make_node("MatMul", ["left", "right"], ["product"])
        graph = helper.make_graph([node], "matrix", [left, right], [product])
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        with replacing(matrix_file(folder, precision)) as partial:
            onnx.save(proto, partial)


def _digest() -> str:
    """Of the code and the versions that decide what the files are."""
    digest = hashlib.sha256(str(sorted(versions(VERSIONED).items())).encode())
    for pattern in (
        "zoo/**/*.py",
        "export/*.py",
        "loaders/spec.py",
        "benchmarks/harness/models.py",
        "benchmarks/harness/prepared.py",
    ):
        for path in sorted(ROOT.glob(pattern)):
            if path.stem not in ("cli", "runtime"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
