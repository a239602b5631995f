"""What a model says of itself: its input contract, its labels, its logits; and how it gets another head."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from loaders.errors import ClipzooError
from loaders.index import Task
from loaders.spec import ClipSpec
from zoo.layers import Answer, ClipInput
from zoo.tasks import task_kind

LAST = "logits"  # the dense layer before the answer


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
    """Names of a model's classes or numbers, in the order of its outputs.

    Raises:
        ClipzooError: the model does not end in an Answer layer.
    """
    return _answer(model).labels


def task(model: keras.Model) -> Task:
    """What a model is asked for: classification, multilabel or regression; raises as `labels` does."""
    return _answer(model).task


def with_logits(model: keras.Model) -> keras.Model:
    """The same layers and weights with all outputs by name.

    `{"logits": (B, labels), "probabilities": (B, labels)}`; for regression `{"values": (B, labels)}`.
    """
    answer = _answer(model)
    tensors = {"logits": answer.input, answer.name: answer.output}
    return keras.Model(model.inputs, {name: tensors[name] for name in task_kind(answer.task).outputs}, name=model.name)


def new_head(model: keras.Model, classes: Sequence[str], task: Task = "classification") -> keras.Model:
    """A model for other labels on the layers and weights of `model`; the two share all but the last dense layer."""
    last = model.get_layer(LAST)
    return keras.Model(model.inputs, head(last.input, classes, task), name=model.name)


def head(features: keras.KerasTensor, labels: Sequence[str], task: Task) -> keras.KerasTensor:
    """The end of every model: features (B, F) -> logits -> what the task asks for (B, labels), float32."""
    logits = keras.layers.Dense(len(labels), dtype="float32", name=LAST)(features)
    return Answer(labels, task=task, name=task_kind(task).outputs[-1])(logits)


def class_names(classes: int | Sequence[str], *, task: Task = "classification") -> tuple[str, ...]:
    """Names of the classes or numbers: as given, or "0", "1", ... for a number of them.

    Raises:
        ClipzooError: fewer than the task needs, a name twice, or an empty name.
    """
    if isinstance(classes, int):
        names: tuple[str, ...] = tuple(map(str, range(classes)))
    elif isinstance(classes, str):
        raise ClipzooError(f"classes ({classes!r}) must be a number, or a list of names")
    else:
        names = tuple(classes)
    fewest = task_kind(task).fewest
    if len(names) < fewest:
        raise ClipzooError(f"classes ({classes!r}) must be at least {fewest} for {task}")
    for name in names:
        if not isinstance(name, str) or not name.strip() or "\n" in name:
            raise ClipzooError(f"class name {name!r} must be one line of text")
        if names.count(name) > 1:
            raise ClipzooError(f"class name {name!r} stands twice in classes")
    return names


def _answer(model: keras.Model) -> Answer:
    found = [layer for layer in model.layers if isinstance(layer, Answer)]
    if len(found) != 1:
        raise ClipzooError(f"model {model.name!r} is none of clipzoo's: it does not end in an Answer layer")
    return found[0]
