"""What a card for the Hub tells, and how its files are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.metadata import Metadata
from loaders.split import Split
from zoo.evaluation import Result

REPO = "USER/NAME"  # until it has a name
_SUFFIXES = {"float32": "", "float16": "_fp16"}  # as the Hub's own libraries name the files of a folder `onnx`


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells.

    Attributes:
        record: the `run.json` of the run.
        models: precision -> metadata of the file; float32 is the first.
        sizes: precision -> bytes of the file.
        result: the figures, and the split whose clips they are of; None: not measured.
        pictures: names of the pictures that are there.
        repo: owner and name on the Hub.
        dataset: name of the clips.
        license: of the model, as the Hub names it; None: not said.
    """

    record: Mapping[str, Any]
    models: Mapping[str, Metadata]
    sizes: Mapping[str, int]
    result: tuple[Result, Split] | None
    pictures: tuple[str, ...]
    repo: str
    dataset: str
    license: str | None

    @property
    def metadata(self) -> Metadata:
        """Of the float32 file."""
        return self.models["float32"]

    @property
    def title(self) -> str:
        """The model's name on the Hub, or else its own."""
        return self.metadata.model if self.repo == REPO else self.repo.partition("/")[2]


def onnx_name(precision: str) -> str:
    """Where the file of a precision lies in the folder."""
    return f"onnx/model{_SUFFIXES.get(precision, f'_{precision}')}.onnx"
