"""The process that converts: TensorFlow, no GPU, nothing imported before. `python -m export.trace FOLDER`."""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.tools.update_model_dims
import onnxruntime
import tensorflow as tf
import tf2onnx

from export.graph import pool_before_normalising
from export.metadata import Metadata, Precision
from export.native import OP_HANDLERS, native_layers
from export.parity import ParityError, compare, require
from export.precision import to_float16
from loaders.clip import read_clip
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import task_kind
from zoo.backend import versions
from zoo.contract import labels, specs, task, with_logits
from zoo.saving import load_model

RANDOM_CLIPS, RANDOM_SEED = 8, 0
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
RECURRENT = (keras.layers.GRU, keras.layers.LSTM)


def convert(model: keras.Model, *, opset: int) -> onnx.ModelProto:
    """Traces and converts a model of the zoo.

    Raises:
        ClipzooError: the graph is not what a native export looks like.
    """
    outputs = with_logits(model)
    contract = specs(model)
    signature = [tf.TensorSpec((None, *spec.shape), tf.uint8, name=name) for name, spec in contract.items()]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def answer(*videos: Any) -> dict[str, Any]:
        result: dict[str, Any] = outputs(list(videos), training=False)
        return result

    with native_layers():
        proto, _ = tf2onnx.convert.from_function(
            answer, input_signature=signature, opset=opset, custom_op_handlers=OP_HANDLERS
        )
    proto = _name_axes(proto, contract, task_kind(task(model)).outputs, len(labels(model)))
    pool_before_normalising(proto.graph)
    _check_nodes(proto, model)
    return proto


def _name_axes(
    proto: onnx.ModelProto, contract: Mapping[str, ClipSpec], names: Iterable[str], classes: int
) -> onnx.ModelProto:
    """Names the dynamic axis `batch`; the converter leaves `unk__123`."""
    inputs = {name: ["batch", *spec.shape] for name, spec in contract.items()}
    outputs = {name: ["batch", classes] for name in names}
    return onnx.tools.update_model_dims.update_inputs_outputs_dims(proto, inputs, outputs)


def _check_nodes(proto: onnx.ModelProto, model: keras.Model) -> None:
    """One native node a recurrent layer, one Conv a convolution, no loops, no operator outside the ONNX standard."""
    found = Counter(node.op_type for node in proto.graph.node)
    layers = list(model._flatten_layers())
    recurrent = sum(isinstance(layer, RECURRENT) for layer in layers)
    recurrent -= sum(isinstance(layer, keras.layers.Bidirectional) for layer in layers)  # holds two, becomes one node
    wanted = {
        "GRU and LSTM": (recurrent, found["GRU"] + found["LSTM"]),
        "Conv": (sum(isinstance(layer, CONVOLUTIONS) for layer in layers), found["Conv"]),
        "Loop, Scan and If": (0, found["Loop"] + found["Scan"] + found["If"]),
        "foreign": (0, sum(node.domain not in ("", "ai.onnx") for node in proto.graph.node)),
    }
    wrong = [f"{n} {what} nodes, not {want}" for what, (want, n) in wanted.items() if n != want]
    if wrong:
        raise ClipzooError(f"model {model.name!r} did not convert to native operators: {'; '.join(wrong)}")


def export(request: Mapping[str, Any]) -> dict[str, str]:
    """Converts, compares, and writes the file; returns its metadata.

    Args:
        request: what `export.convert.to_onnx` asked for.

    Raises:
        ParityError: the answers differ.
        ClipzooError: the model cannot be loaded or exported.
    """
    model = load_model(request["model"])
    proto = convert(model, opset=request["opset"])
    clips, source = _clips(request, specs(model))
    reference = with_logits(model).predict(clips, batch_size=4, verbose=0)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    candidate = _run(session, clips, list(reference))
    parity = compare(reference, candidate, source=source, task=task(model))
    require(parity)
    precision: Precision = request.get("precision", "float32")
    if precision == "float16":
        proto = to_float16(proto)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        candidate = _run(session, clips, list(reference))
        parity = compare(reference, candidate, source=source, precision=precision, task=task(model))
        require(parity)
    metadata = Metadata(
        model=model.name,
        specs=specs(model),
        labels=labels(model),
        task=task(model),
        precision=precision,
        parity=parity.to_dict(),
        versions={**versions(), "tf2onnx": tf2onnx.__version__, "onnxruntime": onnxruntime.__version__},
    )
    props = metadata.to_props()
    onnx.helper.set_model_props(proto, props)
    onnx.checker.check_model(proto, full_check=True)
    Path(request["out"]).write_bytes(proto.SerializeToString())
    return props


def _run(session: Any, clips: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    count = len(next(iter(clips.values())))
    parts = [session.run(names, {name: c[i : i + 1] for name, c in clips.items()}) for i in range(count)]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}


def _clips(request: Mapping[str, Any], contract: Mapping[str, ClipSpec]) -> tuple[dict[str, np.ndarray], str]:
    """The clips to compare on, by input, and what they are."""
    if request["clips"]:
        with np.load(request["clips"]) as file:
            given = {name or next(iter(contract)): file[name] for name in file.files}
        for name, spec in contract.items():
            if name not in given or given[name].shape[1:] != spec.shape or given[name].dtype != np.uint8:
                found = {key: f"{value.dtype} {value.shape}" for key, value in given.items()}
                raise ClipzooError(f"clips for {name!r} must be uint8 (clips, *{spec.shape}); got {found}")
        return {name: given[name] for name in contract}, "given"
    if request["files"]:
        return {
            name: np.stack([read_clip(file, spec) for file in request["files"]]) for name, spec in contract.items()
        }, "validation clips of the run"
    rng = np.random.default_rng(RANDOM_SEED)
    return {
        name: rng.integers(0, 256, (RANDOM_CLIPS, *spec.shape), np.uint8) for name, spec in contract.items()
    }, f"random clips of seed {RANDOM_SEED}"


def main(arguments: Iterable[str]) -> int:
    """Reads `FOLDER/request.json`, writes `FOLDER/answer.json`."""
    (folder,) = arguments
    warnings.simplefilter("ignore")
    answer: dict[str, str]
    status = 0
    try:
        answer = export(json.loads(Path(folder, "request.json").read_text(encoding="utf-8")))
    except ClipzooError as error:
        answer = {"error": str(error), "kind": "parity" if isinstance(error, ParityError) else "input"}
        status = error.exit_status
    Path(folder, "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
