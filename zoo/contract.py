"""What a model says of itself: its input contract, its labels, its logits; and how it gets another head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind
from zoo.layers import ClipInput, OutputActivation

SMALL = {"class_name": "RandomNormal", "config": {"stddev": 0.001}}  # a config: an instance gives all layers the same


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


def origins(model: keras.Model) -> list[dict[str, str]]:
    """Where the weights of a model began: `weights`, `author`, `license`, `data` and `package` of each set, as far as
    they are known; none for a model that began from nothing."""
    found: list[dict[str, str]] = []
    for layer in model.layers:
        if isinstance(layer, ClipInput) and layer.origin and layer.origin not in found:
            found.append(layer.origin)
    return found


def set_origin(model: keras.Model, origin: Mapping[str, str]) -> None:
    """Has a model say where its weights began; it stays said in what is saved, trained and exported."""
    for layer in model.layers:
        if isinstance(layer, ClipInput):
            layer.origin = dict(origin)


def labels(model: keras.Model) -> tuple[str, ...]:
    """Names of a model's classes or numbers, in the order of its outputs.

    Raises:
        ClipzooError: the model does not end in an OutputActivation layer.
    """
    return answer_layer(model).labels


def task(model: keras.Model) -> Task:
    """What a model is asked for: classification, multilabel or regression; raises as `labels` does."""
    return answer_layer(model).task


def scale_answer(model: keras.Model, targets: np.ndarray) -> np.ndarray:
    """Fits the scale of a regression's answers to its training targets, once; a scale that is set stays.

    Args:
        model: of numbers.
        targets: float (clips, labels).

    Returns:
        The spread of each number, float32 (labels,), which its error is to be measured in.
    """
    answer = answer_layer(model)
    mean, spread = targets.mean(axis=0), targets.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0).astype(np.float32)
    if not answer.scaled:
        return spread
    scale, offset = (keras.ops.convert_to_numpy(weight) for weight in (answer.scale, answer.offset))
    if (scale != 1).any() or (offset != 0).any():
        return scale
    answer.scale.assign(spread)
    answer.offset.assign(mean.astype(np.float32))
    return spread


def with_logits(model: keras.Model) -> keras.Model:
    """The same layers and weights with all outputs by name.

    `{"logits": (B, labels), "probabilities": (B, labels)}`; for regression `{"values": (B, labels)}`.
    """
    answer = answer_layer(model)
    tensors = {"logits": answer.input, answer.name: answer.output}
    return keras.Model(model.inputs, {name: tensors[name] for name in task_kind(answer.task).outputs}, name=model.name)


def new_head(model: keras.Model, classes: Sequence[str], task: Task = "classification") -> keras.Model:
    """A model for other labels on the layers and weights of `model`; the two share all but the last dense layer."""
    last = answer_layer(model).input._keras_history.operation
    if not isinstance(last, keras.layers.Dense):
        raise ClipzooError(
            f"model {model.name!r} has no head of its own: give its streams other classes, and fuse them again"
        )
    same = {name: last.get_config()[name] for name in ("name", "kernel_initializer")}
    return keras.Model(model.inputs, head(last.input, classes, task, **same), name=model.name)


def head(
    features: keras.KerasTensor,
    labels: Sequence[str],
    task: Task,
    *,
    name: str = "logits",
    kernel_initializer: Any = "glorot_uniform",
) -> keras.KerasTensor:
    """The end of every model: features (B, F) -> logits -> what the task asks for (B, labels), float32.

    Args:
        features: (B, F).
        labels: names of the classes or numbers.
        task: what they are.
        name: of the dense layer.
        kernel_initializer: of its weights; its biases begin at 0. A linear head on pretrained features takes `SMALL`,
            as TSN (arXiv 1608.00859) and TSM do: with fewer clips than features, training leaves most of what random
            weights add to the logits, and on other clips that is noise.
    """
    dense = keras.layers.Dense(len(labels), kernel_initializer=kernel_initializer, dtype="float32", name=name)
    kind = task_kind(task)
    return OutputActivation(labels, task=task, scaled=not kind.classes, name=kind.answer)(dense(features))


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
        raise ClipzooError(f"classes ({classes!r}) must be at least {task_kind(task).count(fewest)} for {task}")
    for name in names:
        if not isinstance(name, str) or not name.strip() or "\n" in name:
            raise ClipzooError(f"class name {name!r} must be one line of text")
        if names.count(name) > 1:
            raise ClipzooError(f"class name {name!r} stands twice in classes")
    return names


def answer_layer(model: keras.Model) -> OutputActivation:
    """The layer that a model of the zoo ends in; raises as `labels` does."""
    found = [layer for layer in model.layers if isinstance(layer, OutputActivation)]
    if len(found) != 1:
        raise ClipzooError(f"model {model.name!r} is none of clipzoo's: it does not end in an OutputActivation layer")
    return found[0]
