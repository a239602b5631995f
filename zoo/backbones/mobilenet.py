"""MobileNet (arXiv 1704.04861), as Keras has it."""

from __future__ import annotations

import keras

from loaders.check import number
from loaders.errors import ClipzooError
from zoo.backbones.backbone import Backbone, register_backbone
from zoo.backbones.convolutions import with_fast_convolutions


def mobilenet(shape: tuple[int, int, int], weights: str | None = None, *, alpha: float = 1.0) -> keras.Model:
    """MobileNet without its top.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None or `imagenet`.
        alpha: multiplies the channels, 1/32 to 2; ImageNet weights exist for 0.25, 0.5, 0.75 and 1.
    """
    number("alpha", alpha, least=1 / 32, most=2)
    if min(shape[:2]) < 32:
        raise ClipzooError(f"MobileNet frames must be at least 32x32, not {shape[0]}x{shape[1]}")
    network = keras.applications.MobileNet(input_shape=shape, alpha=alpha, include_top=False, weights=weights)
    return with_fast_convolutions(network)


register_backbone("mobilenet", Backbone(build=mobilenet, mean=127.5, std=127.5))
