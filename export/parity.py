"""The gate: Keras and ONNX Runtime give the same answers on the same clips, or there is no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from export.metadata import Precision
from loaders.errors import ClipzooError
from loaders.tasks import Task, TaskKind, task_kind

# float16 keeps 11 bits: one rounding is 5e-4 of a value, and a network rounds some dozens of times.
TOLERANCES: Mapping[Precision, float] = {"float32": 1e-4, "float16": 2e-2}

LEAST_VARIATION = 1e-3  # of an answer from clip to clip; below, equal answers prove nothing
LEAST_ODDS = 1.0


class ParityError(ClipzooError):
    """The converted file does not compute what the model computes."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two sets of answers lie apart.

    Attributes:
        clips: how many were compared.
        source: which clips they were.
        differences: the largest of each output: of `probabilities` as it is, of all others as a share of the spread of
            the reference's.
        variation: largest change of an answer from clip to clip; of numbers, as a share of the largest. Near 0, as in
            an untrained network, the answer hardly depends on the clip, and parity proves nothing.
        odds: likewise of the logarithm of a class's odds, p / (1 - p); 0 for numbers. It tells a network that is sure
            of one class whatever the clip, but not equally sure, from one that does not look.
        same_decision: share of the clips for which both say the same class, or the same set of several, 0 to 1; 1 for
            numbers.
        precision: what the candidate computed in; it decides on the tolerance.
    """

    clips: int
    source: str
    differences: dict[str, float]
    variation: float
    odds: float
    same_decision: float
    precision: Precision = "float32"

    @property
    def tolerance(self) -> float:
        """What a difference may be at the most."""
        return TOLERANCES[self.precision]

    @property
    def telling(self) -> bool:
        """Whether the answers depend on the clip, so that equal ones prove something."""
        return self.variation >= LEAST_VARIATION or self.odds >= LEAST_ODDS

    def to_dict(self) -> dict[str, Any]:
        """All figures, each difference by its output's name, and the tolerance; ready for JSON."""
        fields = asdict(self)
        return {**fields.pop("differences"), **fields, "tolerance": self.tolerance}


def compare(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    *,
    source: str,
    precision: Precision = "float32",
    task: Task = "classification",
) -> Parity:
    """Compares answers to the same clips.

    Args:
        reference: Keras's outputs by name, each float (clips, labels); features, if any, (clips, D).
        candidate: likewise: ONNX Runtime's.
        source: which clips they were.
        precision: of the candidate.
        task: what the answers are.
    """
    differences, kind = {}, task_kind(task)
    for name, wanted in reference.items():
        spread = (
            1.0
            if kind.classes and name == kind.answer
            else max(float(np.ptp(wanted)), float(np.finfo(np.float32).tiny))
        )
        differences[name] = float(np.abs(wanted - candidate[name]).max()) / spread
    name, answer = kind.answer, reference[kind.answer]
    same = (kind.decide(answer) == kind.decide(candidate[name])).all(axis=-1)
    return Parity(
        clips=len(answer),
        source=source,
        differences=differences,
        variation=variation(answer, kind),
        odds=_odds(reference["logits"], kind) if "logits" in reference else 0.0,
        same_decision=float(same.mean()),
        precision=precision,
    )


def answers(session: Any, clips: Iterable[Mapping[str, np.ndarray]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs of a session of ONNX Runtime for clips that go through it one by one, as parity looks at them.

    Args:
        session: of the graph.
        clips: each by input name, uint8 (1, frames, height, width, channels); one at least.
        names: of the outputs.

    Returns:
        Output by name, (clips, ...).
    """
    rows = [session.run(list(names), dict(clip)) for clip in clips]
    return {name: np.concatenate(found) for name, found in zip(names, zip(*rows, strict=True), strict=True)}


def variation(answer: np.ndarray, kind: TaskKind) -> float:
    """Largest change of an answer (clips, labels) from clip to clip: of shares as it is, of numbers as a share."""
    size = 1.0 if kind.classes else max(float(np.abs(answer).max()), float(np.finfo(np.float32).tiny))
    return float(np.ptp(answer, axis=0).max()) / size


def _odds(logits: np.ndarray, kind: TaskKind) -> float:
    shares = kind.activate(logits)
    tiny = np.finfo(np.float64).tiny
    odds = np.log(np.maximum(shares, tiny)) - np.log(np.maximum(1 - shares, tiny))
    return float(np.ptp(odds, axis=0).max())


def require(parity: Parity, *, force: bool = False) -> None:
    """Raises ParityError unless all differences are within the tolerance, and, in float16, every class is the same; and
    unless the answers depend on the clip, which `force` leaves out."""
    near = all(difference <= parity.tolerance for difference in parity.differences.values())  # NaN passes nowhere
    if parity.precision == "float16" and near and parity.same_decision < 1:
        raise ParityError(
            f"parity failed on {parity.clips} clips ({parity.source}): float16 says another class than Keras for "
            f"{1 - parity.same_decision:.0%} of them, so no file was written; export it in float32"
        )
    if not near:
        found = ", ".join(f"{difference:.2g} in {name}" for name, difference in parity.differences.items())
        raise ParityError(
            f"parity failed on {parity.clips} clips ({parity.source}): ONNX Runtime differs from Keras by {found}; at "
            f"most {parity.tolerance:g} is allowed (of the spread, for logits and values), so no file was written"
        )
    if not parity.telling and not force:
        raise ParityError(
            f"parity proves nothing on {parity.clips} clips ({parity.source}): the answers hardly differ from clip to "
            f"clip (by {parity.variation:.1g}), as those of an untrained model, so no file was written; train it, give "
            "clips that it tells apart, or write it all the same with force=True (--force)"
        )
