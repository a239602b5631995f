"""Depthwise convolutions as sums of shifted maps are Keras's convolutions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from zoo.backbones import backbone, depthwise
from zoo.backbones.depthwise import DepthwiseConv2D

pytestmark = pytest.mark.keras
FRAMES = np.random.default_rng(0).normal(size=(2, 9, 12, 5)).astype(np.float32)


def both(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """What Keras's layer gives, and ours as it computes on JAX on a CPU; the same weights."""
    theirs, ours = keras.layers.DepthwiseConv2D(**options), DepthwiseConv2D(**options)
    for layer in (theirs, ours):
        layer.build(FRAMES.shape)
    rng = np.random.default_rng(1)
    theirs.set_weights([rng.normal(size=weight.shape) for weight in theirs.weights])
    ours.set_weights(theirs.get_weights())
    expected = theirs(FRAMES)
    monkeypatch.setattr(depthwise, "_jax_on_cpu", lambda: True)
    monkeypatch.setattr(keras.layers.DepthwiseConv2D, "call", None)  # it is not that one which answers
    return keras.ops.convert_to_numpy(expected), keras.ops.convert_to_numpy(ours(FRAMES))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5), (2, 4), (1, 3)])
def test_the_sum_is_the_convolution(
    kernel_size: tuple[int, int], strides: int, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"kernel_size": kernel_size, "strides": strides, "padding": padding, "activation": "relu"}
    expected, found = both(options, monkeypatch)
    assert found.shape == expected.shape and expected.max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{"dilation_rate": 2}, {"depth_multiplier": 2}])
def test_what_it_is_not_for_is_keras_s(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_jax_on_cpu", lambda: True)
    ours, theirs = (kind(3, **options) for kind in (DepthwiseConv2D, keras.layers.DepthwiseConv2D))
    ours.build(FRAMES.shape)
    theirs.build(FRAMES.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(FRAMES), theirs(FRAMES), atol=1e-6)


@pytest.mark.either
def test_a_copied_network_answers_as_the_original() -> None:
    theirs = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
    ours = depthwise.with_depthwise(theirs)
    kinds = [type(layer) for layer in ours.layers]
    assert kinds.count(DepthwiseConv2D) == 13 and keras.layers.DepthwiseConv2D not in kinds
    frames = np.random.default_rng(2).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(frames), theirs(frames), atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet", "mobilenetv2", "efficientnet_lite0"])
@pytest.mark.either
def test_the_backbones_have_no_other(name: str) -> None:
    layers = backbone(name).build((32, 32, 3), None).layers
    assert {type(layer) for layer in layers if isinstance(layer, keras.layers.DepthwiseConv2D)} == {DepthwiseConv2D}
