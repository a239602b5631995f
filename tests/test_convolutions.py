"""Convolutions as JAX computes them on a CPU are Keras's, and so are their gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from zoo.backbones import backbone, convolutions
from zoo.backbones.convolutions import Conv2D, DepthwiseConv2D

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
    monkeypatch.setattr(convolutions, "_jax_on_cpu", lambda: True)
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
    monkeypatch.setattr(convolutions, "_jax_on_cpu", lambda: True)
    ours, theirs = (kind(3, **options) for kind in (DepthwiseConv2D, keras.layers.DepthwiseConv2D))
    ours.build(FRAMES.shape)
    theirs.build(FRAMES.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(FRAMES), theirs(FRAMES), atol=1e-6)


@pytest.mark.either
def test_a_copied_network_answers_as_the_original() -> None:
    theirs = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
    ours = convolutions.with_fast_convolutions(theirs)
    kinds = [type(layer) for layer in ours.layers]
    assert kinds.count(DepthwiseConv2D) == 13 and kinds.count(Conv2D) == 14
    assert not {keras.layers.DepthwiseConv2D, keras.layers.Conv2D} & {*kinds}
    frames = np.random.default_rng(2).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(frames), theirs(frames), atol=1e-5)


@pytest.mark.parametrize("name", ["convnet", "mobilenet", "mobilenetv2", "efficientnet_lite0", "bn_inception", "vgg16"])
@pytest.mark.either
def test_the_backbones_have_no_other(name: str) -> None:
    layers = backbone(name).build((64, 64, 3), None).layers
    kinds = {type(layer) for layer in layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)}
    assert Conv2D in kinds <= {Conv2D, DepthwiseConv2D}


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="is about JAX")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2, (3, 1)])
@pytest.mark.parametrize(("kernel_size", "channels"), [((1, 1), 5), ((3, 3), 5), ((3, 3), 17), ((2, 5), 17)])
def test_gradients_are_those_of_keras(
    kernel_size: tuple[int, int], channels: int, strides: Any, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax

    rng = np.random.default_rng(0)
    frames = rng.normal(size=(2, 9, 12, channels)).astype(np.float32)
    weights = [rng.normal(size=(*kernel_size, channels, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)]

    def answers(kind: type[keras.layers.Layer]) -> tuple[Any, ...]:
        layer = kind(4, kernel_size, strides=strides, padding=padding, activation="tanh")
        layer.build(frames.shape)

        def answer(weights: list[Any], frames: Any) -> Any:
            return layer.stateless_call(weights, [], frames)[0]

        found, back = jax.vjp(answer, weights, frames)
        return found, *jax.tree.leaves(back(0.5 * found + 1))

    expected = answers(keras.layers.Conv2D)
    monkeypatch.setattr(convolutions, "_jax_on_cpu", lambda: True)
    monkeypatch.setattr(keras.layers.Conv2D, "convolution_op", None)  # it is not that one which answers
    for one, other in zip(answers(Conv2D), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="is about JAX")
def test_gradients_in_bfloat16_are_summed_in_float32() -> None:
    import jax
    import jax.numpy as jnp

    from zoo.backbones.jax_convolution import convolution

    ones = jnp.ones((4, 32, 32, 16), jnp.bfloat16)  # 4,096 of them are beyond what bfloat16 can count one by one
    kernel = jnp.ones((1, 3, 16, 2), jnp.bfloat16)
    found, back = jax.vjp(lambda kernel: convolution(ones, kernel, (1, 1), "same"), kernel)
    (gradient,) = back(jnp.ones_like(found))
    assert gradient.dtype == jnp.bfloat16 and float(gradient[0, 1, 0, 0]) == 4096
