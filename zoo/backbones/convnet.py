"""The article's ConvNet."""

from __future__ import annotations

import keras

from loaders.errors import ClipzooError
from zoo.backbones.backbone import Backbone, register_backbone
from zoo.backbones.convolutions import Conv2D

CHANNELS = (64, 128, 256, 512)


def convnet(shape: tuple[int, int, int], weights: None = None, *, width: float = 1.0) -> keras.Model:
    """Four pairs of 3x3 convolutions with ReLU, batch normalization after each pair, max pooling between.

    Args:
        shape: (height, width, channels) of a frame; at least 8x8, or pooling leaves nothing.
        weights: None.
        width: multiplies the channels 64, 128, 256, 512.
    """
    if not isinstance(width, int | float) or isinstance(width, bool) or not 1 / CHANNELS[0] <= width <= 16:
        raise ClipzooError(f"width ({width!r}) must be a number from 1/{CHANNELS[0]} to 16")
    if min(shape[:2]) < 8:
        raise ClipzooError(f"ConvNet frames must be at least 8x8, not {shape[0]}x{shape[1]}")
    frame = x = keras.Input(shape)
    for block, channels in enumerate(CHANNELS, start=1):
        if block > 1:
            x = keras.layers.MaxPooling2D(name=f"pool{block - 1}")(x)
        for conv in (1, 2):
            x = Conv2D(int(channels * width), 3, padding="same", activation="relu", name=f"conv{block}_{conv}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(x)
    return keras.Model(frame, x, name="convnet")


register_backbone("convnet", Backbone(build=convnet, mean=0.0, std=255.0, imagenet=False))
