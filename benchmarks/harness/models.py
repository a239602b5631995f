"""Models with live weights, and clips to show them: of noise, and of drawn motions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import models_folder
from loaders.errors import ClipzooError
from loaders.lists import index_folder
from loaders.motion import draw_motion_clips

CLASSES = 51  # HMDB51


def random_clips(specs: Any, count: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Clips of noise by input name, uint8 (count, frames, height, width, channels)."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (count, *spec.shape), np.uint8) for name, spec in specs.items()}


def model_input(clips: Mapping[str, np.ndarray]) -> Any:
    """Clips as Keras takes them without a warning: by name where a model has several inputs, else the array."""
    return dict(clips) if len(clips) > 1 else next(iter(clips.values()))


def decoded_clips(specs: Any) -> dict[str, np.ndarray]:
    """A made clip of every motion by input name, decoded as the loader does it, uint8.

    Answers to noise are all much alike; these are what a model is for.
    """
    from loaders.dataset import ClipDataset

    index = index_folder(motion_clips())
    one_each = [next(clip for clip in index if clip.label == motion) for motion in index.labels]
    dataset = ClipDataset(replace(index, clips=tuple(one_each)), specs, batch_size=len(one_each), shuffle=False)
    given = dataset[0][0]
    return dict(given) if isinstance(given, Mapping) else {next(iter(specs)): given}


def motion_clips(size: int = 48, clips: int = 60) -> Path:
    """A folder of made clips of this height and width, drawn once, for benchmarks that were given no videos."""
    folder = models_folder() / (f"motion-{size}" if clips == 60 else f"motion-{size}-{clips}")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".motion-") as partial:
            draw_motion_clips(Path(partial) / "clips", clips=clips, frames=30, size=size, seed=0)
            with suppress(OSError):  # another process was faster
                (Path(partial) / "clips").rename(folder)
    return folder


def randomize(model: Any, seed: int = 0) -> Any:
    """Gives batch normalizations random scale, shift and statistics, and all other layers weights of a live size.

    An untrained network answers the same whatever the clip, and hides every error; and its figures near zero are not
    those that a trained one computes with.

    Args:
        model: a Keras model; changed in place and returned.
        seed: of the weights.
    """
    import keras

    rng = np.random.default_rng(seed)
    for layer in leaves(model):
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            live = [
                rng.uniform(0.7, 1.4, w.shape) if name in ("gamma", "moving_variance") else rng.normal(0, 0.4, w.shape)
                for name, w in zip([v.name for v in layer.weights], weights, strict=True)
            ]
        else:
            # Keeps the size of activations through the depth (He), and gives biases something to do.
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            live = [
                rng.normal(0, np.sqrt(2 / np.prod(w.shape[: 2 if depthwise else -1])), w.shape)
                if w.ndim > 1
                else rng.normal(0, 0.2, w.shape)
                for w in weights
            ]
        layer.set_weights(live)
    return model


def leaves(layer: Any) -> Iterator[Any]:
    """The layers inside a layer that hold no layer themselves; there `trainable` means the same on both backends."""
    for inner in layer._flatten_layers(include_self=True, recursive=True):
        if not list(inner._flatten_layers(include_self=False)):
            yield inner


def with_time_distributed(model: Any) -> Any:
    """The same model and weights with `keras.layers.TimeDistributed` where ours has FrameWise.

    Raises:
        ClipzooError: its network must see the frames of a clip together.
    """
    import keras

    from zoo.layers import FrameWise
    from zoo.tsm import TemporalShift

    if any(isinstance(layer, TemporalShift) for layer in leaves(model)):
        raise ClipzooError(f"{model.name} shifts channels between frames; TimeDistributed shows them one by one")

    def clone(layer: Any) -> Any:
        fresh = type(layer).from_config(layer.get_config())
        return keras.layers.TimeDistributed(fresh.layer, name=layer.name) if isinstance(layer, FrameWise) else fresh

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy
