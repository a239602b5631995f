"""What a model computes in: float32, or, where it sees frames, bfloat16. Weights are float32 either way."""

from __future__ import annotations

from typing import get_args

import keras

from loaders.check import choice
from zoo.layers import ClipInput, FrameWise
from zoo.recipe import Precision


def set_precision(model: keras.Model, precision: Precision) -> None:
    """Sets what the layers of a model compute in; what Keras compiled of it before does not change.

    With `mixed_bfloat16` that is bfloat16 for what is done to every frame, which is nearly all the work, and for a
    trunk over space and time; recurrent layers and the head go on in float32, as in an ONNX file in float16. With
    `float32` it is float32 for every layer, also where `keras.config.set_dtype_policy` had another say when the model
    was made.

    Args:
        model: a model of the zoo; changed in place.
        precision: `float32`, or `mixed_bfloat16`.

    Raises:
        ClipzooError: no such precision.
    """
    choice("precision", precision, get_args(Precision))
    frames = (ClipInput, FrameWise, keras.Model)
    parts = [model] if precision == "float32" else [part for part in model.layers if isinstance(part, frames)]
    for part in parts:
        for layer in part._flatten_layers():
            layer.dtype_policy = precision
