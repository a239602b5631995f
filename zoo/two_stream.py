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


def fuse(
    first: keras.Model, second: keras.Model, *, weight: float = RGB_WEIGHT, name: str | None = None
) -> keras.Model:
    """Puts two trained models together, as they are: weight * first + (1 - weight) * second, of the logits.

    The two streams of this module, I3D of RGB and of flow (arXiv 1705.07750), or any two of another modality.

    Args:
        first: a model of one input, from `create_model` or `load_model`.
        second: another, of another modality and the same labels.
        weight: of the first, 0 to 1.
        name: of the model; None: `dtpp` for its streams, else `fused`.

    Returns:
        A model whose inputs, and layers, are named by their modality. Streams of this module share layers and weights
        with it; weights of others are copied.

    Raises:
        ClipzooError: other labels, another task, the same modality twice, or a model of several inputs.
    """
    if labels(first) != labels(second) or task(first) != task(second):
        raise ClipzooError(
            f"the models do not fit together: {task(first)} of {', '.join(labels(first))}; "
            f"{task(second)} of {', '.join(labels(second))}"
        )
    for model in (first, second):
        if len(specs(model)) != 1:
            raise ClipzooError(f"model {model.name!r} takes {', '.join(specs(model))}; give one of a single input")
    modalities = [spec.modality for model in (first, second) for spec in specs(model).values()]
    if modalities[0] == modalities[1]:
        raise ClipzooError(f"both models take {modalities[0]}; give two of different modalities, such as rgb and flow")
    streams = [_named_by(*each) for each in zip(modalities, (first, second), strict=True)]
    kind = task_kind(task(first))
    logits = Fusion(weight, name="logits")([_before_answer(model) for model in streams])
    answer = OutputActivation(labels(first), task=kind.name, scaled=not kind.classes, name=kind.answer)(logits)
    name = name or ("dtpp" if streams == [first, second] else "fused")
    return keras.Model([tensor for model in streams for tensor in model.inputs], answer, name=name)


def _named_by(modality: str, model: keras.Model) -> keras.Model:
    """The model, with names that begin with its modality: no two layers of one model may have the same.

    Streams have such names already, and are given back as they are.
    """
    if model.inputs[0].name == modality:
        return model

    def renamed(layer: keras.Layer) -> keras.Layer:
        saved = keras.saving.serialize_keras_object(layer)
        saved["config"]["name"] = f"{modality}_{layer.name}"
        return keras.saving.deserialize_keras_object(saved)

    clip = keras.Input(model.inputs[0].shape[1:], dtype="uint8", name=modality)
    inputs = keras.tree.map_structure(lambda tensor: clip, model.input)  # one tensor, or a list of it
    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=renamed)
    copied.set_weights(model.get_weights())
    return copied


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
