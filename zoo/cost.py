"""What one clip costs: multiply-adds, counted from the layers' shapes."""

from __future__ import annotations

from math import prod

import keras

from zoo.layers import FrameWise


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one clip: convolutions, dense and recurrent layers; what is merely added or scaled is left out.

    Args:
        model: a functional model whose shapes are known but for the batch.
    """
    return sum(_cost(layer) for layer in model.layers)


def _cost(layer: keras.layers.Layer) -> int:
    match layer:
        case FrameWise():
            return int(layer.input.shape[1]) * multiply_adds(layer.layer)
        case keras.layers.Bidirectional():
            return 2 * _recurrent(layer.forward_layer, layer.input.shape)
        case keras.layers.GRU() | keras.layers.LSTM():
            return _recurrent(layer, layer.input.shape)
        case keras.layers.DepthwiseConv2D() | keras.layers.Conv2D() | keras.layers.Conv3D():
            kernel = layer.kernel.shape  # (t, h, w, channels, filters); depthwise: (h, w, channels, multiplier)
            inner = prod(kernel[:2]) if isinstance(layer, keras.layers.DepthwiseConv2D) else prod(kernel[:-1])
            return prod(layer.output.shape[1:]) * inner
        case keras.layers.Dense():
            return prod(layer.kernel.shape) * prod(layer.output.shape[1:-1])
        case keras.Model():
            return multiply_adds(layer)
    return 0


def _recurrent(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    gates = 3 if isinstance(layer, keras.layers.GRU) else 4
    return int(shape[1] or 0) * gates * layer.units * (int(shape[2] or 0) + layer.units)
