"""Convolutions that are fast on JAX too, where it computes on a CPU. XLA has fast code there for few of them.

On GPUs, on TensorFlow, and in ONNX files they are the convolutions of Keras.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
from keras import ops

from zoo.layers import PACKAGE
from zoo.skip_init import skip_init


@keras.saving.register_keras_serializable(package=PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """Keras's `Conv2D`; JAX on a CPU computes one of 1x1, and the gradient of every kernel, as products of matrices.

    Answers and gradients are the same but for rounding. XLA's own gradients take several times as long
    (`python -m benchmarks.training` measures whole steps).
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        plain = (self.data_format, self.groups) == ("channels_last", 1) and set(self.dilation_rate) == {1}
        if not (plain and _jax_on_cpu()):
            return super().convolution_op(inputs, kernel)
        if self.kernel_size == (1, 1):
            down, right = self.strides
            return ops.matmul(inputs[:, ::down, ::right], kernel[0, 0])
        from zoo.backbones.jax_convolution import convolution

        return convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel), self.strides, self.padding)


@keras.saving.register_keras_serializable(package=PACKAGE)
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's `DepthwiseConv2D`; JAX on a CPU computes it as a sum of shifted maps, one for each place of the kernel.

    The sum takes a fraction of the time of XLA's convolution, and is the same to the last bit or nearly so.
    """

    def call(self, inputs: Any) -> Any:
        plain = (self.data_format, self.depth_multiplier) == ("channels_last", 1) and set(self.dilation_rate) == {1}
        if not (plain and _jax_on_cpu()):
            return super().call(inputs)
        # === Padding, as TensorFlow has it: what is odd goes to the end ===
        if self.padding == "same":
            sides = zip(inputs.shape[1:3], self.kernel_size, self.strides, strict=True)
            lacking = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side, kernel, stride in sides]
            inputs = ops.pad(inputs, [(0, 0), *((each // 2, each - each // 2) for each in lacking), (0, 0)])
        # === One product for each place ===
        (high, wide), (down, right) = self.kernel_size, self.strides
        bottom, end = inputs.shape[1] - high + 1, inputs.shape[2] - wide + 1
        products = [
            inputs[:, i : i + bottom : down, j : j + end : right] * self.kernel[i, j, :, 0]
            for i, j in product(range(high), range(wide))
        ]
        found = sum(products[1:], start=products[0])
        found = found + self.bias if self.use_bias else found
        return found if self.activation is None else self.activation(found)


_OURS: dict[Any, Any] = {keras.layers.Conv2D: Conv2D, keras.layers.DepthwiseConv2D: DepthwiseConv2D}


def with_fast_convolutions(network: keras.Model) -> keras.Model:
    """A copy of a network, weights included, whose convolutions are this module's."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        return _OURS.get(type(layer), type(layer)).from_config(layer.get_config())

    with skip_init():  # all weights are set next
        copied = keras.models.clone_model(network, clone_function=copy)
    copied.set_weights(network.get_weights())
    return copied


def _jax_on_cpu() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"
