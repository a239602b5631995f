"""Small ONNX files made by hand, whose answers are known, so that what runs them needs no converter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from export import Metadata
from export.checksum import WITHOUT_CHECKSUM, add_checksum
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
    props: Mapping[str, str] | None = None,
    sealed: bool = False,
    nodes: Sequence[onnx.NodeProto] = (),
) -> Path:
    """Logits are (mean of the pixels - 128) / 16, by -1 and 1.

    Args:
        path: the file.
        labels: of the metadata.
        spec: of the metadata.
        shape: of the input.
        metadata: whether there is any.
        props: what stands in it in the place of what is right, key -> text.
        sealed: whether it holds its SHA-256.
        nodes: from `normal_logits` to `logits`, for files whose answers are wrong.
    """
    constants = [
        helper.make_tensor("mean", TensorProto.FLOAT, [], [128.0]),
        helper.make_tensor("signs", TensorProto.FLOAT, [2], [-1 / 16, 1 / 16]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    nodes = [
        helper.make_node("Cast", ["video"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["level"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Sub", ["level", "mean"], ["centered"]),
        helper.make_node("Reshape", ["centered", "column"], ["centered_column"]),
        helper.make_node("Mul", ["centered_column", "signs"], ["normal_logits"]),
        *(nodes or [helper.make_node("Identity", ["normal_logits"], ["logits"])]),
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
        helper.set_model_props(proto, {**contract.to_props(), **(WITHOUT_CHECKSUM if sealed else {}), **(props or {})})
    model = proto.SerializeToString()
    path.write_bytes(add_checksum(model) if sealed else model)
    return path


def by_hand(clip: np.ndarray) -> np.ndarray:
    """Probabilities of a clip."""
    logits = (clip.mean() - 128) / 16 * np.array([-1, 1])
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def turned(file: Path, to: Path, *, count: int = 200) -> Iterator[Path]:
    """Writes a file again and again, each time with one byte of it changed at random, from one seed."""
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(count):
        place, bits = int(rng.integers(len(whole))), int(rng.integers(1, 256))
        whole[place] ^= bits
        to.write_bytes(whole)
        yield to
        whole[place] ^= bits
