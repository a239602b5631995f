"""The end of a model that is not of the zoo: where its logits are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from loaders.tasks import TaskKind

LEAST = 1e-7  # a probability; Keras's losses tell no smaller ones apart
_ACTIVATIONS = ("linear", "softmax", "sigmoid")


def final_activation(model: keras.Model) -> str:
    """The activation that a model ends in: `softmax`, `sigmoid`, `linear`, or nothing where another end is found."""
    operation, _ = _last(model)
    if isinstance(operation, keras.Model):
        return final_activation(operation)
    if isinstance(operation, keras.layers.Dense | keras.layers.EinsumDense | keras.layers.Activation):
        return next((n for n in _ACTIVATIONS if operation.activation is keras.activations.get(n)), "")
    if type(operation).__module__.startswith("keras.") and getattr(operation, "axis", -1) in (-1, 1):
        name = type(operation).__name__.lower()  # a layer, or an operation of keras.ops
        return name if name in _ACTIVATIONS else ""
    return ""


def without_final_activation(model: keras.Model) -> keras.Model:
    """The same model without the softmax or sigmoid that it ends in; layers are shared, and may be changed."""
    operation, node = _last(model)
    inputs = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    if isinstance(operation, keras.Model):
        inner = without_final_activation(operation)
        if inner is operation:
            return model
        return keras.Model(inputs, inner(*node.arguments.args, **node.arguments.kwargs))
    if hasattr(operation, "activation"):
        operation.activation = keras.activations.linear
        return model
    return keras.Model(inputs, node.input_tensors[0])


def are_probabilities(answers: np.ndarray, kind: TaskKind) -> bool:
    """Whether answers (clips, labels) can be the probabilities of a task."""
    return bool(np.allclose(kind.activate(to_logits(np.clip(answers, LEAST, 1 - LEAST), kind, np)), answers, atol=1e-3))


def to_logits(shares: Any, kind: TaskKind, numbers: Any = ops) -> Any:
    """Logits that give probabilities above 0 and below 1 back; `numbers` computes them: keras.ops, or NumPy."""
    if kind.activation == "softmax":
        return numbers.log(shares)
    return numbers.log(shares) - numbers.log(1 - shares)


def _last(model: keras.Model) -> tuple[Any, Any]:
    """What gives a model's output, and the node that says of what; none where the model is a class of one's own."""
    if not getattr(model, "outputs", None):
        return None, None
    history = model.outputs[0]._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]
