"""A run: the folder that training writes, and what lies where in it. `zoo.learning.train` makes one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.tasks import task_kind

# What is written before a run's first epoch is done lies in this folder; `_WHOLE` in it: all of it is there.
NEW, _WHOLE = ".new", "whole"
# What a second training needs, and makes, lies in folders of these names; see `zoo.refitting`.
AGAIN = ".refit-"


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The row of the history that speaks for a run's model; empty where there is none yet.

    It is the best epoch's. Of a model that was trained once more, on validation clips too, it is the last epoch of the
    training before, which took as many steps.
    """
    row: dict[str, float] = (record.get("refit") or {}).get("validated") or record.get("best") or {}
    return row


@dataclass(frozen=True)
class Run:
    """The files of a training run under one folder."""

    folder: Path

    def __post_init__(self) -> None:
        self._move_in()

    @property
    def model(self) -> Path:
        """The best model by what the recipe watches on the validation clips."""
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
        """Picture of the last evaluation, PNG."""
        return self.folder / "confusion.png"

    @property
    def scores(self) -> Path:
        """What the model gave for the clips of one split, as `zoo.run_scores.keep` writes it, NPZ."""
        return self.folder / "scores.npz"

    @property
    def report(self) -> Path:
        """The page that `clipzoo report` writes, HTML."""
        return self.folder / "report.html"

    @property
    def clips(self) -> Path:
        """The clips used, with the split of each, CSV."""
        return self.folder / "split.csv"

    @property
    def record(self) -> Path:
        """All that is needed to do it again, JSON."""
        return self.folder / "run.json"

    @property
    def checkpoint(self) -> Path:
        """What `resume` goes on from; it is there while the run is not finished. See `zoo.checkpoint`."""
        return self.folder / "checkpoint.keras"

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Where all of them are, or would be."""
        return (
            self.model, self.last, self.labels, self.history, self.curves, self.confusion, self.scores, self.report,
            self.clips, self.record, self.checkpoint,
        )  # fmt: skip

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them that are there."""
        return tuple(path for path in self.all_files if path.exists())

    @contextmanager
    def replacing_all(self) -> Iterator[Run]:
        """Yields a run in a fresh folder inside this one; its files take the places of this one's together at the end.

        A kill at any moment leaves the old files, or the new ones: what was cut short is ended by whoever looks next.
        """
        new = self.folder / NEW
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield Run(new)
        # The checkpoint is written in its own time.
        old = {path.name for path in self.files} - {path.name for path in new.iterdir()} - {self.checkpoint.name}
        write_text(new / _WHOLE, "\n".join(sorted(old)))
        self._move_in()

    def forget_training(self) -> None:
        """Takes away what only a training that is not finished needs.

        The checkpoint goes first: it leads to the rest.
        """
        self.checkpoint.unlink(missing_ok=True)
        for folder in self.folder.glob(f"{AGAIN}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _move_in(self) -> None:
        """Ends a replacement of the files that was cut short: what is whole in `.new` takes its place."""
        new = self.folder / NEW
        if not (new / _WHOLE).exists():
            return
        gone = suppress(FileNotFoundError)  # another process may be at it, and has taken this file
        with gone:
            names = {path.name for path in new.iterdir()} - {_WHOLE}
            for name in names:
                with gone:
                    (new / name).replace(self.folder / name)
            # What the run before had besides is none of this one's.
            for name in (new / _WHOLE).read_text(encoding="utf-8").split():
                (self.folder / name).unlink(missing_ok=True)
            (new / _WHOLE).unlink()
            with suppress(OSError):  # not empty: the next replacement has begun
                new.rmdir()

    def read_record(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            ClipzooError: it is not there or cannot be read.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ClipzooError(f"{self.folder}: is no run of clipzoo's: no run.json ({error.strerror})") from None
        except (OSError, ValueError) as error:
            raise ClipzooError(f"{self.record}: cannot be read as the record of a run ({error})") from None
        if not isinstance(record, dict) or not isinstance(record.get("videos"), str):
            raise ClipzooError(f"{self.record}: is not the record of a run: it does not say where the videos are")
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes `run.json`."""
        write_text(self.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_history(self) -> list[dict[str, float]]:
        """The figures of every epoch, as `zoo.training.fit` returns them; none where there is no `history.csv`.

        Raises:
            ClipzooError: it cannot be read.
        """
        if not self.history.is_file():
            return []
        try:
            with self.history.open(encoding="utf-8", newline="") as file:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise ClipzooError(f"{self.history}: cannot be read as the history of a run ({error})") from None

    def index(self, *, root: str | Path | None = None) -> ClipIndex:
        """The clips of the run.

        Args:
            root: the folder that they lie in; where they lay when it trained, if left out.

        Raises:
            ClipzooError: the record, the list or the folder of the clips is gone.
        """
        record = self.read_record()
        task = record.get("task", "classification")
        columns = self.label_columns
        return index_csv(
            self.clips, root=root or record["videos"], label=columns if columns != ["label"] else "label", task=task
        )

    def lies_in(self, folder: Path) -> bool:
        """Whether the clips of the run are these: the folder that it trained on, or one with all of its files."""
        if Path(self.read_record()["videos"]) == folder.resolve():
            return True
        if not folder.is_dir():
            return False
        files = [Path(clip.file) for clip in self.index(root=folder)]
        # A path of its own lies nowhere else.
        return all(not file.is_absolute() and (folder / file).is_file() for file in files)

    @property
    def label_columns(self) -> list[str]:
        """The columns of `split.csv` that hold the labels."""
        record = self.read_record()
        return list(task_kind(record.get("task", "classification")).columns(record.get("labels", ())))
