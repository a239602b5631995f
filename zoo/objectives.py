"""What training minimises and watches beside what Keras has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from zoo.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class ScaledSquaredError(keras.losses.Loss):
    """Mean squared error of numbers, each in its own scale, so that metres and pixels count alike.

    Args:
        scale: divides the error of each number, > 0; the spread of the training targets.
    """

    def __init__(self, scale: Sequence[float], name: str = "scaled_squared_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.scale = [float(value) for value in scale]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        scale = keras.ops.convert_to_tensor(self.scale, dtype=y_pred.dtype)
        return keras.ops.mean(keras.ops.square((y_pred - keras.ops.cast(y_true, y_pred.dtype)) / scale), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MeanClassAccuracy(keras.metrics.Metric):
    """Mean over the classes of the share of their clips that is right; classes without clips are left out.

    Args:
        classes: how many.
    """

    def __init__(self, classes: int, name: str = "class_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.right = self.add_variable((classes,), "zeros", name="right")
        self.total = self.add_variable((classes,), "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # class weights change the loss, not how good the model is
        truth = keras.ops.one_hot(keras.ops.argmax(y_true, axis=-1), self.classes)
        hit = keras.ops.cast(
            keras.ops.equal(keras.ops.argmax(y_true, axis=-1), keras.ops.argmax(y_pred, axis=-1)), "float32"
        )
        self.right.assign_add(keras.ops.sum(truth * hit[:, None], axis=0))
        self.total.assign_add(keras.ops.sum(truth, axis=0))

    def result(self) -> Any:
        present = keras.ops.cast(self.total > 0, "float32")
        shares = self.right / keras.ops.maximum(self.total, 1.0)
        return keras.ops.sum(shares) / keras.ops.maximum(keras.ops.sum(present), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}
