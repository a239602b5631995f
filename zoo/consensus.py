"""Backbone on every frame, then their average: what models that know of order must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from loaders.check import number
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.contract import SMALL, head
from zoo.frames import frame_features


def average(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    backbone: str,
    dropout: float = 0.5,
    backbone_weights: str | Path | None = None,
    **backbone_options: Any,
) -> keras.Model:
    """Builds a model that averages over time, the consensus of TSN (arXiv 1608.00859).

    Frames -> backbone -> global average pooling -> mean over the frames -> dropout -> logits -> softmax (or what the
    task asks for). The last layer is linear, so the mean of features is the mean of the frames' logits, at less work.

    Args:
        spec: the input contract.
        labels: names of the classes.
        name: of the model.
        task: one class, several, or numbers.
        backbone: one of `zoo.backbones.list_backbones()`.
        dropout: share of the averaged features that is dropped, 0 <= dropout < 1.
        backbone_weights: None, `imagenet`, or a file; see `Backbone.create`.
        backbone_options: `width` of the ConvNet, `alpha` of MobileNet and MobileNetV2.

    Raises:
        ClipzooError: no such option, or a value out of its range.
    """
    number("dropout", dropout, least=0, below=1)
    video, features = frame_features(
        spec,
        average,
        name=name,
        backbone=backbone,
        backbone_weights=backbone_weights,
        pooling="average",
        backbone_options=backbone_options,
    )
    return keras.Model(video, consensus(features, labels, task, dropout=dropout), name=name)


def consensus(features: keras.KerasTensor, labels: tuple[str, ...], task: Task, *, dropout: float) -> keras.KerasTensor:
    """The end of a model that averages: features of each frame (B, T, F) -> their mean -> dropout -> `head`."""
    x = keras.layers.GlobalAveragePooling1D(name="average")(features)
    return head(keras.layers.Dropout(dropout, name="dropout")(x), labels, task, kernel_initializer=SMALL)
