"""A stranger's backbone and its card: for tests of what is around a model, and of how one is added."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras

import zoo
from loaders import ClipSpec
from zoo.backbones import backbone as module
from zoo.registry import _CARDS


def build(shape: tuple[int, int, int], weights: None = None, *, filters: int = 4) -> keras.Model:
    frame = keras.Input(shape)
    features = keras.layers.Conv2D(filters, 3, strides=2, activation="relu", name="stripes")(frame)
    return keras.Model(frame, features, name="stripes")


@contextmanager
def registered() -> Iterator[str]:
    """The name of a model of one convolution, which is in the zoo inside: it is traced and compiled in no time."""
    zoo.register_backbone("stripes", zoo.Backbone(build=build, mean=127.5, std=127.5, imagenet=False))
    card = zoo.ModelInfo(
        name="stripes_average", summary="A stranger's", spec=ClipSpec(frames=2, height=16, width=16),
        builder="zoo.consensus:average", options={"backbone": "stripes"},
    )  # fmt: skip
    zoo.register(card)
    yield card.name
    del _CARDS[card.name], sys.modules[module.__module__]._BACKBONES["stripes"]
