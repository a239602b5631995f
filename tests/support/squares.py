"""Clips whose class is the color of one moving square, or that there is none, and a small model that can learn it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

import zoo
from loaders import ClipSpec
from zoo.backbones import backbone as module
from zoo.registry import _CARDS

FRAMES, SIZE, SIDE = 4, 32, 8
COLORS = {"red": (230, 30, 30), "green": (30, 200, 30)}
# Without a class of neither, a model may say red because nothing is green, and look nowhere.
LABELS = (*COLORS, "neither")
_DECOYS = ((30, 30, 230), (240, 240, 240), (20, 20, 20))  # blue, white, black: in clips of either class
_GROUND = 60, 160  # of the noise, gray


def build(shape: tuple[int, int, int], weights: None = None, *, width: int = 8) -> keras.Model:
    frame = x = keras.Input(shape)
    for number, filters in enumerate((width, 2 * width), start=1):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=f"square{number}")(x)
    return keras.Model(frame, x, name="squares")


@contextmanager
def registered() -> Iterator[str]:
    """The name of a model of two convolutions, which is in the zoo inside."""
    zoo.register_backbone("squares", zoo.Backbone(build=build, mean=127.5, std=127.5, imagenet=False))
    card = zoo.ModelInfo(
        name="squares_average", summary="A model for tests", spec=ClipSpec(frames=FRAMES, height=SIZE, width=SIZE),
        builder="zoo.consensus:average", options={"backbone": "squares", "dropout": 0.0},
    )  # fmt: skip
    zoo.register(card)
    yield card.name
    del _CARDS[card.name], sys.modules[module.__module__]._BACKBONES["squares"]


def draw(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of a square of its class's color and three of other colors, all moving over gray noise.

    Returns:
        Clips, uint8 (count, T, H, W, 3); classes, int64 (count,), positions in LABELS; where the square of that color
        is, or of `neither` one of the others, bool (count, T, H, W).
    """
    rng = np.random.default_rng(seed)
    clips = rng.integers(*_GROUND, (count, FRAMES, SIZE, SIZE, 1), np.uint8).repeat(3, axis=-1)
    classes = np.arange(count) % len(LABELS)
    there = np.zeros((count, FRAMES, SIZE, SIZE), bool)
    for clip, mask, label in zip(clips, there, classes, strict=True):
        for color in (*_DECOYS, *list(COLORS.values())[label : label + 1]):  # the last one covers the others
            ends = rng.integers(0, SIZE - SIDE + 1, (2, 2))
            mask[:] = False
            for time in range(FRAMES):
                y, x = (ends[0] + (ends[1] - ends[0]) * time / (FRAMES - 1)).astype(int)
                clip[time, y : y + SIDE, x : x + SIDE] = color
                mask[time, y : y + SIDE, x : x + SIDE] = True
    return clips, classes, there


def pointing(heat: np.ndarray, there: np.ndarray) -> float:
    """Share of clips whose hottest place lies in the square, or within 2 pixels of it (pointing game, 1608.00507)."""
    near = there.copy()
    for axis in (2, 3):
        for shift in (-2, -1, 1, 2):
            near |= np.roll(there, shift, axis)
    flat = heat.reshape(len(heat), -1)
    return float(near.reshape(len(heat), -1)[np.arange(len(heat)), flat.argmax(axis=1)].mean())
