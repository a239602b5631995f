"""The layers that the models share: ClipInput, FrameWise, what pools over time, Fusion, OutputActivation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec, ColorOrder
from loaders.tasks import Task, task_kind

PACKAGE = "clipzoo"


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClipInput(keras.layers.Layer):
    """The first layer behind an input: casts and normalizes raw pixels, and carries the input's ClipSpec.

    It computes `(pixels - mean) / std` for uint8 (B, T, H, W, C) and gives the compute dtype, the same shape. The spec
    is in its config, so that it survives saving, loading and cloning, which an attribute of the model does not.

    Args:
        spec: the contract of the input, a ClipSpec or what `ClipSpec.to_dict` wrote.
        mean: taken off each channel; one number, or one for each channel in the order of `channel_order`.
        std: divides each channel; likewise, not 0.
        channel_order: that the backbone was trained with; RGB pixels of another order are turned round first. The three
            gray frames of `grouped` stay in their order.
        origin: where the weights behind it began; see `zoo.contract.origins`.
    """

    def __init__(
        self,
        spec: ClipSpec | dict[str, Any],
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 255.0,
        channel_order: ColorOrder = "rgb",
        origin: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = spec if isinstance(spec, ClipSpec) else ClipSpec.from_dict(spec)
        self.mean = mean
        self.std = std
        self.channel_order = channel_order
        self.origin = origin

    def call(self, clips: Any) -> Any:
        if self.spec.colors and self.channel_order != self.spec.color_order:
            # Not ops.flip: ONNX has no operator for it, and what it becomes turns the whole clip round twice. Before
            # the cast, a quarter of the bytes move.
            clips = ops.concatenate([clips[..., 2:], clips[..., 1:2], clips[..., :1]], axis=-1)
        pixels = ops.cast(clips, self.compute_dtype)
        mean, scale = (self._row(value) for value in (self.mean, _reciprocal(self.std)))
        return (pixels - mean) * scale

    def _row(self, value: float | Sequence[float]) -> Any:
        # A figure for each channel is repeated along a row: ONNX Runtime broadcasts 3 numbers slowly.
        full = np.broadcast_to(value, (self.spec.width, self.spec.channels)) if isinstance(value, Sequence) else value
        return ops.convert_to_tensor(full, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": self.spec.to_dict(),
            "mean": self.mean,
            "std": self.std,
            "channel_order": self.channel_order,
            **({"origin": self.origin} if self.origin else {}),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrameWise(keras.layers.Wrapper):
    """Applies a layer to every frame: time is folded into the batch, so the layer is called once whatever T is.

    (B, T, ...) -> (B, T, ...). In inference it gives what `keras.layers.TimeDistributed` gives, which for a known T
    unrolls a Python loop (keras#21179, #21208). In training, batch normalization takes its statistics over all frames
    of the batch. B and T may both be unknown.

    It folds on every backend and device, though `python -m benchmarks.training` shows unrolled steps to be faster in
    one place, JAX on a CPU: there batch normalization sees one frame of each clip at a time, which is another model.
    VGG16 has none, but would gain a seventh, on a backend that there takes more than twice TensorFlow's time.

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
class TemporalStatistics(keras.layers.Layer):
    """Mean, change and trend of a sequence, without weights: (B, N, C) -> (B, 3 * C). N must be known.

    The mean forgets order. The change is the mean size of the step from one frame to the next: how much moves. The
    trend is the first coefficient of the discrete cosine transform over time: what the end has more than the beginning,
    so that sitting down is not standing up.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        if input_shape[1] is None:
            raise ClipzooError("TemporalStatistics needs a known number of steps; give frames=N")
        steps = input_shape[1]
        self.wave = -np.sqrt(2) * np.cos(np.pi * (np.arange(steps) + 0.5) / steps)
        self.built = True

    def call(self, steps: Any) -> Any:
        change = ops.abs(steps[:, 1:] - steps[:, :-1]) if len(self.wave) > 1 else ops.zeros_like(steps)
        trend = steps * ops.convert_to_tensor(self.wave[:, None], dtype=steps.dtype)
        return ops.concatenate([ops.mean(each, axis=1) for each in (steps, change, trend)], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        channels = input_shape[-1]
        return input_shape[0], None if channels is None else 3 * channels


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalPyramidPooling(keras.layers.Layer):
    """Pools a sequence of any length into a vector of fixed length, at several levels of time (arXiv 1711.04161).

    (B, N, C) -> (B, bins * C): level by level, bin by bin, the channels of a bin together. N must be known.

    Args:
        levels: bins of each level; see `pyramid_bins`.
        mode: `max`, or `average`, the paper's ablation.

    Raises:
        ClipzooError: levels that N steps cannot have, a mode that there is not, or an unknown N.
    """

    def __init__(
        self, levels: Sequence[int] = (1, 2, 4), *, mode: Literal["max", "average"] = "max", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if mode not in ("max", "average"):
            raise ClipzooError(f"TemporalPyramidPooling mode ({mode!r}) must be max or average")
        self.levels = tuple(levels)
        self.mode = mode

    def build(self, input_shape: Sequence[int | None]) -> None:
        if input_shape[1] is None:
            raise ClipzooError("TemporalPyramidPooling needs a known number of steps; give frames=N")
        self.bins = pyramid_bins(input_shape[1], self.levels)
        self.built = True

    def call(self, steps: Any) -> Any:
        pool = ops.max if self.mode == "max" else ops.mean
        return ops.concatenate([pool(steps[:, start:stop], axis=1) for start, stop in self.bins], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        channels = input_shape[-1]
        return input_shape[0], None if channels is None else sum(self.levels) * channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": list(self.levels), "mode": self.mode}


def pyramid_bins(steps: int, levels: Sequence[int]) -> list[tuple[int, int]]:
    """The windows of temporal pyramid pooling: (start, stop) of each bin, level by level, stop excluded.

    A level of b bins has windows of ceil(steps / b), one behind the other, the first reaching (window * b - steps + 1)
    // 2 before the beginning; what lies outside is cut off (the authors' Caffe layer).

    Raises:
        ClipzooError: no levels, a level below 1, or one whose first window would lie wholly outside.
    """
    if not levels or any(isinstance(level, bool) or not isinstance(level, int) or level < 1 for level in levels):
        raise ClipzooError(f"pyramid levels ({tuple(levels)}) must be whole numbers >= 1")
    bins = []
    for level in levels:
        window, lead = _window(steps, level)
        if lead >= window:
            # Every number of frames above the square of the largest level is legal.
            legal = min(
                (n for n in range(1, max(steps, max(levels) ** 2) + 1) if _legal(n, levels)),
                key=lambda n: abs(n - steps),
            )
            raise ClipzooError(
                f"{steps} frames cannot be pooled into {level} bins: padding {lead} reaches the window {window}; "
                f"the nearest number of frames that levels {tuple(levels)} can have is {legal}"
            )
        starts = (k * window - lead for k in range(level))
        bins += [(max(0, start), min(steps, start + window)) for start in starts]
    return bins


def _window(steps: int, level: int) -> tuple[int, int]:
    window = -(-steps // level)
    return window, (window * level - steps + 1) // 2


def _legal(steps: int, levels: Sequence[int]) -> bool:
    return steps >= 1 and all(lead < window for window, lead in (_window(steps, level) for level in levels))


@keras.saving.register_keras_serializable(package=PACKAGE)
class Fusion(keras.layers.Layer):
    """Joins the logits of two streams: weight * first + (1 - weight) * second. Two of (B, labels) -> (B, labels).

    Args:
        weight: of the first, 0 to 1.
    """

    def __init__(self, weight: float = 0.4, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise ClipzooError(f"fusion weight ({weight!r}) must be a number in 0 to 1")
        self.weight = weight

    def call(self, logits: Sequence[Any]) -> Any:
        first, second = logits
        return self.weight * first + (1 - self.weight) * second

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package=PACKAGE, name="Answer")  # the name in files
class OutputActivation(keras.layers.Layer):
    """The last layer: what the task asks for, and the names of the labels, which travel in its config.

    (B, labels) -> (B, labels), float32 whatever the precision of the rest: softmax for one class, sigmoid for several,
    the numbers themselves for regression: `logits * scale + offset`, which training sets to spread and mean of its
    targets, so that the layers before work with numbers near 0 whatever the unit.

    Args:
        labels: names of the classes or numbers, in the order of the logits.
        task: what they are.
        scaled: whether numbers are scaled; False for those of models that were saved before there was a scale.
    """

    def __init__(
        self, labels: Sequence[str], *, task: Task = "classification", scaled: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.labels = tuple(labels)
        self.task: Task = task
        self.scaled = scaled

    def call(self, logits: Any) -> Any:
        answer = keras.activations.get(task_kind(self.task).activation)(logits)
        return answer * self.scale + self.offset if self.scaled else answer

    def build(self, input_shape: Sequence[int | None]) -> None:
        if input_shape[-1] != len(self.labels):
            raise ClipzooError(f"{len(self.labels)} labels do not fit {input_shape[-1]} logits")
        if self.scaled:
            shape = (len(self.labels),)
            self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", trainable=False)
            self.offset = self.add_weight(name="offset", shape=shape, initializer="zeros", trainable=False)
        self.built = True

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": list(self.labels), "task": self.task, "scaled": self.scaled}


def _shape(tensor: Any) -> list[Any]:
    """Sizes of the axes: numbers where they are known, tensors where not."""
    dynamic = ops.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]


def _reciprocal(std: float | Sequence[float]) -> float | list[float]:
    return [1 / value for value in std] if isinstance(std, Sequence) else 1 / std
