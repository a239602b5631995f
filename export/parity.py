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
        logits: largest difference, as a share of the spread of the reference's logits.
        probabilities: largest difference.
        variation: largest change of a probability from clip to clip. Near 0, as in an untrained network, the answer
            hardly depends on the clip, and parity proves little.
    """

    clips: int
    source: str
    logits: float
    probabilities: float
    variation: float

    def to_dict(self) -> dict[str, Any]:
        """All fields and the tolerance, ready for JSON."""
        return {**asdict(self), "tolerance": TOLERANCE}


def compare(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], *, source: str) -> Parity:
    """Compares answers to the same clips.

    Args:
        reference: `logits` and `probabilities`, each float (clips, classes): Keras's.
        candidate: likewise: ONNX Runtime's.
        source: which clips they were.
    """
    spread = max(float(np.ptp(reference["logits"])), float(np.finfo(np.float32).tiny))
    return Parity(
        clips=len(reference["logits"]),
        source=source,
        logits=float(np.abs(reference["logits"] - candidate["logits"]).max()) / spread,
        probabilities=float(np.abs(reference["probabilities"] - candidate["probabilities"]).max()),
        variation=float(np.ptp(reference["probabilities"], axis=0).max()),
    )


def require(parity: Parity) -> None:
    """Raises ParityError unless both differences are at most `TOLERANCE`; what is no number passes nowhere."""
    if not (parity.logits <= TOLERANCE and parity.probabilities <= TOLERANCE):
        raise ParityError(
            f"parity failed on {parity.clips} clips ({parity.source}): ONNX Runtime differs from Keras by "
            f"{parity.logits:.2g} of the logits' spread and {parity.probabilities:.2g} in probability; at most "
            f"{TOLERANCE:g} is allowed, so no file was written"
        )
