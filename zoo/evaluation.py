"""How good a model is: labels and scores in, figures out. It knows not who predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loaders.errors import ClipzooError
from loaders.tasks import Task, task_kind
from zoo.calibration import calibration_error


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of one model on one set of clips.

    Attributes:
        clips: how many.
        top1: share of clips whose most probable class is right, 0 to 1.
        interval: 95 % interval of `top1` (Wilson's, which also holds for small sets and near 0 and 1).
        mean_class_accuracy: mean over the classes present of the share that is right, 0 to 1.
        calibration_error: how far probabilities are from the share that is right, 0 to 1; see `calibration_error`.
        class_accuracy: that share by class; None for a class without clips.
        confusion: counts, true class by predicted class.
        largest: the class that most clips have.
        largest_share: theirs, 0 to 1: the top-1 of always guessing it.
        labels: names of the classes.
    """

    clips: int
    top1: float
    interval: tuple[float, float]
    mean_class_accuracy: float
    calibration_error: float
    class_accuracy: dict[str, float | None]
    confusion: list[list[int]]
    largest: str
    largest_share: float
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The figures as people read them."""
        low, high = self.interval
        return [
            f"top-1 {self.top1:.1%}, 95 % interval {low:.1%} to {high:.1%} ({self.clips} clips)",
            f"mean per-class accuracy {self.mean_class_accuracy:.1%}",
            f"expected calibration error {self.calibration_error:.1%}",
            f"always guessing {self.largest!r}, the largest class, gives {self.largest_share:.1%}",
        ]

    def table(self) -> list[tuple[str, ...]]:
        """A heading, and a row for each class."""
        rows: list[tuple[str, ...]] = [("class", "clips", "right")]
        for label, row in zip(self.labels, self.confusion, strict=True):
            share = self.class_accuracy[label]
            rows.append((label, str(sum(row)), "-" if share is None else f"{share:.1%}"))
        return rows


@dataclass(frozen=True, kw_only=True)
class LabelEvaluation:
    """Figures of a model of several labels a clip.

    Attributes:
        clips: how many.
        mean_average_precision: mean over the labels that some clip has; 0 to 1.
        average_precision: by label: the area under precision over recall, clips ranked by their score; None for a label
            that no clip has.
        all_right: share of clips whose every label is right at a threshold of 1/2.
        interval: 95 % interval of `all_right` (Wilson's).
        f1: by label, at that threshold.
        share: of the clips that have each label, which is the average precision of guessing.
        labels: names.
    """

    clips: int
    mean_average_precision: float
    average_precision: dict[str, float | None]
    all_right: float
    interval: tuple[float, float]
    f1: dict[str, float]
    share: list[float]
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The figures as people read them."""
        low, high = self.interval
        return [
            f"mean average precision {self.mean_average_precision:.1%} ({self.clips} clips)",
            f"all labels right {self.all_right:.1%}, 95 % interval {low:.1%} to {high:.1%}",
        ]

    def table(self) -> list[tuple[str, ...]]:
        """A heading, and a row for each label."""
        rows: list[tuple[str, ...]] = [("label", "clips", "average precision", "F1")]
        for label, share in zip(self.labels, self.share, strict=True):
            precision = self.average_precision[label]
            shown = "-" if precision is None else f"{precision:.1%}"
            rows.append((label, str(round(share * self.clips)), shown, f"{self.f1[label]:.1%}"))
        return rows


@dataclass(frozen=True, kw_only=True)
class NumberEvaluation:
    """Figures of a model of numbers.

    Attributes:
        clips: how many.
        mean_absolute_error: by number, in its own unit.
        root_mean_square_error: likewise.
        r2: by number: 1 - squared error / variance; 0 is what the mean of the truth would get; None where the truth is
            one value.
        truth: the true numbers, (clips, labels).
        predicted: the predicted ones.
        labels: names.
    """

    clips: int
    mean_absolute_error: dict[str, float]
    root_mean_square_error: dict[str, float]
    r2: dict[str, float | None]
    truth: list[list[float]]
    predicted: list[list[float]]
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The figures as people read them."""
        return [f"{label}: mean error {self.mean_absolute_error[label]:.4g}" for label in self.labels]

    def table(self) -> list[tuple[str, ...]]:
        """A heading, and a row for each number."""
        rows: list[tuple[str, ...]] = [("number", "mean absolute error", "root mean square error", "R2")]
        for label in self.labels:
            r2 = self.r2[label]
            rows.append(
                (
                    label,
                    f"{self.mean_absolute_error[label]:.4g}",
                    f"{self.root_mean_square_error[label]:.4g}",
                    "-" if r2 is None else f"{r2:.3f}",
                )
            )
        return rows


Result = Evaluation | LabelEvaluation | NumberEvaluation


def evaluate_task(task: Task, targets: Sequence[int] | np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Result:
    """Compares what a model answered with the truth, as its task asks.

    Args:
        task: of the model.
        targets: `ClipIndex.targets`.
        scores: probabilities or numbers, (clips, labels).
        labels: names.

    Raises:
        ClipzooError: the shapes do not fit, there is no clip, or a score is not a number.
    """
    if task_kind(task).name == "classification":
        return evaluate(targets, scores, labels)
    truth, scores = np.asarray(targets, np.float64), np.asarray(scores, np.float64)
    if len(truth) == 0 or truth.shape != scores.shape or truth.shape[1:] != (len(labels),):
        raise ClipzooError(f"{truth.shape} targets, {scores.shape} scores and {len(labels)} labels do not fit together")
    _require_numbers(scores)
    return (_evaluate_labels if task_kind(task).classes else _evaluate_numbers)(truth, scores, tuple(labels))


def _evaluate_labels(truth: np.ndarray, scores: np.ndarray, labels: tuple[str, ...]) -> LabelEvaluation:
    said = scores >= 0.5
    all_right = int((said == truth).all(axis=1).sum())
    both = (said * truth).sum(axis=0)
    f1 = 2 * both / np.maximum(1, said.sum(axis=0) + truth.sum(axis=0))
    precision = {
        label: average_precision(truth[:, n], scores[:, n]) if truth[:, n].any() else None
        for n, label in enumerate(labels)
    }
    known = [value for value in precision.values() if value is not None]
    return LabelEvaluation(
        clips=len(truth),
        mean_average_precision=sum(known) / max(1, len(known)),
        average_precision=precision,
        all_right=all_right / len(truth),
        interval=wilson(all_right, len(truth)),
        f1=dict(zip(labels, f1.tolist(), strict=True)),
        share=truth.mean(axis=0).tolist(),
        labels=labels,
    )


def _evaluate_numbers(truth: np.ndarray, scores: np.ndarray, labels: tuple[str, ...]) -> NumberEvaluation:
    error = scores - truth
    square, spread = (error**2).mean(axis=0), truth.var(axis=0)
    r2 = [1 - float(s / v) if v > 0 else None for s, v in zip(square, spread, strict=True)]
    return NumberEvaluation(
        clips=len(truth),
        mean_absolute_error=dict(zip(labels, np.abs(error).mean(axis=0).tolist(), strict=True)),
        root_mean_square_error=dict(zip(labels, np.sqrt(square).tolist(), strict=True)),
        r2=dict(zip(labels, r2, strict=True)),
        truth=truth.tolist(),
        predicted=scores.tolist(),
        labels=labels,
    )


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean of the precision at each right clip, clips ranked by score; equal scores rank together (as scikit-learn)."""
    order = np.argsort(-scores, kind="stable")
    right, ranked = truth[order] > 0, scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each run of equal scores
    found, seen = right.cumsum()[last], np.arange(1, len(right) + 1)[last]
    return float((np.diff(found, prepend=0) * found / seen).sum() / found[-1])


def evaluate(targets: Sequence[int] | np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Evaluation:
    """Compares scores with the truth.

    Args:
        targets: true classes, (clips,), positions in `labels`.
        scores: probabilities, (clips, classes).
        labels: names of the classes.

    Raises:
        ClipzooError: the shapes do not fit, there is no clip, or a score is not a number.
    """
    truth = np.asarray(targets, np.int64)
    scores = np.asarray(scores)
    if truth.ndim != 1 or len(truth) == 0 or scores.shape != (len(truth), len(labels)):
        raise ClipzooError(f"{truth.shape} targets, {scores.shape} scores and {len(labels)} labels do not fit together")
    _require_numbers(scores)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    right, total = np.diag(confusion), confusion.sum(axis=1)
    by_class = {
        label: float(r / n) if n else None for label, r, n in zip(labels, right.tolist(), total.tolist(), strict=True)
    }
    present = [share for share in by_class.values() if share is not None]
    return Evaluation(
        clips=len(truth),
        top1=float(right.sum() / len(truth)),
        interval=wilson(int(right.sum()), len(truth)),
        mean_class_accuracy=sum(present) / len(present),
        calibration_error=calibration_error(scores.max(axis=1), scores.argmax(axis=1) == truth),
        class_accuracy=by_class,
        confusion=confusion.tolist(),
        largest=labels[int(total.argmax())],
        largest_share=float(total.max() / len(truth)),
        labels=tuple(labels),
    )


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z = 1.959963984540054
    share = right / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, center - half), min(1.0, center + half)


def _require_numbers(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ClipzooError("some scores are not numbers: the model's weights are broken")
