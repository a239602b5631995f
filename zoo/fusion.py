"""How to weigh the scores of two streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loaders.errors import ClipzooError
from loaders.tasks import task_kind
from zoo.evaluation import Evaluation, evaluate
from zoo.scores import Scores

WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Two streams weighed against each other.

    Attributes:
        weights: of the first stream; the second has the rest.
        validation: figures on the validation clips at each weight.
        chosen: the weight with the best mean per-class accuracy there; of equal ones that nearest to 0.4, the paper's.
        test: figures on the test clips at each weight; only those at `chosen` are a result.
    """

    weights: tuple[float, ...]
    validation: tuple[Evaluation, ...]
    chosen: float
    test: tuple[Evaluation, ...]

    @property
    def result(self) -> Evaluation:
        """The test figures at the chosen weight."""
        return self.test[self.weights.index(self.chosen)]


def sweep(
    validation: tuple[Scores, Scores], test: tuple[Scores, Scores], *, weights: Sequence[float] = WEIGHTS
) -> Sweep:
    """Chooses the weight of the first stream on the validation clips, and reports it on the test clips.

    Args:
        validation: scores of both streams on the validation clips.
        test: on the test clips.
        weights: to try, 0 to 1.

    Raises:
        ClipzooError: scores of other clips, labels or tasks; or validation and test that share clips.
    """
    for first, second in (validation, test):
        if first.task != "classification" or second.task != "classification":
            raise ClipzooError("a sweep is for one class a clip")
        if first.labels != second.labels or first.files != second.files or (first.targets != second.targets).any():
            raise ClipzooError("the two streams' scores are not of the same clips and labels, in the same order")
    if validation[0].labels != test[0].labels:
        raise ClipzooError("the scores of validation and test are not of the same labels")
    shared = set(validation[0].files) & set(test[0].files)
    if shared:
        raise ClipzooError(
            f"{len(shared)} clips are in validation and test, such as {min(shared)}: nothing to choose on"
        )
    tried = tuple(weights)

    def at(pair: tuple[Scores, Scores], weight: float) -> Evaluation:
        fused = weight * pair[0].logits + (1 - weight) * pair[1].logits
        return evaluate(pair[0].targets, task_kind(pair[0].task).activate(fused), pair[0].labels)

    found = tuple(at(validation, weight) for weight in tried)
    best = max(range(len(tried)), key=lambda n: (round(found[n].mean_class_accuracy, 9), -abs(tried[n] - 0.4)))
    return Sweep(weights=tried, validation=found, chosen=tried[best], test=tuple(at(test, weight) for weight in tried))
