"""The answer for one clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from export.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one clip.

    Attributes:
        label: the most probable class; empty for numbers.
        probability: its probability, 0 to 1; None for numbers.
        probabilities: of every class, the most probable first; empty for numbers.
        labels: the classes that are said to be there: the most probable one, or, of a model of several labels a clip,
            all whose probability is at least 1/2.
        values: the numbers of a regression, by name; empty for classes.
        file: where the clip came from; None for frames in memory.
        start: where a window begins in the file, seconds; None for a whole file.
        end: where it ends.
    """

    label: str
    probability: float | None
    probabilities: dict[str, float]
    labels: tuple[str, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    file: str | None = None
    start: float | None = None
    end: float | None = None


def predicted(row: np.ndarray, metadata: Metadata, *, file: str | None = None) -> Prediction:
    """What an answer of a model says.

    Args:
        row: probabilities, or numbers, float (labels,).
        metadata: of the model.
        file: where the clip came from.
    """
    labels, kind = metadata.labels, metadata.kind
    if not kind.classes:
        values = dict(zip(labels, row.tolist(), strict=True))
        return Prediction(label="", probability=None, probabilities={}, values=values, file=file)
    order = np.argsort(-row, kind="stable")
    by_label = {labels[place]: float(row[place]) for place in order}
    there = kind.decide(row[None])[0]
    best, said = labels[order[0]], tuple(labels[place] for place in order if there[place])
    return Prediction(label=best, probability=by_label[best], probabilities=by_label, labels=said, file=file)
