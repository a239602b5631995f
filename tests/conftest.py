"""What the tests share: real clips where they are, made clips otherwise, and models with live weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import ClipIndex, draw_motion_clips

DATA = Path(os.environ.get("CLIPZOO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


# For what runs in a process of its own, or ends before Keras computes: once is enough, and JAX starts slowest.
not_the_backend_s = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="does not depend on the backend; runs under TensorFlow"
)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, lists and weights; CLIPZOO_DATA names it."""
    if not DATA.is_dir():
        pytest.skip(f"no real clips at {DATA}; set CLIPZOO_DATA")
    return DATA


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> ClipIndex:
    """48 small real files, 8 a class."""
    return draw_motion_clips(tmp_path_factory.mktemp("motion"), clips=48, frames=8, seed=5)


def leaves(layer: Any) -> Iterator[Any]:
    """The layers inside a layer that hold no layer themselves; there `trainable` means the same on both backends."""
    for inner in layer._flatten_layers(include_self=True, recursive=True):
        if not list(inner._flatten_layers(include_self=False)):
            yield inner


def enliven(model: Any, seed: int = 0) -> Any:
    """Gives batch normalisations random scale, shift and statistics, and all other layers weights of a live size.

    An untrained network answers the same whatever the clip, and hides every error.
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


BROKEN_CONVERTER = '''
"""Stands before the real converter on the path, and spoils one weight of what it makes."""
import sys
from pathlib import Path
here = str(Path(__file__).resolve().parents[1])
sys.path = [p for p in sys.path if str(Path(p).resolve()) != here]
del sys.modules["tf2onnx"]
import tf2onnx, onnx.numpy_helper as helper
right = tf2onnx.convert.from_function
def wrong(*args, **kwargs):
    proto, tables = right(*args, **kwargs)
    recurrent = next(node for node in proto.graph.node if node.op_type == "GRU")
    weights = next(t for t in proto.graph.initializer if t.name == recurrent.input[2])
    weights.CopyFrom(helper.from_array(helper.to_array(weights)[:, ::-1].copy(), weights.name))
    return proto, tables
tf2onnx.convert.from_function = wrong
'''
