"""DTPP: the two-stream model with temporal pyramid pooling of arXiv 1711.04161 (Zhu, Zou, Zhu; ICPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import keras

from loaders.check import choice, names, number
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind
from zoo.backbones import backbone as backbone_named
from zoo.backbones.backbone import COMMON, options_of
from zoo.contract import SMALL, answer_layer, head, labels, specs, task
from zoo.layers import PACKAGE, ClipInput, FrameWise, Fusion, OutputActivation, TemporalPyramidPooling, pyramid_bins
from zoo.weights import load_whole

RGB_WEIGHT = 0.4
PartialBN = Literal["none", "first", "all"]


def stream(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    backbone: str = "bn_inception",
    levels: Sequence[int] = (1, 2, 4),
    pooling: Literal["max", "average"] = "max",
    dropout: float = 0.8,
    partial_bn: PartialBN | None = None,
    backbone_weights: str | Path | None = None,
    weights: str | Path | None = None,
    **backbone_options: Any,
) -> keras.Model:
    """Builds one stream: backbone on every frame -> average pool -> temporal pyramid -> dropout -> logits.

    Where this departs from the paper: the flow of the default spec is DIS, not TV-L1, which needs opencv-contrib and
    has taken others a day (hmdb51-two-stream#2); `spec={"flow": FlowSpec(method="tvl1")}` is the paper's way. Frames
    keep their shape, 256 on the shorter side, where the paper makes them 340x256. A file with too few frames for one
    stack is refused (`short="repeat_last"` clamps as the paper does). `pooling="average"` divides by the steps of a
    bin, the authors' Caffe layer by its whole window.

    Args:
        spec: of the input; its name is its modality.
        labels: names of the classes or numbers.
        name: of the model.
        task: what they are.
        backbone: one of `zoo.backbones.list_backbones()`.
        levels: of the pyramid; the number of frames must allow them.
        pooling: over time; `average` is the paper's ablation.
        dropout: in front of the head, 0 <= dropout < 1.
        partial_bn: which batch normalizations are frozen, in inference mode: `none`; `first`: all but the first one
            (the paper's, for ImageNet weights); `all` (for Kinetics weights). None: `first` with weights, else
            `none`.
        backbone_weights: None, `imagenet`, or a file, as `zoo.weights.load_weights` takes it; for other channels by
            cross-modality.
        weights: a `.keras` file of this model, or an `.npz` file of all its layers as `zoo.weights.from_caffe` makes.
        backbone_options: such as `alpha` or `width`.

    Raises:
        ClipzooError: an option out of range, frames that the levels cannot have, or weights that do not fit.
    """
    network = backbone_named(backbone)
    own = set(options_of(stream)) - {"name", "task"}
    names(name, backbone_options, COMMON | own | set(network.options), noun="option")
    number("dropout", dropout, least=0, below=1)
    if partial_bn is not None:
        choice("partial_bn", partial_bn, get_args(PartialBN))
    if not isinstance(levels, Sequence) or isinstance(levels, str):
        raise ClipzooError(f"levels ({levels!r}) must be a list of whole numbers, such as [1, 2, 4]")
    if not isinstance(weights, str | Path | None) or not isinstance(backbone_weights, str | Path | None):
        raise ClipzooError(f"weights ({weights!r}) and backbone_weights ({backbone_weights!r}) must be files")
    pyramid_bins(spec.frames, tuple(levels))  # said before a network is built

    # === Layers ===
    prefix = spec.modality
    frame_network = network.create(spec.shape[1:], weights=backbone_weights, pooling="average", **backbone_options)
    given = backbone_weights is not None or weights is not None
    freeze_normalization(frame_network, partial_bn or ("first" if given else "none"))

    # === Functional model ===
    video = keras.Input(spec.shape, dtype="uint8", name=prefix)
    x = ClipInput(spec, **network.normalization(spec), name=f"{prefix}_clip_input")(video)
    x = FrameWise(frame_network, name=f"{prefix}_frames")(x)
    x = TemporalPyramidPooling(tuple(levels), mode=pooling, name=f"{prefix}_pyramid")(x)
    x = keras.layers.Dropout(dropout, name=f"{prefix}_dropout")(x)
    answer = head(x, labels, task, name=f"{prefix}_logits", kernel_initializer=SMALL)
    model = keras.Model(video, answer, name=name)
    if weights is not None:
        load_whole(model, weights)
    return model


def two_stream(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    flow: ClipSpec,
    weight: float = RGB_WEIGHT,
    weights: None = None,
    **options: Any,
) -> keras.Model:
    """Builds both streams and their fusion, untrained; `fuse` makes it of two trained ones.

    Args:
        spec: of the RGB input.
        labels: names of the classes.
        name: of the model.
        task: what they are.
        flow: of the input of flow: `zoo.registry.input_specs` makes it of the other.
        weight: of the RGB stream's logits.
        weights: must be None; streams are trained apart, and put together by `fuse`.
        options: of both streams; see `stream`.

    Raises:
        ClipzooError: an option out of range.
    """
    if weights is not None:
        raise ClipzooError(f"{name} takes no weights ({weights!r}): load its streams, and `clipzoo fuse` them")
    streams = [stream(each, labels, name=f"{name}_{each.modality}", task=task, **options) for each in (spec, flow)]
    return fuse(*streams, weight=weight, name=name)


def fuse(rgb: keras.Model, flow: keras.Model, *, weight: float = RGB_WEIGHT, name: str = "dtpp") -> keras.Model:
    """Puts two streams together, as they are: weight * rgb + (1 - weight) * flow, of the logits.

    Args:
        rgb: a stream from `create_model` or `load_model`; layers and weights are shared.
        flow: another, of another modality and the same labels.
        weight: of the first, 0 to 1.
        name: of the model.

    Raises:
        ClipzooError: other labels, another task, or the same modality twice.
    """
    if labels(rgb) != labels(flow) or task(rgb) != task(flow):
        raise ClipzooError(
            f"the streams do not fit together: {task(rgb)} of {', '.join(labels(rgb))}; "
            f"{task(flow)} of {', '.join(labels(flow))}"
        )
    twice = set(specs(rgb)) & set(specs(flow))
    if twice:
        raise ClipzooError(f"both streams take {', '.join(sorted(twice))}; give one of RGB and one of flow")
    for model in (rgb, flow):
        if len(specs(model)) != 1 or not any(isinstance(layer, TemporalPyramidPooling) for layer in model.layers):
            raise ClipzooError(f"model {model.name!r} is no stream of the two-stream model")
    kind = task_kind(task(rgb))
    logits = Fusion(weight, name="logits")([_before_answer(model) for model in (rgb, flow)])
    answer = OutputActivation(labels(rgb), task=kind.name, scaled=not kind.classes, name=kind.answer)(logits)
    return keras.Model([*rgb.inputs, *flow.inputs], answer, name=name)


def _before_answer(stream: keras.Model) -> keras.KerasTensor:
    """Logits of a stream; numbers in their own unit, to which each stream has its scale."""
    answer = answer_layer(stream)
    if not answer.scaled:
        return answer.input
    scale, offset = (keras.ops.convert_to_numpy(weight).tolist() for weight in (answer.scale, answer.offset))
    return keras.layers.Rescaling(scale, offset, dtype="float32", name=f"{stream.name}_values")(answer.input)


def freeze_normalization(network: keras.Model, which: PartialBN) -> None:
    """Partial batch normalization (TSN): freezes none, all but the first, or all; a frozen one is in inference mode."""
    found = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in {"none": [], "first": found[1:], "all": found}[which]:
        layer.trainable = False


def protocol(modality: str) -> dict[str, Any]:
    """Fields of the Recipe of arXiv 1711.04161, for batches of 4 clips: 32 make a step of 128. `--recipe dtpp`.

    Args:
        modality: `flow` begins at a rate of 1e-3, all else at 1e-2.
    """
    solver = {"momentum": 0.9, "l2": 5e-4, "bias_rate": 2.0, "clip_gradients": 40.0}
    return {
        "batch": 4,
        "augmentation": "multiscale",
        "optimizer": {"class_name": f"{PACKAGE}>CaffeSGD", "config": solver},
        "learning_rate": 1e-3 if modality == "flow" else 1e-2,
        "factor": 0.1,
        "monitor": "class_accuracy",
        "accumulate": 32,
    }
