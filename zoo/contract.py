"""What a model says of itself: its input contract, its labels, its logits; and how it gets another head."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from zoo.layers import ClipInput, Probabilities

LOGITS = "logits"
PROBABILITIES = "probabilities"


def specs(model: keras.Model) -> dict[str, ClipSpec]:
    """The input contract of a model: input name -> ClipSpec, in the order of its inputs.

    Raises:
        ClipzooError: an input is not followed by a ClipInput layer.
    """
    found = {layer.input.name: layer.spec for layer in model.layers if isinstance(layer, ClipInput)}
    names = [tensor.name for tensor in model.inputs]
    if set(found) != set(names):
        raise ClipzooError(
            f"model {model.name!r} is none of clipzoo's: its inputs {names} are not each followed by a ClipInput layer"
        )
    return {name: found[name] for name in names}


def labels(model: keras.Model) -> tuple[str, ...]:
    """Names of a model's classes, in the order of its outputs.

    Raises:
        ClipzooError: the model does not end in a Probabilities layer.
    """
    return _head(model).labels


def with_logits(model: keras.Model) -> keras.Model:
    """The same layers and weights with two outputs: `{"logits": (B, classes), "probabilities": (B, classes)}`."""
    head = _head(model)
    return keras.Model(model.inputs, {LOGITS: head.input, PROBABILITIES: head.output}, name=model.name)


def new_head(model: keras.Model, classes: Sequence[str]) -> keras.Model:
    """A model for other classes on the layers and weights of `model`; the two share all but the last dense layer."""
    logits = model.get_layer(LOGITS)
    return keras.Model(model.inputs, classify(logits.input, classes), name=model.name)


def classify(features: keras.KerasTensor, classes: Sequence[str]) -> keras.KerasTensor:
    """The end of every model: features (B, F) -> logits -> probabilities (B, classes), float32."""
    logits = keras.layers.Dense(len(classes), dtype="float32", name=LOGITS)(features)
    return Probabilities(classes, name=PROBABILITIES)(logits)


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Names of the classes: as given, or "0", "1", ... for a number of them.

    Raises:
        ClipzooError: fewer than two, a name twice, or an empty name.
    """
    if isinstance(classes, int):
        names: tuple[str, ...] = tuple(map(str, range(classes)))
    elif isinstance(classes, str):
        raise ClipzooError(f"classes ({classes!r}) must be a number, or a list of names")
    else:
        names = tuple(classes)
    if len(names) < 2:
        raise ClipzooError(f"classes ({classes!r}) must be at least 2")
    for name in names:
        if not isinstance(name, str) or not name.strip() or "\n" in name:
            raise ClipzooError(f"class name {name!r} must be one line of text")
        if names.count(name) > 1:
            raise ClipzooError(f"class name {name!r} stands twice in classes")
    return names


def _head(model: keras.Model) -> Probabilities:
    heads = [layer for layer in model.layers if isinstance(layer, Probabilities)]
    if len(heads) != 1:
        raise ClipzooError(f"model {model.name!r} is none of clipzoo's: it does not end in a Probabilities layer")
    return heads[0]
