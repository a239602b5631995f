"""The files that benchmarks run: every model with live weights, our ONNX file, Keras's own, answers to check against.

`benchmarks.models` is the command. It needs TensorFlow; what it wrote runs where there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import ROOT, VERSIONED, models_folder
from loaders.atomic import replacing, write_text
from loaders.errors import ClipzooError
from loaders.lists import index_folder
from loaders.motion import draw_motion_clips
from zoo.backend import versions
from zoo.registry import card

CLASSES = 51  # HMDB51
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
    card(name)
    digest, given = _digest(), dict(options or {})
    prepared = Prepared(folder or models_folder() / digest, name)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    made = json.dumps({"digest": digest, "options": given})
    if not prepared.made.is_file() or prepared.made.read_text(encoding="utf-8") != made:
        for stale in prepared.folder.glob(f"{name}.*"):
            stale.unlink()
        write_text(prepared.made, made)
    environment = {
        **os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "benchmarks.harness.models_process",
        str(prepared.folder),
        name,
        json.dumps(given),
    ]
    wanted = {"ours": (prepared.keras, prepared.onnx, prepared.answers), **({"half": (prepared.half,)} if half else {})}
    for what, files in wanted.items():
        if not all(file.is_file() for file in files):
            done = subprocess.run([*command, what], env=environment, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise ClipzooError(f"{name}: its files could not be made:\n{done.stderr[-1500:]}")
    if not keras_export or prepared.keras_onnx.is_file() or prepared.keras_onnx_missing.is_file():
        return prepared
    try:
        done = subprocess.run(
            [*command, "keras"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=KERAS_EXPORT_LIMIT
        )
        said = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"Keras's export of it, unrolled over time, was not done after {KERAS_EXPORT_LIMIT:.0f} s"
        for torn in prepared.folder.glob(f".{prepared.keras_onnx.stem}-*"):
            torn.unlink()
    if said:
        write_text(prepared.keras_onnx_missing, said + "\n")
    return prepared


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


def random_clips(specs: Any, count: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Clips of noise by input name, uint8 (count, frames, height, width, channels)."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (count, *spec.shape), np.uint8) for name, spec in specs.items()}


def model_input(clips: Mapping[str, np.ndarray]) -> Any:
    """Clips as Keras takes them without a warning: by name where a model has several inputs, else the array."""
    return dict(clips) if len(clips) > 1 else next(iter(clips.values()))


def decoded_clips(specs: Any) -> dict[str, np.ndarray]:
    """A made clip of every motion by input name, decoded as the loader does it, uint8.

    Answers to noise are all much alike; these are what a model is for.
    """
    from loaders.dataset import ClipDataset

    index = index_folder(motion_clips())
    one_each = [next(clip for clip in index if clip.label == motion) for motion in index.labels]
    dataset = ClipDataset(replace(index, clips=tuple(one_each)), specs, batch_size=len(one_each), shuffle=False)
    given = dataset[0][0]
    return dict(given) if isinstance(given, Mapping) else {next(iter(specs)): given}


def motion_clips(size: int = 48) -> Path:
    """A folder of made clips of this height and width, drawn once, for benchmarks that were given no videos."""
    folder = models_folder() / f"motion-{size}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".motion-") as partial:
            draw_motion_clips(Path(partial) / "clips", clips=60, frames=30, size=size, seed=0)
            with suppress(OSError):  # another process was faster
                (Path(partial) / "clips").rename(folder)
    return folder


def enliven(model: Any, seed: int = 0) -> Any:
    """Gives batch normalisations random scale, shift and statistics, and all other layers weights of a live size.

    An untrained network answers the same whatever the clip, and hides every error; and its figures near zero are not
    those that a trained one computes with.

    Args:
        model: a Keras model; changed in place and returned.
        seed: of the weights.
    """
    import keras

    rng = np.random.default_rng(seed)
    for layer in leaves(model):
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            live = [
                rng.uniform(0.7, 1.4, w.shape) if name in ("gamma", "moving_variance") else rng.normal(0, 0.4, w.shape)
                for name, w in zip([v.name for v in layer.weights], weights, strict=True)
            ]
        else:
            # Keeps the size of activations through the depth (He), and gives biases something to do.
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            live = [
                rng.normal(0, np.sqrt(2 / np.prod(w.shape[: 2 if depthwise else -1])), w.shape)
                if w.ndim > 1
                else rng.normal(0, 0.2, w.shape)
                for w in weights
            ]
        layer.set_weights(live)
    return model


def leaves(layer: Any) -> Iterator[Any]:
    """The layers inside a layer that hold no layer themselves; there `trainable` means the same on both backends."""
    for inner in layer._flatten_layers(include_self=True, recursive=True):
        if not list(inner._flatten_layers(include_self=False)):
            yield inner


def with_time_distributed(model: Any) -> Any:
    """The same model and weights with `keras.layers.TimeDistributed` where ours has FrameWise.

    Raises:
        ClipzooError: its network must see the frames of a clip together.
    """
    import keras

    from zoo.layers import FrameWise
    from zoo.tsm import TemporalShift

    if any(isinstance(layer, TemporalShift) for layer in leaves(model)):
        raise ClipzooError(f"{model.name} shifts channels between frames; TimeDistributed shows them one by one")

    def clone(layer: Any) -> Any:
        fresh = type(layer).from_config(layer.get_config())
        return keras.layers.TimeDistributed(fresh.layer, name=layer.name) if isinstance(layer, FrameWise) else fresh

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def _digest() -> str:
    """Of the code and the versions that decide what the files are."""
    digest = hashlib.sha256(str(sorted(versions(VERSIONED).items())).encode())
    for pattern in ("zoo/**/*.py", "export/*.py", "loaders/spec.py", "benchmarks/harness/models*.py"):
        for path in sorted(ROOT.glob(pattern)):
            if path.stem not in ("cli", "runtime"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
