"""A float32 graph with its convolutions in int8, for processors; kept only where it decides as the float32 graph does.

Static quantization in the QDQ form: weights int8, one scale a channel, activations uint8 with ranges seen on
calibration clips. Recurrent layers, the head and what scales pixels stay float32. Dynamic quantization is not offered:
another project saw a depthwise Keras model at 0.09 % top-1 with it (ability-draft-plus#80).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)

from export.parity import ParityError, answers, compare
from loaders.clip import read_inputs
from loaders.errors import ClipzooError, VideoError
from loaders.processor import has, is_x86
from loaders.spans import Span
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind

Clips = Mapping[str, np.ndarray]  # by input, uint8 (1, frames, height, width, channels)
Where = Sequence[tuple[str, Span | None]]

LEAST_AGREEMENT, LEAST_CLIPS = 0.98, 100
# What stays in int8 between two convolutions; anything else between them computes in float32.
BETWEEN = ("Conv", "Relu", "Clip", "Add", "Concat", "MaxPool", "Slice", "Pad", "Reshape")


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an int8 graph was made, and how far it decides as the float32 graph does.

    Attributes:
        agreement: share of clips for which both say the same class, or the same set of several, 0 to 1.
        difference: the largest of a probability.
        clips: how many were compared; none of them calibrated.
        source: which they were.
        calibration: how many clips gave the ranges of the activations.
        floating: convolutions that stayed in float32.
        reduced: weights have 7 bits, so that sums of products fit processors without VNNI (onnxruntime#11415).
    """

    agreement: float
    difference: float
    clips: int
    source: str
    calibration: int
    floating: tuple[str, ...]
    reduced: bool

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**asdict(self), "floating": list(self.floating)}


def to_int8(
    proto: onnx.ModelProto,
    specs: Mapping[str, ClipSpec],
    task: Task,
    *,
    calibration: Where,
    gate: Where,
    source: str,
    force: bool = False,
) -> tuple[onnx.ModelProto, Quantization]:
    """Quantizes the convolutions of a graph.

    Where the whole does not agree with float32, the first convolution, and then every depthwise one too, stays float32:
    a channel of a depthwise convolution has few weights, and rounding does not average out.

    Args:
        proto: the graph in float32.
        specs: input name -> ClipSpec.
        task: of the model.
        calibration: files and spans of clips that give the ranges of activations.
        gate: of clips that are compared.
        source: which those are, for people.
        force: write it with fewer clips, or less agreement.

    Raises:
        ParityError: it does not agree on 98 % of the clips, or there are fewer than 100 to see it on.
        ClipzooError: no clip can be read, or there is no convolution.
    """
    kind = task_kind(task)
    if not kind.classes:
        raise ClipzooError(f"precision 'int8' is held against float32 by its decisions, and {task} has none")
    proto = _named(proto)
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    if not convolutions:
        raise ClipzooError("precision 'int8' is for convolutions, and the model has none; export it in float32")
    compared = list(_read(gate, specs))
    if len(compared) < LEAST_CLIPS and not force:
        raise ParityError(
            f"precision 'int8' is held against float32 on {LEAST_CLIPS} clips at least, and there are {len(compared)} "
            f"({source}); give more with calibrate=FOLDER (--calibrate), or take fewer with force=True (--force)"
        )
    if not compared:
        raise ClipzooError(f"precision 'int8': no clip to compare on can be read ({source})")
    reference = _answers(proto.SerializeToString(), compared)
    ranges, count = _ranges(proto, _read(calibration, specs))
    depthwise = [node.name for node in convolutions if _groups(node) > 1]
    first, reduced = [convolutions[0].name], narrow()
    tried = []
    for floating in dict.fromkeys(((), tuple(first), tuple(dict.fromkeys(first + depthwise)))):
        quantizer = QDQQuantizer(
            copy.deepcopy(proto), True, reduced, QuantType.QInt8, QuantType.QUInt8, ranges, _between(proto),
            list(floating), list(BETWEEN), {},
        )  # fmt: skip
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # what dequantizes weights comes last otherwise
        found = quantizer.model.model
        candidate = _answers(found.SerializeToString(), compared)
        parity = compare(reference, candidate, source=source, task=task)
        tried.append(parity.same_decision)
        if parity.same_decision >= LEAST_AGREEMENT or force:
            return found, Quantization(
                agreement=parity.same_decision, difference=parity.differences[kind.answer], clips=len(compared),
                source=source, calibration=count, floating=floating, reduced=reduced,
            )  # fmt: skip
    raise ParityError(
        f"int8 decides as float32 does for {max(tried):.1%} of {len(compared)} clips ({source}), and must for "
        f"{LEAST_AGREEMENT:.0%}, so no file was written; give other clips with calibrate=FOLDER (--calibrate), "
        "write it all the same with force=True (--force), or export it in float32"
    )


def narrow() -> bool:
    """Whether this processor adds products of 8 bits in 16, where those of full range overflow: x86 without VNNI."""
    return is_x86() and not has("avx512_vnni", "avx_vnni")


def _named(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every node with a name: nodes are chosen by it."""
    named = copy.deepcopy(proto)
    for number, node in enumerate(named.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return named


def _between(proto: onnx.ModelProto) -> list[str]:
    """Convolutions, and what follows them up to the first that is not of `BETWEEN`."""
    users: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, None] = {}
    ahead = [node for node in proto.graph.node if node.op_type == "Conv"]
    while ahead:
        node = ahead.pop()
        if node.name not in found:
            found[node.name] = None
            ahead += [user for name in node.output for user in users.get(name, ()) if user.op_type in BETWEEN]
    return list(found)


def _groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _read(where: Where, specs: Mapping[str, ClipSpec]) -> Iterator[Clips]:
    for file, span in where:
        with suppress(VideoError):  # gone or damaged since: others are enough
            clips = read_inputs(file, specs, span=(span[0], span[1]) if span else None)
            yield {name: clip[None] for name, clip in clips.items()}


def _answers(graph: bytes, clips: Sequence[Clips]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return answers(session, clips, [output.name for output in session.get_outputs()])


class _Reader(CalibrationDataReader):
    """Clips as ONNX Runtime asks for them, one at a time."""

    def __init__(self, clips: Iterator[Clips]) -> None:
        self.clips, self.count = clips, 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip = next(self.clips, None)
        self.count += clip is not None
        return dict(clip) if clip is not None else None


def _ranges(proto: onnx.ModelProto, clips: Iterator[Clips]) -> tuple[Any, int]:
    """The least and greatest value of each tensor on clips, and how many these were."""
    reader = _Reader(clips)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        onnx.save(proto, path)
        calibrator = create_calibrator(
            path, list(BETWEEN), augmented_model_path=str(path.with_name("ranges.onnx")),
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        try:
            calibrator.collect_data(reader)
        except ValueError:  # it was given nothing
            raise ClipzooError("precision 'int8': no clip to calibrate on can be read; see calibrate=FOLDER") from None
        return calibrator.compute_data(), reader.count
