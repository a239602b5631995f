"""MobileNet (arXiv 1704.04861) and MobileNetV2 (arXiv 1801.04381), as Keras has them."""

from __future__ import annotations

import keras

from loaders.errors import ClipzooError
from zoo.backbones.backbone import Backbone, register_backbone


def mobilenet(shape: tuple[int, int, int], weights: str | None = None, *, alpha: float = 1.0) -> keras.Model:
    """MobileNet without its top.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None or `imagenet`.
        alpha: multiplies the channels; ImageNet weights exist for 0.25, 0.5, 0.75 and 1.
    """
    _check(shape, alpha)
    return keras.applications.MobileNet(input_shape=shape, alpha=alpha, include_top=False, weights=weights)


def mobilenetv2(shape: tuple[int, int, int], weights: str | None = None, *, alpha: float = 1.0) -> keras.Model:
    """MobileNetV2 without its top.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None or `imagenet`.
        alpha: multiplies the channels; ImageNet weights exist for 0.35, 0.5, 0.75, 1, 1.3 and 1.4.
    """
    _check(shape, alpha)
    return keras.applications.MobileNetV2(input_shape=shape, alpha=alpha, include_top=False, weights=weights)


def _check(shape: tuple[int, int, int], alpha: float) -> None:
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= 2:
        raise ClipzooError(f"alpha ({alpha!r}) must be a number above 0, at most 2")
    if min(shape[:2]) < 32:
        raise ClipzooError(f"MobileNet frames must be at least 32x32, not {shape[0]}x{shape[1]}")


register_backbone("mobilenet", Backbone(build=mobilenet, mean=127.5, std=127.5))
register_backbone("mobilenetv2", Backbone(build=mobilenetv2, mean=127.5, std=127.5))
