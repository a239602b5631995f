"""The beginning of models of an image network: input, normalization, that network on every frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras

from loaders.check import names
from loaders.spec import ClipSpec
from zoo.backbones.backbone import COMMON, options_of
from zoo.backbones.backbone import backbone as backbone_named
from zoo.backbones.inverted_residual import Entry
from zoo.layers import ClipInput, FrameWise

_SETTLED = {"name", "task", "backbone", "cell"}  # by the card


def frame_features(
    spec: ClipSpec,
    builder: Callable[..., keras.Model],
    *,
    name: str,
    backbone: str,
    backbone_weights: str | Path | None,
    pooling: Literal["max", "average"],
    backbone_options: Mapping[str, Any],
    entry: Entry | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Builds the layers `video`, `clip_input` and `frames`.

    Args:
        spec: the input contract.
        builder: of the model; its keyword-only parameters are the options that the model takes beside the backbone's.
        name: of the model, for messages.
        backbone: one of `zoo.backbones.list_backbones()`.
        backbone_weights: None, `imagenet`, or a file; see `Backbone.create`.
        pooling: over the feature maps of a frame.
        backbone_options: of the backbone.
        entry: to residual branches, of a backbone that takes one; see `inverted_residual_network`.

    Returns:
        The input, uint8 (B, T, height, width, channels), and the features of each frame (B, T, features).

    Raises:
        ClipzooError: no such option, or a value out of its range.
    """
    network = backbone_named(backbone)
    own = set(options_of(builder)) - _SETTLED
    names(name, backbone_options, COMMON | own | set(network.options), noun="option")
    frame_network = network.create(
        spec.shape[1:],
        weights=backbone_weights,
        pooling=pooling,
        **backbone_options,
        **({} if entry is None else {"entry": entry}),
    )
    video = keras.Input(spec.shape, dtype="uint8", name="video")
    pixels = ClipInput(spec, **network.normalization(spec), name="clip_input")(video)
    return video, FrameWise(frame_network, name="frames")(pixels)
