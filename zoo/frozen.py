"""Where a model is cut in two: what is frozen, and what trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from loaders.check import near
from loaders.errors import ClipzooError
from zoo.layers import FrameWise

HEAD, ALL = "head", "all"
Place = tuple[Any, Any]  # a layer that holds a network and a tensor inside it, or None and a tensor of the model


@dataclass(frozen=True, kw_only=True)
class CutModel:
    """The two parts of a model. They share its layers: what one learns, the whole knows.

    Attributes:
        frozen: uint8 clips -> features, one tensor for each input of the model; nothing of it trains.
        rest: features -> what the model answers.
    """

    frozen: keras.Model
    rest: keras.Model


def freeze(model: keras.Model, train_from: str) -> list[keras.layers.Layer]:
    """Freezes what stands before a layer; batch normalization there computes as in inference.

    Args:
        model: of the zoo, changed in place.
        train_from: `head`: all behind the backbone trains, or the trunk; `all`: every layer; or the name of a layer in
            it, which trains with all that comes after it.

    Returns:
        The layers that trained before.

    Raises:
        ClipzooError: the model has no such layer, or nothing to freeze.
    """
    found: list[keras.layers.Layer] = []
    if train_from == ALL:
        return found
    for wrapper in _wrappers(model, train_from):
        network = network_of(wrapper)
        before = network if train_from == HEAD else _before(wrapper, _input_of(network, train_from))
        for layer in before._flatten_layers(include_self=False):
            # Of a wrapper the backends think differently.
            if layer.trainable and not list(layer._flatten_layers(include_self=False)):
                layer.trainable = False
                found.append(layer)
    return found


@contextmanager
def thawed(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """What is saved inside says of these layers that they can train: the next training decides for itself."""
    for layer in layers:
        layer.trainable = True
    try:
        yield
    finally:
        for layer in layers:
            layer.trainable = False


def cut(model: keras.Model, train_from: str) -> CutModel:
    """Cuts a model where its frozen part ends, as far down as nothing is learnt or drawn at random.

    Args:
        model: of the zoo; `freeze` it likewise.
        train_from: `head`, or the name of a layer; see `freeze`.

    Raises:
        ClipzooError: as `freeze`; or the layer stands in a branch, beside others that it would have to wait for.
    """
    wrappers = _wrappers(model, train_from)
    if train_from == HEAD:
        return cut_at(model, [(None, _further(model, call_of(wrapper).output_tensors[0])) for wrapper in wrappers])
    for wrapper in wrappers:
        _require_alone(wrapper, train_from)
    return cut_at(model, [(wrapper, _input_of(network_of(wrapper), train_from)) for wrapper in wrappers])


def cut_at(model: keras.Model, places: Sequence[Place]) -> CutModel:
    """Cuts a model at tensors that part its inputs from its answer.

    Args:
        model: of the zoo.
        places: where, in the order that the features are to have.
    """
    tensors, features, behind = [], [], []
    for wrapper, tensor in places:
        if wrapper is None:
            tensors.append(tensor)
            features.append(keras.Input(tensor.shape[1:], name=f"{tensor._keras_history.operation.name}_features"))
            behind.append(features[-1])
            continue
        before, after = _before(wrapper, tensor), _after(wrapper, tensor)
        if isinstance(wrapper, FrameWise):
            before = FrameWise(before, name=f"{wrapper.name}_before")
            after = FrameWise(after, name=f"{wrapper.name}_after")
        tensors.append(before(call_of(wrapper).input_tensors[0]))
        features.append(keras.Input(tensors[-1].shape[1:], name=f"{wrapper.name}_features"))
        behind.append(after(features[-1]))
    frozen = keras.Model(model.inputs, _one_or_all(tensors), name=f"{model.name}_frozen")
    end = _from(
        model, [tensor if wrapper is None else call_of(wrapper).output_tensors[0] for wrapper, tensor in places]
    )
    if all(wrapper is None for wrapper, _ in places):
        return CutModel(frozen=frozen, rest=end)
    answer = end.call(_one_or_all(behind))  # not end(...): the Answer is to stay a layer of its own
    return CutModel(frozen=frozen, rest=keras.Model(_one_or_all(features), answer, name=model.name))


def _from(model: keras.Model, tensors: list[Any]) -> keras.Model:
    return keras.Model(_one_or_all(tensors), model.output, name=model.name)


def _one_or_all(tensors: list[Any]) -> Any:
    return tensors if len(tensors) > 1 else tensors[0]


def _wrappers(model: keras.Model, train_from: str) -> list[Any]:
    """`holders`, of which one has the layer that `train_from` names."""
    found = holders(model)
    if not found:
        raise ClipzooError(f"train_from {train_from!r}: model {model.name!r} has no backbone to freeze; say 'all'")
    if train_from != HEAD:
        names = [layer.name for wrapper in found for layer in network_of(wrapper).layers]
        if train_from not in names:
            # The last are the first to be trained; what has no weights is no help.
            known = [layer.name for wrapper in found for layer in reversed(network_of(wrapper).layers) if layer.weights]
            raise ClipzooError(
                f"train_from {train_from!r}: must be 'head', 'all' or a layer of the backbone; "
                f"{near(train_from, [HEAD, ALL, *known])}"
            )
    return found


def holders(model: keras.Model) -> list[Any]:
    """The layers of a model that hold a network: FrameWise of a backbone, or a trunk over space and time."""
    return [layer for layer in model.layers if isinstance(network_of(layer), keras.Model)]


def call_of(wrapper: Any) -> Any:
    """Where the model calls it: `input` and `output` of a nested model are those inside it."""
    return wrapper._inbound_nodes[0]


def network_of(wrapper: Any) -> keras.Model:
    """The network that one of `holders` holds."""
    return wrapper.layer if isinstance(wrapper, FrameWise) else wrapper


def inputs_of(tensor: Any) -> list[Any]:
    """What the layer was given that made a tensor."""
    operation, node, _ = tensor._keras_history
    return list(operation._inbound_nodes[node].input_tensors)


def _before(wrapper: Any, tensor: Any) -> keras.Model:
    network = network_of(wrapper)
    return keras.Model(network.input, tensor, name=f"{network.name}_before")


def _after(wrapper: Any, tensor: Any) -> keras.Model:
    network = network_of(wrapper)
    return keras.Model(tensor, network.output, name=f"{network.name}_after")


def _require_alone(wrapper: Any, name: str) -> None:
    """Raises ClipzooError where what comes after a layer needs more than what that layer is given."""
    tensor = _input_of(network_of(wrapper), name)
    try:
        after = _after(wrapper, tensor)
        around = {id(layer) for layer in after.layers if layer.weights}
    except ValueError:  # Keras since 3.13 or so; before, it goes around the cut, back to the input
        around = {id(layer) for layer in network_of(wrapper).layers}
    if around & {id(layer) for layer in _before(wrapper, tensor).layers}:
        raise ClipzooError(
            f"train_from {name!r}: other layers stand beside it, which what comes after needs too; name the first "
            "layer of a block, or what stands between two"
        )


def _input_of(network: keras.Model, name: str) -> Any:
    tensor = network.get_layer(name).input
    if isinstance(tensor, list | tuple | dict):
        raise ClipzooError(f"train_from {name!r}: it takes several inputs; name a layer that takes one")
    return tensor


def _further(model: keras.Model, tensor: Any) -> Any:
    """Down the layers behind a tensor that have no weights and do the same in training: poolings."""
    while True:
        behind = list(_behind(model, tensor))
        if len(behind) != 1 or behind[0].weights or behind[0]._call_has_training_arg or tensor is model.output:
            return tensor
        output = behind[0].output
        if not isinstance(behind[0].input, keras.KerasTensor) or output is model.output:
            return tensor
        tensor = output


def _behind(model: keras.Model, tensor: Any) -> Iterator[Any]:
    for layer in model.layers:
        given = keras.tree.flatten(layer.input) if not isinstance(layer, keras.layers.InputLayer) else []
        if any(each is tensor for each in given):
            yield layer
