"""The layers that every model here shares: ClipInput, FrameWise, Answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from loaders.errors import ClipzooError
from loaders.index import Task
from loaders.spec import ClipSpec, ColorOrder
from zoo.tasks import task_kind

PACKAGE = "clipzoo"


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClipInput(keras.layers.Layer):
    """The first layer behind an input: casts and normalises raw pixels, and carries the input's ClipSpec.

    It computes `(pixels - mean) / std` for uint8 (B, T, H, W, C) and gives the compute dtype, the same shape. The spec
    is in its config, so that it survives saving, loading and cloning, which an attribute of the model does not.

    Args:
        spec: the contract of the input, a ClipSpec or what `ClipSpec.to_dict` wrote.
        mean: taken off each channel; one number, or one for each channel in the order of `channel_order`.
        std: divides each channel; likewise, not 0.
        channel_order: `bgr` turns the channels round first, for backbones that were trained that way.
    """

    def __init__(
        self,
        spec: ClipSpec | dict[str, Any],
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 255.0,
        channel_order: ColorOrder = "rgb",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = spec if isinstance(spec, ClipSpec) else ClipSpec.from_dict(spec)
        self.mean = mean
        self.std = std
        self.channel_order = channel_order

    def call(self, clips: Any) -> Any:
        pixels = ops.cast(clips, self.compute_dtype)
        if self.channel_order == "bgr" and self.spec.channels == 3:
            pixels = ops.flip(pixels, axis=-1)
        mean = ops.convert_to_tensor(self.mean, dtype=self.compute_dtype)
        scale = ops.convert_to_tensor(_reciprocal(self.std), dtype=self.compute_dtype)
        return (pixels - mean) * scale

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": self.spec.to_dict(),
            "mean": self.mean,
            "std": self.std,
            "channel_order": self.channel_order,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrameWise(keras.layers.Wrapper):
    """Applies a layer to every frame: time is folded into the batch, so the layer is called once whatever T is.

    (B, T, ...) -> (B, T, ...). In inference it gives what `keras.layers.TimeDistributed` gives, which for a known T
    unrolls a Python loop (keras#21179, #21208). In training, batch normalisation takes its statistics over all frames
    of the batch. B and T may both be unknown.

    Args:
        layer: the layer or model, (B, ...) -> (B, ...), without a mask.

    Set `trainable` on the leaf layers inside, never on this wrapper: the two backends disagree on what that means.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.layer.built:
            self.layer.build((None, *input_shape[2:]))
        self.built = True

    def call(self, inputs: Any) -> Any:
        batch, frames, *inner = _shape(inputs)
        outputs = self.layer(ops.reshape(inputs, (-1, *inner)))
        known = inputs.shape[1] is not None
        return ops.reshape(outputs, (-1 if known else batch, frames if known else -1, *_shape(outputs)[1:]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        inner = self.layer.compute_output_shape((None, *input_shape[2:]))
        return (*input_shape[:2], *inner[1:])


@keras.saving.register_keras_serializable(package=PACKAGE)
class Answer(keras.layers.Layer):
    """The last layer: what the task asks for, and the names of the labels, which travel in its config.

    (B, labels) -> (B, labels), float32 whatever the precision of the rest: softmax for one class, sigmoid for several,
    the numbers themselves for regression.

    Args:
        labels: names of the classes or numbers, in the order of the logits.
        task: what they are.
    """

    def __init__(self, labels: Sequence[str], *, task: Task = "classification", **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.labels = tuple(labels)
        self.task: Task = task

    def call(self, logits: Any) -> Any:
        return keras.activations.get(task_kind(self.task).activation)(logits)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if input_shape[-1] != len(self.labels):
            raise ClipzooError(f"{len(self.labels)} labels do not fit {input_shape[-1]} logits")
        self.built = True

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": list(self.labels), "task": self.task}


def _shape(tensor: Any) -> list[Any]:
    """Sizes of the axes: numbers where they are known, tensors where not."""
    dynamic = ops.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]


def _reciprocal(std: float | Sequence[float]) -> float | list[float]:
    return [1 / value for value in std] if isinstance(std, Sequence) else 1 / std
