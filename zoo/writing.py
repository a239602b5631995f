"""What a training writes while it runs."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from loaders.atomic import replacing, write_text
from loaders.index import ClipIndex
from loaders.lists import write_csv
from zoo.frozen import thawed
from zoo.pictures import draw_curves
from zoo.run import Run
from zoo.saving import save_model

BETWEEN = 10.0  # seconds between two pictures: an epoch behind a frozen network takes less than its picture


class Writer(keras.callbacks.Callback):
    """Keeps a run's folder after each epoch: best and last model and figures, each file whole or not at all; and the
    curves, every few seconds and at the end.

    The files of the first epoch are made in a folder beside and take their places together, so that what was there
    before stays until there is something better.

    Args:
        run: where.
        record: what `run.json` says.
        index: the clips, with splits.
        whole: the model to keep, of which what trains may be a part.
        frozen: its layers that are frozen in this training alone.
    """

    def __init__(
        self,
        run: Run,
        record: Mapping[str, Any],
        index: ClipIndex,
        *,
        whole: keras.Model,
        frozen: Sequence[keras.layers.Layer] = (),
    ) -> None:
        super().__init__()
        self.run, self.whole, self.frozen = run, whole, frozen
        self.record = dict(record)
        self.index = index
        self.history: list[dict[str, float]] = []
        self.written = 0  # epochs whose files are there
        self._drawn = -BETWEEN

    @property
    def kept(self) -> str:
        """What there is, for people."""
        if self.written:
            return f"the best of {self.written} epochs is kept in {self.run.model}"
        done = "written" if self.history else "finished"
        return f"no epoch was {done}{', what was there before is kept' if self.run.files else ''}"

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        self.history.append({"epoch": float(epoch), **{name: float(value) for name, value in logs.items()}})
        if len(self.history) > 1:
            self._write(self.run, best=bool(logs["best"]))
        else:
            with self.run.replacing_all() as new:
                write_csv(self.index, new.clips)
                write_text(new.labels, "".join(f"{label}\n" for label in self.index.labels))
                self._write(new, best=True)
        self.written = len(self.history)

    def _write(self, run: Run, *, best: bool) -> None:
        with thawed(self.frozen):
            save_model(self.whole, run.last)
        if best:
            with replacing(run.model) as partial:
                shutil.copyfile(run.last, partial)
            self.record["best"] = self.history[-1]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in self.history)
        write_text(run.history, text.getvalue())
        if time.monotonic() - self._drawn > BETWEEN:
            self._draw(run)
        self.record["seconds"] = sum(row["seconds"] for row in self.history)
        run.write_record(self.record)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.history:
            self._draw(self.run)

    def _draw(self, run: Run) -> None:
        draw_curves(self.history, run.curves)
        self._drawn = time.monotonic()
