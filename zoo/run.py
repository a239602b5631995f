"""A run: the folder that training writes, and what lies where in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.tasks import task_kind

VERSIONED = ("clipzoo", "keras", "tensorflow", "jax", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Run:
    """The files of a training run under one folder."""

    folder: Path

    @property
    def model(self) -> Path:
        """The best model by the validation loss (by the training loss where there is no validation part)."""
        return self.folder / "model.keras"

    @property
    def last(self) -> Path:
        """The model after the last epoch."""
        return self.folder / "last.keras"

    @property
    def labels(self) -> Path:
        """Names of the classes, one a line, in the order of the outputs."""
        return self.folder / "labels.txt"

    @property
    def history(self) -> Path:
        """Figures of every epoch, CSV."""
        return self.folder / "history.csv"

    @property
    def curves(self) -> Path:
        """Learning curves, PNG."""
        return self.folder / "curves.png"

    @property
    def confusion(self) -> Path:
        """Confusion matrix of the last evaluation, PNG."""
        return self.folder / "confusion.png"

    @property
    def split(self) -> Path:
        """The clips used, with the part of each, CSV."""
        return self.folder / "split.csv"

    @property
    def record(self) -> Path:
        """All that is needed to do it again, JSON."""
        return self.folder / "run.json"

    def read_record(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            ClipzooError: it is not there or cannot be read.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ClipzooError(f"{self.record}: cannot be read as the record of a run ({error})") from None
        if not isinstance(record, dict) or not isinstance(record.get("videos"), str):
            raise ClipzooError(f"{self.record}: is not the record of a run: it does not say where the videos are")
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Writes `run.json`."""
        write_text(self.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def index(self) -> ClipIndex:
        """The clips of the run, where they lay when it trained.

        Raises:
            ClipzooError: the record, the list or the folder of the clips is gone.
        """
        record = self.read_record()
        task = record.get("task", "classification")
        columns = self.label_columns
        return index_csv(
            self.split, root=record["videos"], label=columns if columns != ["label"] else "label", task=task
        )

    @property
    def label_columns(self) -> list[str]:
        """The columns of `split.csv` that hold the labels."""
        record = self.read_record()
        return list(task_kind(record.get("task", "classification")).columns(record.get("labels", ())))


def versions(names: Sequence[str] = VERSIONED) -> dict[str, str]:
    """Versions of Python and of those of `names` that are installed; by default what decides what a run computes."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
