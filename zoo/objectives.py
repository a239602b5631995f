"""What training minimises and watches beside what Keras has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from zoo.devices import over_devices
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
        truth = keras.ops.one_hot(keras.ops.argmax(y_true, axis=-1), self.classes)
        counts = _counts(sample_weight)
        if counts is not None:
            truth = truth * keras.ops.expand_dims(counts, -1)
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


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedMean(keras.metrics.MeanMetricWrapper):
    """The mean of a function over the clips that count, which are those of a weight above 0, each as much as another.

    Args:
        fn: (labels, answers) -> (B,).
        name: of the figure.
    """

    def __init__(self, fn: Callable[..., Any], name: str = "counted", dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(fn=fn, name=name, dtype=dtype, **kwargs)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(y_true, y_pred, _counts(sample_weight))


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedLossMean(keras.metrics.Mean):
    """The loss over the clips that count. It takes the place of Keras's own figure, which weighs batches by their
    length, and with it what they were filled up with.

    Args:
        loss: as of `compile`.
        name: that of Keras's.
    """

    def __init__(self, loss: Any, name: str = "loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.loss = keras.losses.get(loss)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, counts = keras.ops.cast(y_true, y_pred.dtype), _counts(sample_weight)
        values = (self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss)(y_true, y_pred)
        if counts is not None:  # the weights are those of classes, divided by the share that counts: see Even
            values = values * keras.ops.cast(sample_weight, values.dtype) * over_devices(keras.ops.mean(counts))
        super().update_state(values, counts)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "loss": keras.losses.serialize(self.loss)}


def _counts(sample_weight: Any) -> Any:
    """1 where a clip counts: weights of classes change the loss, not how good the model is."""
    return None if sample_weight is None else keras.ops.cast(sample_weight > 0, "float32")
