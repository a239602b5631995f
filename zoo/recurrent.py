"""Backbone on every frame, then a recurrent layer over time, then the article's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import keras

from loaders.check import choice, number, whole
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.contract import SMALL
from zoo.contract import head as logits
from zoo.frames import frame_features
from zoo.layers import TemporalStatistics

Pooling = Literal["max", "average"]
Head = Literal["article", "joined"]
DENSE = (1024, 512, 128)
CELLS = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


def recurrent(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    backbone: str,
    cell: Literal["gru", "lstm"],
    units: int = 64,
    bidirectional: bool = False,
    dropout: float = 0.5,
    pooling: Pooling = "max",
    head: Head = "article",
    backbone_weights: str | Path | None = None,
    **backbone_options: Any,
) -> keras.Model:
    """Builds a recurrent model; its defaults are the article's numbers, and `--recipe auto` has others.

    Frames -> backbone -> global pooling -> GRU or LSTM -> head -> logits -> softmax (or what the task asks for).

    The article's head is dense 1024, 512, 128, each with ReLU and dropout, then dense 64 with ReLU. Behind a frozen
    backbone it forgets what the features hold: the same features, averaged, tell more to a linear layer. `joined` keeps
    that layer: mean, change and trend of the features (TemporalStatistics) stand beside what the recurrent layer found,
    both standardized, then dropout.

    Args:
        spec: the input contract.
        labels: names of the classes.
        name: of the model.
        task: one class, several, or numbers.
        backbone: one of `zoo.backbones.list_backbones()`.
        cell: the recurrent layer.
        units: of it, 1 to 65536.
        bidirectional: run it both ways and join the two.
        dropout: share that is dropped after each of the three dense layers, or before the logits, 0 <= dropout < 1.
        pooling: over the feature maps of a frame: `max` or `average`.
        head: `article` or `joined`.
        backbone_weights: None, `imagenet`, or a file; see `Backbone.create`.
        backbone_options: `width` of the ConvNet, `alpha` of MobileNet and MobileNetV2.

    Raises:
        ClipzooError: no such option, or a value out of its range.
    """
    whole("units", units, most=2**16)
    number("dropout", dropout, least=0, below=1)
    if not isinstance(bidirectional, bool):
        raise ClipzooError(f"bidirectional ({bidirectional!r}) must be true or false")
    choice("pooling", pooling, get_args(Pooling))
    choice("head", head, get_args(Head))
    video, features = frame_features(
        spec,
        recurrent,
        name=name,
        backbone=backbone,
        backbone_weights=backbone_weights,
        pooling=pooling,
        backbone_options=backbone_options,
    )
    over_time: keras.layers.Layer = CELLS[cell](units, name=cell)
    if bidirectional:
        over_time = keras.layers.Bidirectional(over_time, name=f"bidirectional_{cell}")
    if head == "joined":
        # What the layers behind learn from is of one size then, whatever the backbone.
        frames = keras.layers.BatchNormalization(momentum=0.9, name="standardise")(features)
        found = TemporalStatistics(name="statistics")(features)
        found = keras.layers.BatchNormalization(momentum=0.9, name="standardise_statistics")(found)
        x = keras.layers.Concatenate(name="joined")([found, over_time(frames)])
        x = keras.layers.Dropout(dropout, name="dropout")(x)
        return keras.Model(video, logits(x, labels, task, kernel_initializer=SMALL), name=name)
    x = over_time(features)
    for place, width in enumerate(DENSE, start=1):
        x = keras.layers.Dense(width, activation="relu", name=f"dense{place}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout{place}")(x)
    x = keras.layers.Dense(64, activation="relu", name="dense4")(x)
    return keras.Model(video, logits(x, labels, task), name=name)
