"""Backbone on every frame, then a recurrent layer over time, then the article's head."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import keras

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.backbones import BACKBONES
from zoo.contract import head
from zoo.layers import ClipInput, FrameWise

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
    backbone_weights: str | Path | None = None,
    trainable_layers: int = 9,
    **backbone_options: Any,
) -> keras.Model:
    """Builds a recurrent model; its defaults are the article's numbers.

    Frames -> backbone -> global max pooling -> GRU or LSTM -> dense 1024, 512, 128, each with ReLU and dropout ->
    dense 64 with ReLU -> logits -> softmax (or what the task asks for).

    Args:
        spec: the input contract.
        labels: names of the classes.
        name: of the model.
        task: one class, several, or numbers.
        backbone: one of `BACKBONES`.
        cell: the recurrent layer.
        units: of it, 1 to 65536.
        bidirectional: run it both ways and join the two.
        dropout: share that is dropped after each of the three dense layers, 0 <= dropout < 1.
        backbone_weights: None, `imagenet`, or a file; see `Backbone.create`.
        trainable_layers: with weights, how many of the backbone's last layers train.
        backbone_options: `width` of the ConvNet, `alpha` of the MobileNets.

    Raises:
        ClipzooError: no such option, or a value out of its range.
    """
    network = BACKBONES[backbone]
    unknown = sorted(set(backbone_options) - set(network.options))
    if unknown:
        own = inspect.signature(recurrent).parameters.values()
        known = {p.name for p in own if p.kind is p.KEYWORD_ONLY} - {"name", "task", "backbone", "cell"}
        has = ", ".join(sorted(known | set(network.options)))
        raise ClipzooError(f"{name} has no option {', '.join(map(repr, unknown))}; it has {has}")
    if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= 2**16:
        raise ClipzooError(f"units ({units!r}) must be a whole number from 1 to {2**16}")
    if isinstance(trainable_layers, bool) or not isinstance(trainable_layers, int) or trainable_layers < 0:
        raise ClipzooError(f"trainable_layers ({trainable_layers!r}) must be a whole number >= 0")
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ClipzooError(f"dropout ({dropout!r}) must be in [0, 1)")
    if not isinstance(bidirectional, bool):
        raise ClipzooError(f"bidirectional ({bidirectional!r}) must be true or false")

    if not isinstance(backbone_weights, str | Path | None):
        raise ClipzooError(f"backbone_weights ({backbone_weights!r}) must be None, 'imagenet' or a file")

    # === Layers ===
    frame_network = network.create(
        spec.shape[1:], weights=backbone_weights, trainable_layers=trainable_layers, **backbone_options
    )
    over_time: keras.layers.Layer = CELLS[cell](units, name=cell)
    if bidirectional:
        over_time = keras.layers.Bidirectional(over_time, name=f"bidirectional_{cell}")

    # === Functional Model ===
    video = keras.Input(spec.shape, dtype="uint8", name="video")
    x = ClipInput(spec, **network.normalisation(spec), name="clip_input")(video)
    x = FrameWise(frame_network, name="frames")(x)
    x = over_time(x)
    for number, width in enumerate(DENSE, start=1):
        x = keras.layers.Dense(width, activation="relu", name=f"dense{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout{number}")(x)
    x = keras.layers.Dense(64, activation="relu", name="dense4")(x)
    return keras.Model(video, head(x, labels, task), name=name)
