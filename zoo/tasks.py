"""What a model is asked for: one class, several, or numbers; and what follows from it. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loaders.errors import ClipzooError
from loaders.index import Task


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """What a task settles.

    Attributes:
        outputs: names of the outputs, of a model with logits and of its ONNX file; the last is the answer.
        activation: from the last dense layer to the answer.
        loss: Keras's name of it.
        metric: that is shown beside the loss; a column of the history.
        title: of the metric, for people.
        share: whether the metric is a share, 0 to 1, the larger the better.
        fewest: labels that a model needs.
    """

    outputs: tuple[str, ...]
    activation: str
    loss: str
    metric: str
    title: str
    share: bool
    fewest: int

    def show(self, value: float) -> str:
        """The metric as people read it."""
        return f"{value:6.1%}" if self.share else f"{value:.4g}"


TASKS: Mapping[Task, TaskKind] = {
    "classification": TaskKind(
        outputs=("logits", "probabilities"),
        activation="softmax",
        loss="categorical_crossentropy",
        metric="accuracy",
        title="top-1",
        share=True,
        fewest=2,
    ),
    "multilabel": TaskKind(
        outputs=("logits", "probabilities"),
        activation="sigmoid",
        loss="binary_crossentropy",
        metric="label_accuracy",
        title="labels right",
        share=True,
        fewest=1,
    ),
    "regression": TaskKind(
        outputs=("values",),
        activation="linear",
        loss="mean_squared_error",
        metric="mean_absolute_error",
        title="mean error",
        share=False,
        fewest=1,
    ),
}


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
