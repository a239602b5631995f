"""How good a model is: labels and scores in, figures out. It knows not who predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loaders.errors import ClipzooError


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of one model on one set of clips.

    Attributes:
        clips: how many.
        top1: share of clips whose most probable class is right, 0 to 1.
        interval: 95 % interval of `top1` (Wilson's, which also holds for small sets and near 0 and 1).
        mean_class_accuracy: mean over the classes present of the share that is right, 0 to 1.
        class_accuracy: that share by class; None for a class without clips.
        confusion: counts, true class by predicted class.
        labels: names of the classes.
    """

    clips: int
    top1: float
    interval: tuple[float, float]
    mean_class_accuracy: float
    class_accuracy: dict[str, float | None]
    confusion: list[list[int]]
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)


def evaluate(targets: Sequence[int] | np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Evaluation:
    """Compares scores with the truth.

    Args:
        targets: true classes, (clips,), positions in `labels`.
        scores: (clips, classes), the larger the likelier: probabilities or logits.
        labels: names of the classes.

    Raises:
        ClipzooError: the shapes do not fit, there is no clip, or a score is not a number.
    """
    truth = np.asarray(targets, np.int64)
    scores = np.asarray(scores)
    if truth.ndim != 1 or len(truth) == 0 or scores.shape != (len(truth), len(labels)):
        raise ClipzooError(f"{truth.shape} targets, {scores.shape} scores and {len(labels)} labels do not fit together")
    if not np.isfinite(scores).all():
        raise ClipzooError("some scores are not numbers: the model's weights are broken")
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
        class_accuracy=by_class,
        confusion=confusion.tolist(),
        labels=tuple(labels),
    )


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z = 1.959963984540054
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)
