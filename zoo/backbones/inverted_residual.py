"""Networks of inverted residual blocks (arXiv 1801.04381): MobileNetV2 and EfficientNet-Lite from PyTorch's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from loaders.errors import ClipzooError
from zoo.backbones.convolutions import Conv2D, DepthwiseConv2D
from zoo.npz import Arrays

Entry = Callable[[Any, str], Any]  # (feature maps (B, h, w, C), name of the block) -> the same shape


class Stage(NamedTuple):
    """Blocks of one kind in a row; only the first strides.

    Attributes:
        blocks: how many.
        kernel: side of the depthwise kernel.
        strides: of the first block.
        expansion: channels inside a block for each that goes in.
        filters: channels that come out.
    """

    blocks: int
    kernel: int
    strides: int
    expansion: int
    filters: int


def inverted_residual_network(
    shape: tuple[int, int, int],
    stages: Sequence[Stage],
    *,
    name: str,
    epsilon: float,
    padding: Literal["same", "both"],
    stem: int = 32,
    top: int = 1280,
    entry: Entry | None = None,
) -> keras.Model:
    """Builds convolution, blocks, convolution; each with batch normalization and ReLU6, but for the ends of blocks.

    Layers are named `stem_conv`, `block1_expand_conv`, `block1_depthwise_norm`, ..., `block1_add`, `top_relu`.

    Args:
        shape: (height, width, channels) of a frame; at least 32x32.
        stages: the blocks.
        name: of the network.
        epsilon: of the batch normalizations.
        padding: where a convolution strides: `same` as TensorFlow, which pads an even side behind its end alone;
            `both` as PyTorch, which pads both ends alike.
        stem: channels of the first convolution.
        top: channels of the last.
        entry: called at the entry of the residual branch of every block that has a shortcut, as a temporal shift wants
            it; the shortcut goes round it.

    Returns:
        (B, height, width, channels) -> (B, height / 32, width / 32, top), sides rounded up.
    """
    if min(shape[:2]) < 32:
        raise ClipzooError(f"{name} frames must be at least 32x32, not {shape[0]}x{shape[1]}")

    def convolution(x: Any, what: str, filters: int | None, kernel: int = 1, strides: int = 1) -> Any:
        """Convolution, depthwise where no filters are given, and batch normalization."""
        if strides > 1 and padding == "both":
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{what}_pad")(x)
        # Without strides, both ways of padding are one.
        kind = "valid" if strides > 1 and padding == "both" else "same"
        if filters is None:
            x = DepthwiseConv2D(kernel, strides=strides, padding=kind, use_bias=False, name=f"{what}_conv")(x)
        else:
            x = Conv2D(filters, kernel, strides=strides, padding=kind, use_bias=False, name=f"{what}_conv")(x)
        return keras.layers.BatchNormalization(epsilon=epsilon, momentum=0.9, name=f"{what}_norm")(x)

    def relu6(x: Any, what: str) -> Any:
        return keras.layers.ReLU(max_value=6, name=f"{what}_relu")(x)

    video = keras.Input(shape)
    x = relu6(convolution(video, "stem", stem, 3, 2), "stem")
    filters, block = stem, 0
    for stage in stages:
        for place in range(stage.blocks):
            block += 1
            here, strides = f"block{block}", stage.strides if place == 0 else 1
            shortcut = x if strides == 1 and filters == stage.filters else None
            if shortcut is not None and entry is not None:
                x = entry(x, here)
            if stage.expansion > 1:
                x = relu6(convolution(x, f"{here}_expand", filters * stage.expansion), f"{here}_expand")
            x = relu6(convolution(x, f"{here}_depthwise", None, stage.kernel, strides), f"{here}_depthwise")
            x = convolution(x, f"{here}_project", stage.filters)
            if shortcut is not None:
                x = keras.layers.Add(name=f"{here}_add")([shortcut, x])
            filters = stage.filters
    x = relu6(convolution(x, "top", top), "top")
    return keras.Model(video, x, name=name)


def from_torch(state: Mapping[str, np.ndarray], names: Mapping[str, str]) -> Arrays:
    """Weights of PyTorch as Keras has them.

    | PyTorch | Keras |
    |---|---|
    | convolution (out, in, height, width) | (height, width, in, out) |
    | depthwise (channels, 1, height, width) | (height, width, channels, 1) |
    | weight, bias, running_mean, running_var | gamma, beta, moving mean, moving variance |

    Args:
        state: name of a parameter -> array.
        names: our layer, which ends in `_conv` or `_norm` -> theirs.

    Returns:
        our layer -> its weights, float32; parameters of other layers are left.

    Raises:
        ClipzooError: a parameter is missing.
    """

    def of(layer: str, part: str) -> np.ndarray:
        name = f"{names[layer]}.{part}"
        if name not in state:
            raise ClipzooError(f"the weights have no {name!r}; they are of another network")
        return np.asarray(state[name], np.float32)

    found: Arrays = {}
    for layer in names:
        if layer.endswith("_norm"):
            found[layer] = [of(layer, part) for part in ("weight", "bias", "running_mean", "running_var")]
        else:
            kernel = of(layer, "weight")
            axes = (2, 3, 0, 1) if layer.endswith("_depthwise_conv") else (2, 3, 1, 0)
            found[layer] = [np.ascontiguousarray(kernel.transpose(axes))]
    return found
