"""What a model gives before its head: one vector a clip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from loaders.check import near
from loaders.errors import ClipzooError
from loaders.tasks import FEATURES, task_kind
from zoo.contract import task, with_logits
from zoo.frozen import call_of, holders, inputs_of, network_of
from zoo.layers import FrameWise, Fusion, OutputActivation

JOINED = "+"  # between the names of two layers, one of each stream


def with_features(model: keras.Model, *, layer: str | None = None) -> keras.Model:
    """The same layers and weights with all outputs by name, and what the head is given among them.

    Args:
        model: of the zoo.
        layer: whose output the features are, in the place of the head's input: of the model, or of the network inside
            it. What it gives at several steps or places is averaged over them.

    Returns:
        `{"features": (B, D), "logits": (B, labels), "probabilities": (B, labels)}`, or `values` for numbers. Of two
        streams, the features of the first stand before those of the second: the fused logits are linear in both.

    Raises:
        ClipzooError: the model has no such layer, or its head is no dense layer.
    """
    outputs = with_logits(model).output
    found = _named(model, layer) if layer is not None else [tensor for _, tensor in _given_to_head(model)]
    vectors = [_vector(tensor) for tensor in found]
    features = vectors[0] if len(vectors) == 1 else keras.layers.Concatenate(name=FEATURES)(vectors)
    return keras.Model(model.inputs, {FEATURES: features, **outputs}, name=model.name)


def feature_layer(model: keras.Model) -> str:
    """Name of the layer whose output a model's head is given; of two streams both names, joined by `+`.

    Raises:
        ClipzooError: as `with_features`.
    """
    return JOINED.join(name for name, _ in _given_to_head(model))


def _given_to_head(model: keras.Model) -> list[tuple[str, Any]]:
    """Name of a layer and its output for each dense layer at the end: one, or one of each stream."""
    answer = with_logits(model).output[task_kind(task(model)).answer]
    found = []
    for dense in _heads(answer):
        if not isinstance(dense._keras_history.operation, keras.layers.Dense):
            raise ClipzooError(
                f"model {model.name!r} does not end in a dense layer, so nothing says what its features are; name a "
                "layer (--layer)"
            )
        (given,) = inputs_of(dense)
        while isinstance(given._keras_history.operation, keras.layers.Dropout):  # does nothing here
            (given,) = inputs_of(given)
        found.append((given._keras_history.operation.name, given))
    return found


def _heads(tensor: Any) -> Iterator[Any]:
    """The logits behind an answer, those of each stream where two are fused."""
    if isinstance(tensor._keras_history.operation, OutputActivation | Fusion):
        for given in inputs_of(tensor):
            yield from _heads(given)
    else:
        yield tensor


def _named(model: keras.Model, name: str) -> list[Any]:
    """The output of a layer of that name; of several networks that have one, each."""
    for layer in model.layers:
        if layer.name == name:
            return [call_of(layer).output_tensors[0]]
    found = []
    networks = {wrapper: network_of(wrapper) for wrapper in holders(model)}
    for wrapper, network in networks.items():
        if name in [layer.name for layer in network.layers]:
            before = keras.Model(network.input, network.get_layer(name).output, name=f"{wrapper.name}_{name}")
            apart = FrameWise(before, name=before.name) if isinstance(wrapper, FrameWise) else before
            found.append(apart(call_of(wrapper).input_tensors[0]))
    if not found:
        layers = [*model.layers, *(layer for network in networks.values() for layer in network.layers)]
        there = [layer.name for layer in reversed(layers) if not isinstance(layer, keras.layers.InputLayer)]
        raise ClipzooError(f"model {model.name!r} has no layer {name!r}; {near(name, there)}")
    return found


def _vector(tensor: Any) -> Any:
    """(B, D) of (B, ..., D)."""
    middle = tuple(range(1, len(tensor.shape) - 1))
    return keras.ops.mean(tensor, axis=middle) if middle else tensor
