"""What is known of each model before it is built. Data: no Keras, no OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.spec import ClipSpec

ARTICLE = "Metal3d, Training neural network with image sequence, an example with video as input (2019)"
TSN = "Wang et al., Temporal Segment Networks, arXiv 1608.00859 (2016)"
DTPP = "Zhu, Zou, Zhu, End-to-end Video-level Representation Learning for Action Recognition, arXiv 1711.04161 (2018)"
TSM = "Lin, Gan, Han, TSM: Temporal Shift Module for Efficient Video Understanding, arXiv 1811.08383 (2019)"
I3D = (
    "Carreira, Zisserman, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, arXiv 1705.07750 (2017)"
)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model before it is built.

    Attributes:
        name: what `create_model` takes.
        summary: one line.
        spec: the default input contract.
        builder: `module:function`; called as `function(spec, labels, name=name, task=task, **options)`.
        options: settled by the name; the user's come on top.
        parameters: weights of the default model with 51 classes (HMDB51), moving statistics included; None where nobody
            counted them.
        multiply_adds: of one clip through the default model: convolutions, dense and recurrent layers; likewise.
        source: where the architecture comes from.
        network: whose published weights `backbone_weights` names where no option `backbone` says so.
        weights: what `clipzoo train` begins from where nothing else is said; None: from nothing.
        flow_input: whether it has an input of flow beside that of `spec`; the spec's `flow` is for that one then.
    """

    name: str
    summary: str
    spec: ClipSpec
    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    multiply_adds: int | None = None
    source: str = ""
    network: str = ""
    weights: str | None = None
    flow_input: bool = False


def _recurrent(name: str, size: int, parameters: int, multiply_adds: int, what: str) -> ModelInfo:
    """`name` is that of a backbone and that of a recurrent cell."""
    backbone, _, cell = name.rpartition("_")
    return ModelInfo(
        name=name,
        summary=f"{what} on every frame, {cell.upper()} over them",
        spec=ClipSpec(frames=5, height=size, width=size),
        builder="zoo.recurrent:recurrent",
        options={"backbone": backbone, "cell": cell},
        weights=None if backbone == "convnet" else "imagenet",
        parameters=parameters,
        multiply_adds=multiply_adds,
        source=ARTICLE,
    )


def _average(name: str, size: int, parameters: int, multiply_adds: int, what: str) -> ModelInfo:
    """`name` is that of a backbone and `average`."""
    return ModelInfo(
        name=name,
        summary=f"{what} on every frame, averaged over frames",
        spec=ClipSpec(frames=8, height=size, width=size, sampling="segments", resize="fit"),
        builder="zoo.consensus:average",
        options={"backbone": name.removesuffix("_average")},
        weights="imagenet",
        parameters=parameters,
        multiply_adds=multiply_adds,
        source=TSN,
    )


def _shifted(backbone: str, parameters: int, multiply_adds: int, what: str) -> ModelInfo:
    return ModelInfo(
        name=f"tsm_{backbone}",
        summary=f"{what} whose blocks see the frames before and after (temporal shift), averaged over frames",
        spec=ClipSpec(frames=8, height=224, width=224, sampling="segments", resize="fit"),
        builder="zoo.tsm:tsm",
        options={"backbone": backbone},
        weights="imagenet",
        parameters=parameters,
        multiply_adds=multiply_adds,
        source=TSM,
    )


_SEGMENTS = ClipSpec(
    frames=25, height=224, width=224, sampling="segments", resize="fit", resize_to=256, interpolation="linear"
)


def _stream(name: str, builder: str, parameters: int, multiply_adds: int, summary: str, **fields: Any) -> ModelInfo:
    return ModelInfo(
        name=name,
        summary=summary,
        spec=_SEGMENTS.replace(**fields),
        builder=f"zoo.two_stream:{builder}",
        parameters=parameters,
        multiply_adds=multiply_adds,
        source=DTPP,
        network="bn_inception",
        flow_input=builder == "two_stream",
    )


# Kinetics as I3D was trained and tested on it: 256 on the shorter side, its center of 224, frames close together.
_CLOSE = ClipSpec(frames=32, height=224, width=224, sampling="dense", stride=2, resize="fit", resize_to=256)


def _inflated(name: str, parameters: int, multiply_adds: int, summary: str, **fields: Any) -> ModelInfo:
    return ModelInfo(
        name=name,
        summary=summary,
        spec=_CLOSE.replace(**fields),
        builder="zoo.i3d:i3d",
        parameters=parameters,
        multiply_adds=multiply_adds,
        source=I3D,
        network="i3d",
        weights="kinetics400",
    )


_ON = "BN-Inception on 25"
MODEL_INFOS: tuple[ModelInfo, ...] = (
    _recurrent("convnet_gru", 112, 5_468_787, 12_826_205_376, "ConvNet of eight 3x3 convolutions"),
    _recurrent("convnet_lstm", 112, 5_505_523, 12_826_389_696, "ConvNet of eight 3x3 convolutions"),
    _recurrent("mobilenet_gru", 224, 4_106_739, 2_840_293_056, "MobileNet"),
    _recurrent("mobilenet_lstm", 224, 4_176_243, 2_840_641_216, "MobileNet"),
    _recurrent("mobilenetv2_gru", 224, 3_185_011, 1_499_428_416, "MobileNetV2"),
    _recurrent("efficientnet_lite0_gru", 224, 4_340_051, 1_921_494_816, "EfficientNet-Lite0"),
    _recurrent("vgg16_gru", 224, 15_494_259, 76_734_373_056, "VGG16"),
    _average("mobilenet_average", 224, 3_281_139, 4_541_783_040, "MobileNet"),
    _average("mobilenetv2_average", 224, 2_323_315, 2_396_019_456, "MobileNetV2"),
    _average("efficientnet_lite0_average", 224, 3_478_355, 3_071_325_696, "EfficientNet-Lite0"),
    _shifted("mobilenetv2", 2_323_315, 2_396_019_456, "MobileNetV2"),
    _shifted("efficientnet_lite0", 3_478_355, 3_071_325_696, "EfficientNet-Lite0"),
    _stream("dtpp_rgb", "stream", 10_655_891, 50_789_767_168, f"{_ON} frames, temporal pyramid pooling"),
    _stream("dtpp_flow", "stream", 10_677_843, 57_673_914_368, f"{_ON} flow stacks, pyramid", modality="flow", stack=5),
    _stream("dtpp_diff", "stream", 10_655_891, 50_789_767_168, f"{_ON} frame differences, pyramid", modality="diff"),
    _stream("dtpp", "two_stream", 21_333_734, 108_463_681_536, f"{_ON} frames, another on 25 flow stacks, fused"),
    _inflated("i3d", 12_346_819, 55_575_190_528, "Inception-v1 inflated to 3-D, averages over time and space"),
    _inflated("i3d_flow", 12_324_867, 51_169_336_320, "Inception-v1 inflated to 3-D on optical flow", modality="flow"),
)
