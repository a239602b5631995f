"""Scores of a model on a set of clips, kept in a file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loaders.atomic import replacing
from loaders.errors import ClipzooError, VideoError
from loaders.tasks import Task, task_kind
from zoo.evaluation import Result, evaluate_task


@dataclass(frozen=True)
class Scores:
    """What a model gave for a set of clips, before softmax or sigmoid.

    Attributes:
        logits: float (clips, labels); numbers, for regression.
        targets: the truth, as `ClipIndex.targets` has it.
        labels: names.
        task: what they are.
        files: of the clips.
        left_out: what could not be read, and has no score; not kept in the file.
        model: SHA-256 of the model's file, hexadecimal; empty where it is not known.
    """

    logits: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    task: Task
    files: tuple[str, ...]
    left_out: tuple[VideoError, ...] = field(default=(), compare=False)
    model: str = field(default="", compare=False)

    @property
    def probabilities(self) -> np.ndarray:
        """What the task asks for, float64 (clips, labels): probabilities; or the numbers, for regression."""
        return task_kind(self.task).activate(self.logits)

    def evaluate(self) -> Result:
        """The figures of these scores."""
        return evaluate_task(self.task, self.targets, self.probabilities, self.labels)

    def save(self, path: str | Path) -> None:
        """Writes an `.npz` file."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                logits=self.logits,
                targets=self.targets,
                labels=np.array(self.labels),
                task=np.array(self.task),
                files=np.array(self.files),
                model=np.array(self.model),
            )

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Reads what `save` wrote.

        Raises:
            ClipzooError: no such file, or not of scores.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                task = task_kind(str(held["task"])).name
                return cls(
                    held["logits"],
                    held["targets"],
                    tuple(map(str, held["labels"])),
                    task,
                    tuple(map(str, held["files"])),
                    model=str(held["model"]) if "model" in held else "",
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            why = "" if "pickle" in str(error) else f" ({error})"  # NumPy advises to load what is no array as a program
            raise ClipzooError(f"{path}: is no file of `clipzoo evaluate --scores`{why}") from None
