"""What a model is asked for: one class, several labels, or numbers; and all that follows from it. Needs NumPy alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from loaders.errors import ClipzooError

Task = Literal["classification", "multilabel", "regression"]
Label = str | tuple[str, ...] | tuple[float, ...] | None
FEATURES = "features"  # the output, of a model or of its ONNX file, that has what the head is given


class TaskKind(ABC):
    """What a task settles; one object each, in `TASKS`.

    Attributes:
        name: the task.
        outputs: names of the outputs, of a model with logits and of its ONNX file; the last is the answer.
        activation: from the last dense layer to the answer, as Keras names it.
        loss: Keras's name of it.
        metric: that is shown beside the loss; a column of the history.
        title: of the metric, for people.
        share: whether the metric is a share, 0 to 1, the larger the better.
        fewest: labels that a model needs.
        noun: what a label is called, one and several.
        classes: whether labels are names of classes; else they are numbers.
    """

    name: ClassVar[Task]
    outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities")
    activation: ClassVar[str]
    loss: ClassVar[str]
    metric: ClassVar[str]
    title: ClassVar[str]
    share: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    noun: ClassVar[tuple[str, str]]
    classes: ClassVar[bool] = True

    @property
    def answer(self) -> str:
        """Name of the last output: probabilities, or values."""
        return self.outputs[-1]

    def show(self, value: float) -> str:
        """The metric as people read it."""
        return f"{value:6.1%}" if self.share else f"{value:.4g}"

    def count(self, labels: int) -> str:
        """How many labels, in words: `2 classes`, `1 number`."""
        return f"{labels} {self.noun[labels != 1]}"

    @abstractmethod
    def activate(self, logits: np.ndarray) -> np.ndarray:
        """Logits (clips, labels) to the answer, float64: softmax, sigmoid, or as they are."""

    @abstractmethod
    def decide(self, answer: np.ndarray) -> np.ndarray:
        """What an answer (clips, labels) says: bool, true for each label that is said to be there; numbers say none."""

    def encode(self, labels: Sequence[Label], names: Sequence[str]) -> np.ndarray:
        """What a model learns from: float32 (clips, labels), one-hot or several-hot."""
        places = {name: place for place, name in enumerate(names)}
        out = np.zeros((len(labels), len(names)), np.float32)
        for row, label in zip(out, labels, strict=True):
            row[[places[name] for name in label_names(label)]] = 1
        return out

    def targets(self, labels: Sequence[Label], names: Sequence[str]) -> np.ndarray:
        """The truth to measure against; as `encode` gives it, but for one class a clip."""
        return self.encode(labels, names)

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Columns of a CSV list that hold the labels."""
        return tuple(names)

    @abstractmethod
    def cells(self, label: Label, names: Sequence[str]) -> Sequence[object]:
        """What stands in these columns for one clip."""

    @abstractmethod
    def parse(self, values: Sequence[str], columns: Sequence[str]) -> Label:
        """A label out of the fields of a CSV list; raises ClipzooError that says what the field has."""


class Classification(TaskKind):
    """One class a clip."""

    name = "classification"
    activation = "softmax"
    loss = "categorical_crossentropy"
    metric = "accuracy"
    title = "top-1"
    fewest = 2
    noun = ("class", "classes")

    def activate(self, logits: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits, np.float64)
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def decide(self, answer: np.ndarray) -> np.ndarray:
        return np.eye(answer.shape[-1], dtype=bool)[answer.argmax(axis=-1)]

    def targets(self, labels: Sequence[Label], names: Sequence[str]) -> np.ndarray:
        """Positions among `names`, int64 (clips,)."""
        places = {name: place for place, name in enumerate(names)}
        return np.array([places[str(label)] for label in labels], np.int64)

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        return ("label",)

    def cells(self, label: Label, names: Sequence[str]) -> Sequence[object]:
        return (label or "",)

    def parse(self, values: Sequence[str], columns: Sequence[str]) -> Label:
        if not values[0]:
            raise ClipzooError(f"has no {columns[0]}")
        return values[0]


class Multilabel(TaskKind):
    """Several labels a clip, or none."""

    name = "multilabel"
    activation = "sigmoid"
    loss = "binary_crossentropy"
    metric = "label_accuracy"
    title = "labels right"
    noun = ("label", "labels")

    def activate(self, logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))

    def decide(self, answer: np.ndarray) -> np.ndarray:
        return answer >= 0.5

    def cells(self, label: Label, names: Sequence[str]) -> Sequence[object]:
        held = label_names(label)
        return [int(name in held) for name in names]

    def parse(self, values: Sequence[str], columns: Sequence[str]) -> Label:
        if not set(values) <= {"0", "1"}:
            raise ClipzooError(f"has {', '.join(map(repr, values))}, which must each be 0 or 1")
        return tuple(name for name, value in zip(columns, values, strict=True) if value == "1")


class Regression(TaskKind):
    """Numbers."""

    name = "regression"
    outputs = ("values",)
    activation = "linear"
    loss = "mean_squared_error"
    metric = "mean_absolute_error"
    title = "mean error"
    share = False
    noun = ("number", "numbers")
    classes = False

    def activate(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits, np.float64)

    def decide(self, answer: np.ndarray) -> np.ndarray:
        return np.zeros(answer.shape, bool)

    def encode(self, labels: Sequence[Label], names: Sequence[str]) -> np.ndarray:
        """The numbers, float32 (clips, labels)."""
        return np.array(labels, np.float32).reshape(len(labels), len(names))

    def cells(self, label: Label, names: Sequence[str]) -> Sequence[object]:
        return label or ()

    def parse(self, values: Sequence[str], columns: Sequence[str]) -> Label:
        try:
            numbers = tuple(float(value) for value in values)
        except ValueError:
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)):
            raise ClipzooError(f"has {', '.join(map(repr, values))}, which must be numbers")
        return numbers


TASKS: Mapping[Task, TaskKind] = {kind.name: kind for kind in (Classification(), Multilabel(), Regression())}


def task_kind(task: str) -> TaskKind:
    """The kind of a task by its name.

    Raises:
        ClipzooError: no such task.
    """
    if task not in TASKS:
        raise ClipzooError(f"task ({task!r}) must be one of {', '.join(TASKS)}")
    return TASKS[task]  # type: ignore[index]


def shown_in(row: Mapping[str, float]) -> TaskKind:
    """The kind of task whose metric stands in a row of figures."""
    return next(kind for kind in TASKS.values() if kind.metric in row)


def label_names(label: Label) -> tuple[str, ...]:
    """The classes of a label, whatever the task; none for numbers."""
    if isinstance(label, str):
        return (label,)
    return tuple(name for name in label or () if isinstance(name, str))
