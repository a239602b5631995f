"""BN-Inception (arXiv 1502.03167), in the layout of the two-stream networks of TSN and DTPP (arXiv 1711.04161)."""

from __future__ import annotations

from typing import Any

import keras

from loaders.errors import ClipzooError
from zoo.backbones.backbone import Backbone, register_backbone
from zoo.backbones.convolutions import Conv2D

# Block: 1x1 | 3x3 reduce, 3x3 | double 3x3 reduce, first, second | pool, projection. 0: no such branch.
BLOCKS: dict[str, tuple[int, tuple[int, int], tuple[int, int, int], str, int]] = {
    "3a": (64, (64, 64), (64, 96, 96), "average", 32),
    "3b": (64, (64, 96), (64, 96, 96), "average", 64),
    "3c": (0, (128, 160), (64, 96, 96), "max", 0),
    "4a": (224, (64, 96), (96, 128, 128), "average", 128),
    "4b": (192, (96, 128), (96, 128, 128), "average", 128),
    "4c": (160, (128, 160), (128, 160, 160), "average", 128),
    "4d": (96, (128, 192), (160, 192, 192), "average", 128),
    "4e": (0, (128, 192), (192, 256, 256), "max", 0),
    "5a": (352, (192, 320), (160, 224, 224), "average", 128),
    "5b": (352, (192, 320), (192, 224, 224), "max", 128),
}


def bn_inception(shape: tuple[int, int, int], weights: str | None, *, width: float = 1.0) -> keras.Model:
    """Builds the network: 1024 features after inception_5b, 10,270,240 parameters for 3 channels at width 1.

    Every convolution has a bias, then batch normalization (epsilon 1e-5), then ReLU. Padding is Caffe's: the same on
    both sides of a convolution; at the end only where a pool of stride 2 rounds up; average pools count the padding.
    Layers are named as the authors' are, with `_` for `/`.

    Args:
        shape: (height, width, channels) of a frame; at least 32x32.
        weights: must be None; there are none to download.
        width: multiplies all numbers of filters; for small runs.
    """
    del weights
    if isinstance(width, bool) or not isinstance(width, int | float) or not 1 / 32 <= width <= 16:
        raise ClipzooError(f"width ({width!r}) must be a number from 1/32 to 16")
    if min(shape[:2]) < 32:
        raise ClipzooError(f"BN-Inception frames must be at least 32x32, not {shape[0]}x{shape[1]}")
    video = keras.Input(shape)
    x = _convolution(video, 64, 7, "conv1_7x7_s2", width=width, strides=2)
    x = _shrink(x, "pool1_3x3_s2")
    x = _convolution(x, 64, 1, "conv2_3x3_reduce", width=width)
    x = _convolution(x, 192, 3, "conv2_3x3", width=width)
    x = _shrink(x, "pool2_3x3_s2")
    for name in BLOCKS:
        x = _block(x, f"inception_{name}", *BLOCKS[name], width=width)
    return keras.Model(video, x, name="bn_inception")


def _block(
    x: Any,
    name: str,
    one: int,
    three: tuple[int, int],
    double: tuple[int, int, int],
    pool: str,
    projection: int,
    *,
    width: float,
) -> Any:
    """The branches in the order of the authors' concatenation. Without a projection, the block halves its input."""
    strides = 1 if projection else 2
    branches = [_convolution(x, one, 1, f"{name}_1x1", width=width)] if one else []
    reduced = _convolution(x, three[0], 1, f"{name}_3x3_reduce", width=width)
    branches.append(_convolution(reduced, three[1], 3, f"{name}_3x3", width=width, strides=strides))
    reduced = _convolution(x, double[0], 1, f"{name}_double_3x3_reduce", width=width)
    first = _convolution(reduced, double[1], 3, f"{name}_double_3x3_1", width=width)
    branches.append(_convolution(first, double[2], 3, f"{name}_double_3x3_2", width=width, strides=strides))
    if not projection:
        branches.append(_shrink(x, f"{name}_pool"))
    else:
        if pool == "average":
            padded = keras.layers.ZeroPadding2D(1, name=f"{name}_pool_pad")(x)  # so that the zeros are counted
            pooled = keras.layers.AveragePooling2D(3, strides=1, name=f"{name}_pool")(padded)
        else:
            pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
        branches.append(_convolution(pooled, projection, 1, f"{name}_pool_proj", width=width))
    return keras.layers.Concatenate(name=f"{name}_output")(branches)


def _convolution(x: Any, filters: int, size: int, name: str, *, width: float, strides: int = 1) -> Any:
    if size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = Conv2D(max(1, round(filters * width)), size, strides=strides, name=name)(x)
    x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _shrink(x: Any, name: str) -> Any:
    """Max pooling 3x3 of stride 2 that rounds up; an even side is padded behind its end alone, as Caffe does it."""
    return keras.layers.MaxPooling2D(3, strides=2, padding="same", name=name)(x)


register_backbone(
    "bn_inception",
    Backbone(
        build=bn_inception, mean=(104.0, 117.0, 123.0), std=1.0, channel_order="bgr", imagenet=False, flow_std=1.0
    ),
)
