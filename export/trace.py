"""What the process that converts does: under TensorFlow, without a GPU. `export.converter` calls it."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.tools.update_model_dims
import onnxruntime
import tensorflow as tf
import tf2onnx

from export.checksum import WITHOUT_CHECKSUM, add_checksum
from export.conversion_process import writing
from export.describe import ModelDescription
from export.export_source import ExportSource, load
from export.graph import pool_before_normalizing
from export.metadata import Metadata, Precision
from export.native_operators import OP_HANDLERS, is_native, native_layers
from export.parity import LEAST_VARIATION, Parity, ParityError, answers, compare, require, variation
from export.precision import to_float16
from export.quantization import to_int8
from export.session import said_by
from export.streaming import FRAME, FrameNetwork
from export.synthetic import SEED, synthetic_clips
from loaders.clip import read_inputs
from loaders.errors import ClipzooError, VideoError
from loaders.spec import ClipSpec
from loaders.tasks import FEATURES
from zoo.backend import versions

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv2D)
RECURRENT = (keras.layers.GRU, keras.layers.LSTM)


def convert(network: keras.Model, specs: Mapping[str, ClipSpec], *, opset: int) -> onnx.ModelProto:
    """Traces and converts a network from uint8 clips, in the order of `specs`, to outputs by name.

    Raises:
        ClipzooError: it has what the converter does not know.
    """
    signature = [tf.TensorSpec((None, *spec.shape), tf.uint8, name=name) for name, spec in specs.items()]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def answer(*videos: Any) -> dict[str, Any]:
        result: dict[str, Any] = network(list(videos), training=False)
        return result

    proto = _to_proto(answer, signature, network.name, opset=opset)
    proto = _name_axes(proto, specs, network.output)
    _put_last(proto.graph.output, FEATURES)
    pool_before_normalizing(proto.graph)
    return proto


def convert_frames(network: FrameNetwork, name: str, *, opset: int) -> onnx.ModelProto:
    """Traces and converts a network from a uint8 frame and states to outputs by name; raises as `convert`."""
    answer = tf.function(network.__call__, input_signature=network.signature, autograph=False)
    proto = _to_proto(answer, network.signature, name, opset=opset)
    proto = onnx.tools.update_model_dims.update_inputs_outputs_dims(proto, *network.dims)
    for value in network.stream.values():
        _put_last(proto.graph.output, value)
    pool_before_normalizing(proto.graph)
    return proto


def _to_proto(answer: Any, signature: Sequence[Any], name: str, *, opset: int) -> onnx.ModelProto:
    try:
        with native_layers():
            proto, _ = tf2onnx.convert.from_function(
                answer, input_signature=signature, opset=opset, custom_op_handlers=OP_HANDLERS
            )
    except ClipzooError:
        raise
    except Exception as error:  # whatever layers, TensorFlow and the converter raise
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClipzooError(f"model {name!r} cannot be converted to ONNX ({said})") from error
    return proto


def _name_axes(proto: onnx.ModelProto, specs: Mapping[str, ClipSpec], outputs: Mapping[str, Any]) -> onnx.ModelProto:
    """Names the dynamic axis `batch`; the converter leaves `unk__123`."""
    return onnx.tools.update_model_dims.update_inputs_outputs_dims(
        proto,
        {name: ["batch", *spec.shape] for name, spec in specs.items()},
        {name: ["batch", tensor.shape[-1]] for name, tensor in outputs.items()},
    )


def _put_last(values: Any, name: str) -> None:
    """Has an output stand behind the others: whoever takes outputs by their places finds those that were there."""
    moved = [type(value).FromString(value.SerializeToString()) for value in values if value.name == name]
    for place in [place for place, value in enumerate(values) if value.name == name]:
        del values[place]
    values.extend(moved)


def remarks(proto: onnx.ModelProto, model: keras.Model) -> list[str]:
    """What a graph has that other engines than ONNX Runtime may refuse or be slow at; parity says whether it is right.

    One native node a recurrent layer, a Conv for each convolution, no loops, no operator outside the ONNX standard.
    """
    found = Counter(node.op_type for node in proto.graph.node)
    layers = list(model._flatten_layers())
    recurrent = sum(isinstance(layer, RECURRENT) for layer in layers)
    recurrent -= sum(isinstance(layer, keras.layers.Bidirectional) for layer in layers)  # holds two, becomes one node
    native, loops = found["GRU"] + found["LSTM"], found["Loop"] + found["Scan"] + found["If"]
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    )
    said = []
    if native < recurrent:
        odd = ", ".join(layer.name for layer in layers if isinstance(layer, RECURRENT) and not is_native(layer))
        said.append(f"{native} native GRU and LSTM nodes for {recurrent} layers{f' (not {odd})' if odd else ''}")
    if found["Conv"] < sum(isinstance(layer, CONVOLUTIONS) for layer in layers):
        said.append(f"{found['Conv']} Conv nodes for more convolutions")
    if loops:
        said.append(f"{loops} Loop, Scan or If nodes, which some engines refuse and none is fast at")
    if foreign:
        said.append(f"operators outside the ONNX standard ({', '.join(foreign)})")
    return [f"model {model.name!r} is exported with {'; '.join(said)}"] if said else []


def export(request: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Converts, compares, and writes the file.

    Args:
        request: what `export.convert.to_onnx` asked for.
        out: the file.

    Returns:
        Its metadata under `props`, and what `remarks` says under `warnings`.

    Raises:
        ParityError: the answers differ, or hardly vary.
        ClipzooError: the model cannot be loaded or exported, or the disk is full.
    """
    subject = ExportSource(
        load(request), ModelDescription.from_dict(request["described"]), features=request["features"]
    )
    frames = _frame_network(subject) if request["stream"] else None
    clips, source = _clips(request, subject.specs)
    said = subject.ask(clips)
    if request["files"] and variation(said[subject.kind.answer], subject.kind) < LEAST_VARIATION:
        # Few clips, or of one class: a fair model may say one thing of them all.
        made = synthetic_clips(subject.specs)
        clips, said = _joined(clips, made), _joined(said, subject.ask(made))
        source += f", and random clips of seed {SEED}"
    network, reference = subject.outputs(clips, said)
    if frames is not None:
        proto = convert_frames(frames, subject.name, opset=request["opset"])
    else:
        proto = convert(network, subject.specs, opset=request["opset"])
    remarked = remarks(proto, subject.model)
    parity = _compared(proto, clips, reference, source, "float32", subject, frames=frames, force=request["force"])
    precision: Precision = request["precision"]
    if precision == "float16":
        proto = to_float16(proto)
        parity = _compared(proto, clips, reference, source, precision, subject, force=request["force"])
    quantization: dict[str, Any] = {}
    if precision == "int8":
        proto, made_of = to_int8(
            proto, subject.specs, subject.task, calibration=request["calibration"], gate=request["gate"],
            source=request["source"], force=request["force"],
        )  # fmt: skip
        quantization = made_of.to_dict()
    metadata = Metadata(
        model=subject.name,
        specs=subject.specs if frames is None else {FRAME: frames.spec},
        stream={} if frames is None else frames.stream,
        labels=subject.labels,
        task=subject.task,
        precision=precision,
        parity=parity.to_dict(),
        quantization=quantization,
        origins=tuple(subject.origins),
        features=subject.features,
        versions={**versions(), "tf2onnx": tf2onnx.__version__, "onnxruntime": onnxruntime.__version__},
    )
    props = metadata.to_props()
    onnx.helper.set_model_props(proto, {**props, **WITHOUT_CHECKSUM})
    onnx.checker.check_model(proto, full_check=True)
    with writing(out) as partial:
        partial.write_bytes(add_checksum(proto.SerializeToString()))
    return {"props": props, "warnings": remarked}


def _frame_network(subject: ExportSource) -> FrameNetwork:
    """Raises ClipzooError where the model cannot take frames one by one."""
    if not subject.of_the_zoo:
        raise ClipzooError(
            f"model {subject.name!r} is none of the zoo's, so nothing says what it hands on from frame to frame: leave "
            "stream out (--stream)"
        )
    return FrameNetwork(subject.model, next(iter(subject.specs.values())))


def _joined(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def _compared(
    proto: onnx.ModelProto,
    clips: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    source: str,
    precision: Precision,
    subject: ExportSource,
    *,
    force: bool,
    frames: FrameNetwork | None = None,
) -> Parity:
    """How near a graph comes to what Keras says; raises where that is not near enough."""
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        if frames is not None:
            found = frames.run(session, next(iter(clips.values())), subject.kind)
        else:
            count = len(next(iter(clips.values())))
            singly = ({name: given[n : n + 1] for name, given in clips.items()} for n in range(count))
            found = answers(session, singly, list(reference))
    except Exception as error:  # the exceptions of ONNX Runtime share no base class but this
        raise ClipzooError(
            f"model {subject.name!r} was converted, but ONNX Runtime cannot run it ({said_by(error)})"
        ) from error
    parity = compare(reference, found, source=source, precision=precision, task=subject.task)
    require(parity, force=force)
    return parity


def _clips(request: Mapping[str, Any], specs: Mapping[str, ClipSpec]) -> tuple[dict[str, np.ndarray], str]:
    """The clips to compare on, by input, and what they are."""
    if request["clips"]:
        with np.load(request["clips"]) as file:
            given = {name or next(iter(specs)): file[name] for name in file.files}
        for name, spec in specs.items():
            if name not in given or given[name].shape[1:] != spec.shape or given[name].dtype != np.uint8:
                found = {key: f"{value.dtype} {value.shape}" for key, value in given.items()}
                raise ClipzooError(f"clips for {name!r} must be uint8 (clips, *{spec.shape}); got {found}")
        return {name: given[name] for name in specs}, "given"
    read = []
    for file, span in request["files"]:
        with suppress(VideoError):  # gone or damaged since: others are enough
            read.append(read_inputs(file, specs, span=span and tuple(span)))
    if read:
        return {name: np.stack([clip[name] for clip in read]) for name in specs}, "validation clips of the run"
    return synthetic_clips(specs), f"random clips of seed {SEED}"


def answer(folder: Path) -> tuple[int, dict[str, Any]]:
    """Reads `folder/request.json`, and writes `folder/model.onnx`.

    Returns:
        The exit status; and what `export` returns, or `error` and its `kind`, `parity` or `input`.
    """
    warnings.simplefilter("ignore")
    try:
        request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        return 0, export(request, folder / "model.onnx")
    except ClipzooError as error:
        kind = "parity" if isinstance(error, ParityError) else "input"
        return error.exit_status, {"error": str(error), "kind": kind}
