"""SGD as Caffe has it, for the published recipes of the two-stream networks."""

from __future__ import annotations

from typing import Any

import keras

from loaders.errors import ClipzooError
from zoo.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class CaffeSGD(keras.optimizers.SGD):
    """SGD with momentum; L2 is part of the gradient, and biases go their own way (arXiv 1711.04161, released solver).

    velocity = momentum * velocity - rate * (gradient + l2 * weight); weight += velocity. Kernels have l2; biases and
    batch normalisation have none; biases have `bias_rate` times the learning rate. Keras's own `weight_decay` is
    decoupled from gradient and momentum, so it is none of this.

    Args:
        learning_rate: of kernels.
        momentum: 0 <= momentum < 1.
        l2: share of a kernel that is added to its gradient, >= 0; after clipping, as in Caffe.
        bias_rate: multiplies the learning rate of biases.
        global_clipnorm: the norm that all gradients together, averaged over the accumulated batches, are cut to.
        gradient_accumulation_steps: batches whose gradients are averaged for one step.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        *,
        l2: float = 5e-4,
        bias_rate: float = 2.0,
        name: str = "CaffeSGD",
        **kwargs: Any,
    ) -> None:
        if not l2 >= 0 or not bias_rate > 0:
            raise ClipzooError(f"CaffeSGD l2 ({l2}) must be >= 0 and bias_rate ({bias_rate}) above 0")
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self.l2 = l2
        self.bias_rate = bias_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        role = variable.name.rpartition("/")[2].split(":")[0]
        if role.endswith("kernel"):  # depthwise_kernel, recurrent_kernel too
            gradient = keras.ops.add(gradient, self.l2 * keras.ops.convert_to_tensor(variable))
        elif role == "bias":
            learning_rate = learning_rate * self.bias_rate
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}


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
