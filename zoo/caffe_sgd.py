"""The optimizer of Caffe, which the two-stream paper trained with."""

from __future__ import annotations

from typing import Any

import keras

from loaders.check import number
from loaders.errors import ClipzooError
from zoo.layers import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class CaffeSGD(keras.optimizers.SGD):
    """SGD with momentum; L2 is part of the gradient, and biases go their own way (arXiv 1711.04161, released solver).

    velocity = momentum * velocity - rate * (gradient + l2 * weight); weight += velocity. Kernels have l2; biases and
    batch normalization have none; biases have `bias_rate` times the learning rate. Keras's own `weight_decay` is
    decoupled from gradient and momentum, so it is none of this.

    Args:
        learning_rate: of kernels.
        momentum: 0 <= momentum < 1.
        l2: share of a kernel that is added to its gradient, >= 0; after clipping, as in Caffe.
        bias_rate: multiplies the learning rate of biases.
        clip_gradients: the norm that all gradients together, summed over the accumulated batches, are cut to, > 0;
            Caffe's option of that name. Keras cuts the norm of their mean: `global_clipnorm`.
        gradient_accumulation_steps: batches whose gradients make one step.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        *,
        l2: float = 5e-4,
        bias_rate: float = 2.0,
        clip_gradients: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "CaffeSGD",
        **kwargs: Any,
    ) -> None:
        if not l2 >= 0 or not bias_rate > 0:
            raise ClipzooError(f"CaffeSGD l2 ({l2}) must be >= 0 and bias_rate ({bias_rate}) above 0")
        if clip_gradients is not None:
            number("CaffeSGD clip_gradients", clip_gradients, above=0)
            kwargs["global_clipnorm"] = clip_gradients / (gradient_accumulation_steps or 1)
        super().__init__(
            learning_rate, momentum, name=name, gradient_accumulation_steps=gradient_accumulation_steps, **kwargs
        )
        self.l2 = l2
        self.bias_rate = bias_rate
        self.clip_gradients = clip_gradients

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        role = variable.name.rpartition("/")[2].split(":")[0]
        if role.endswith("kernel"):  # depthwise_kernel, recurrent_kernel too
            gradient = keras.ops.add(gradient, self.l2 * keras.ops.convert_to_tensor(variable))
        elif role == "bias":
            learning_rate = learning_rate * self.bias_rate
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}
        if self.clip_gradients is None:
            return config
        return {**config, "global_clipnorm": None, "clip_gradients": self.clip_gradients}
