"""The gate: Keras and ONNX Runtime give the same answers on the same clips, or there is no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loaders.errors import ClipzooError

TOLERANCE = 1e-4


class ParityError(ClipzooError):
    """The converted file does not compute what the model computes."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two sets of answers lie apart.

    Attributes:
        clips: how many were compared.
        source: which clips they were.
        differences: the largest of each output: of `probabilities` as it is, of `logits` and `values` as a share of the
            spread of the reference's.
        variation: largest change of an answer from clip to clip. Near 0, as in an untrained network, the answer hardly
            depends on the clip, and parity proves little.
    """

    clips: int
    source: str
    differences: dict[str, float]
    variation: float

    def to_dict(self) -> dict[str, Any]:
        """All figures, each difference by its output's name, and the tolerance; ready for JSON."""
        fields = asdict(self)
        return {**fields.pop("differences"), **fields, "tolerance": TOLERANCE}


def compare(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], *, source: str) -> Parity:
    """Compares answers to the same clips.

    Args:
        reference: Keras's outputs by name, each float (clips, labels); the last is the answer.
        candidate: likewise: ONNX Runtime's.
        source: which clips they were.
    """
    differences = {}
    for name, wanted in reference.items():
        spread = 1.0 if name == "probabilities" else max(float(np.ptp(wanted)), float(np.finfo(np.float32).tiny))
        differences[name] = float(np.abs(wanted - candidate[name]).max()) / spread
    answer = list(reference.values())[-1]
    return Parity(
        clips=len(answer), source=source, differences=differences, variation=float(np.ptp(answer, axis=0).max())
    )


def require(parity: Parity) -> None:
    """Raises ParityError unless all differences are at most `TOLERANCE`; what is no number passes nowhere."""
    if not all(difference <= TOLERANCE for difference in parity.differences.values()):
        found = ", ".join(f"{difference:.2g} in {name}" for name, difference in parity.differences.items())
        raise ParityError(
            f"parity failed on {parity.clips} clips ({parity.source}): ONNX Runtime differs from Keras by {found}; at "
            f"most {TOLERANCE:g} is allowed (of the spread, for logits and values), so no file was written"
        )
