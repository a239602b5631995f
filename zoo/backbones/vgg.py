"""VGG16 (arXiv 1409.1556), as Keras has it."""

from __future__ import annotations

import keras

from loaders.errors import ClipzooError
from zoo.backbones.backbone import Backbone, register_backbone
from zoo.backbones.convolutions import with_fast_convolutions


def vgg16(shape: tuple[int, int, int], weights: str | None = None) -> keras.Model:
    """VGG16 without its top.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None or `imagenet`.
    """
    if min(shape[:2]) < 32:
        raise ClipzooError(f"VGG16 frames must be at least 32x32, not {shape[0]}x{shape[1]}")
    return with_fast_convolutions(keras.applications.VGG16(input_shape=shape, include_top=False, weights=weights))


# The authors' Caffe weights: BGR, the ImageNet mean taken off, not scaled.
register_backbone("vgg16", Backbone(build=vgg16, mean=(103.939, 116.779, 123.68), std=1.0, channel_order="bgr"))
