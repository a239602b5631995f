"""A hand-made ONNX file whose answers are known, so that nothing needs a converter."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from export import Metadata
from loaders import ClipSpec

SPEC = ClipSpec(frames=3, height=8, width=10)
LABELS = ("dark", "bright")


def write_model(
    path: Path,
    *,
    labels: tuple[str, ...] = LABELS,
    spec: ClipSpec = SPEC,
    shape: tuple[int, ...] = SPEC.shape,
    metadata: bool = True,
) -> Path:
    """Logits are (mean of the pixels - 128) / 16, by -1 and 1; a real file, whose answers are known by hand."""
    constants = [
        helper.make_tensor("mean", TensorProto.FLOAT, [], [128.0]),
        helper.make_tensor("signs", TensorProto.FLOAT, [2], [-1 / 16, 1 / 16]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    nodes = [
        helper.make_node("Cast", ["video"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["level"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Sub", ["level", "mean"], ["centred"]),
        helper.make_node("Reshape", ["centred", "column"], ["centred_column"]),
        helper.make_node("Mul", ["centred_column", "signs"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("logits", "probabilities")]
    video = helper.make_tensor_value_info("video", TensorProto.UINT8, ["batch", *shape])
    proto = helper.make_model(
        helper.make_graph(nodes, "levels", [video], outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    if metadata:
        contract = Metadata(
            model="levels",
            specs={"video": spec},
            labels=labels,
            task="classification",
            parity={"tolerance": 1e-4},
            versions={},
        )
        helper.set_model_props(proto, contract.to_props())
    onnx.save(proto, path)
    return path
