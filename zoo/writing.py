"""What a training writes while it runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from loaders.atomic import replacing, write_text
from loaders.index import ClipIndex
from loaders.lists import write_csv
from zoo.checkpoint import State
from zoo.devices import outside_layout
from zoo.frozen import thawed
from zoo.pictures import draw_curves
from zoo.run import Run
from zoo.saving import save_model
from zoo.stopping import stopped
from zoo.training import seeds

BETWEEN = 10.0  # seconds between two pictures, and behind a frozen part, whose epochs take less than a file, of all


class Checkpoints(keras.callbacks.Callback):
    """Keeps in one file what a training that is stopped goes on from: after each epoch, every few minutes within one,
    and when somebody asks for a stop, after which it raises what `zoo.stopping.stopped` gives.

    Args:
        run: where.
        state: that the training begins with.
        packed: the clips, of `pack_clips`.
        whole: the model to keep, of which what trains may be a part.
        frozen: its layers that are frozen in this training alone.
        minutes: between two checkpoints within an epoch.
        again_for: the run that this one trains the model of once more, if it does.
    """

    def __init__(
        self,
        run: Run,
        state: State,
        packed: bytes,
        *,
        whole: keras.Model,
        frozen: Sequence[keras.layers.Layer],
        minutes: float,
        again_for: Run | None = None,
    ) -> None:
        super().__init__()
        self.again_for = again_for
        self.run, self.state, self.packed, self.whole, self.frozen = run, state, packed, whole, frozen
        self.asked: Sequence[int] = ()  # signals that came
        self.before_save: Callable[[], object] = lambda: None  # called before one within an epoch
        self.history: list[dict[str, float]] = list(state.history)
        self.written = bool(state.arrays)  # whether the checkpoint that is there is of this training
        self._pause = 60 * minutes
        self._at = (state.epoch, state.batch)
        self._logs = state.logs
        self._epoch = state.epoch
        self._before = state.seconds
        self._saved = time.monotonic()

    @property
    def onward(self) -> str:
        """What to do next, for people."""
        run = self.again_for or self.run
        there = self.written or self.again_for is not None
        return f"; to go on: clipzoo train --resume {shlex.quote(str(run.folder))}" if there else ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._began = epoch, time.perf_counter()
        # The rest of an epoch is counted from 0 again.
        self._first = self.state.batch if epoch == self.state.epoch else 0

    # At the beginning of a step and not at the end of the one before: for that Keras on JAX would wait for its figures.
    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._look(self._first + batch)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._logs is None:  # else they are of before the stop
            self._logs = {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._look(0)

    def _look(self, batch: int) -> None:
        if self.asked or time.monotonic() - self._saved >= self._pause:
            if self._logs is not None or (self._epoch, batch) != self._at:
                self.before_save()
                seconds = self._before + time.perf_counter() - self._began
                self.save(self._epoch, batch, logs=self._logs, seconds=seconds)
            if self.asked:
                raise stopped(self.asked[0])

    def end_epoch(self, history: Sequence[dict[str, float]]) -> None:
        """Called when an epoch is over, with the figures of all."""
        self.history, self._logs, self._before = list(history), None, 0.0

    def save(
        self,
        epoch: int,
        batch: int = 0,
        *,
        logs: dict[str, float] | None = None,
        seconds: float = 0.0,
        saved: Path | None = None,
        best: Sequence[np.ndarray] = (),
    ) -> None:
        """Writes the checkpoint, whole or not at all; what holds values that are no numbers is never kept.

        Args:
            epoch: to go on with.
            batch: of it, likewise.
            logs: figures of its training, where that is over.
            seconds: that it took so far.
            saved: a file of the model as it is now.
            best: weights of the best epoch, where no file has them yet.
        """
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        values = [keras.ops.convert_to_numpy(weight) for weight in self.model.weights]
        optimizer = [keras.ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables]
        if not all(np.isfinite(value).all() for value in (*values, *optimizer)):
            return
        with outside_layout():  # host 0 alone writes: nothing here may wait for the others
            within = logs is None and batch
            state = dataclasses.replace(
                self.state, epoch=epoch, batch=batch, logs=logs, seconds=seconds, history=self.history,
                arrays={
                    "best": best,
                    "optimizer": optimizer,
                    "seeds": [keras.ops.convert_to_numpy(seed) for seed in seeds(self.model)],
                    "metrics": [keras.ops.convert_to_numpy(v) for v in self.model.metrics_variables] if within else [],
                },
            )  # fmt: skip
            with replacing(self.run.checkpoint) as partial:
                if saved is not None:
                    shutil.copyfile(saved, partial)
                else:
                    with thawed(self.frozen):
                        self.whole.save(partial)
                state.write(partial, self.packed)
            self.written, self._at, self._saved = True, (epoch, batch), time.monotonic()


class Writer(keras.callbacks.Callback):
    """Keeps a run's folder: best and last model and figures after each epoch, each file whole or not at all; and the
    curves, every few seconds and at the end.

    The files of the first epoch are made in a folder beside and take their places together, so that what was there
    before stays until there is something better.

    Args:
        run: where.
        index: the clips, with splits.
        checkpoints: of the same training.
        every: seconds, >= 0, between two times that files are written, the first and the last epoch apart. What the
            epochs between them trained is in memory meanwhile, and `flush` writes it. 0: they are written each epoch.
    """

    def __init__(self, run: Run, index: ClipIndex, checkpoints: Checkpoints, *, every: float = 0.0) -> None:
        super().__init__()
        self.run, self.index, self.checkpoints, self.every = run, index, checkpoints, every
        state = checkpoints.state
        self.record = state.record
        self.history: list[dict[str, float]] = list(state.history)
        self.written = len(self.history)  # epochs whose files are there
        self._drawn = self._wrote = -BETWEEN
        # Of epochs that are in no file: all values behind the last, and the weights of the best.
        self._last: list[np.ndarray] = []
        self._best: Sequence[np.ndarray] = state.arrays.get("best", ())
        checkpoints.before_save = self.flush

    @property
    def kept(self) -> str:
        """What there is, for people."""
        if (first := self.checkpoints.again_for) is not None:
            return f"the model that has not seen the validation clips is kept in {first.model}"
        if self.written:
            return f"the best of {self.written} epochs is kept in {self.run.model}"
        before = set(self.run.files) - {self.run.checkpoint}
        done = "written" if self.history else "finished"
        return f"no epoch was {done}{', what was there before is kept' if before else ''}"

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        state = self.checkpoints.state
        if self.history and not state.batch and state.logs is None:  # a kill may have come before all was written
            self._write_epoch(kept=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row = {"epoch": float(epoch), **{name: float(value) for name, value in (logs or {}).items()}}
        last = self._values() if self.every and self.history else []
        self.history.append(row)
        self.checkpoints.end_epoch(self.history)
        self._last = last
        if row["best"]:
            self._best, self.record["best"] = last[: len(self.model.weights)], row
        if not last or epoch + 1 == self.params["epochs"] or time.monotonic() - self._wrote >= self.every:
            self._write_epoch()

    def flush(self, *, ended: bool = False) -> None:
        """Writes what epochs left in memory, as if it were the end of the last of them.

        The model goes on with what it has now, or, where training has `ended`, has what it had then.
        """
        if not self._last:
            return
        self._sync()
        now = [] if ended else self._values()
        self._put(self._last)
        self._write_epoch()
        self._put(now)

    def _variables(self) -> list[keras.Variable]:
        """Weights first."""
        return [*self.model.weights, *self.model.optimizer.variables, *seeds(self.model)]

    def _values(self) -> list[np.ndarray]:
        self._sync()
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables()]

    def _put(self, values: Sequence[np.ndarray]) -> None:
        """Gives as many variables their values."""
        for variable, value in zip(self._variables(), values, strict=False):
            variable.assign(value)

    def _sync(self) -> None:
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _write_epoch(self, *, kept: bool = False) -> None:
        with outside_layout():
            if len(self.history) > 1:
                self._write(self.run, kept=kept)
            else:
                with self.run.replacing_all() as new:
                    write_csv(self.index, new.clips)
                    write_text(new.labels, "".join(f"{label}\n" for label in self.index.labels))
                    self._write(new, kept=kept)
        self._last, self._best, self.written, self._wrote = [], (), len(self.history), time.monotonic()

    def _write(self, run: Run, *, kept: bool) -> None:
        best = bool(self.history[-1]["best"]) or len(self.history) == 1
        before = () if best else self._best
        self._save(run.last)
        if not kept:  # before the rest: what a kill leaves out of that, `resume` writes
            self.checkpoints.save(int(self.history[-1]["epoch"]) + 1, saved=run.last, best=before)
        if best:
            with replacing(run.model) as partial:
                shutil.copyfile(run.last, partial)
            self.record["best"] = self.history[-1]
        elif before:
            now = [keras.ops.convert_to_numpy(weight) for weight in self.model.weights]
            self._put(before)
            self._save(run.model)
            self._put(now)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in self.history)
        write_text(run.history, text.getvalue())
        if time.monotonic() - self._drawn > BETWEEN:
            self._draw(run)
        self.record["seconds"] = sum(row["seconds"] for row in self.history)
        run.write_record(self.record)

    def _save(self, file: Path) -> None:
        with thawed(self.checkpoints.frozen):
            save_model(self.checkpoints.whole, file)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.flush(ended=True)
        if self.history:
            self._draw(self.run)

    def _draw(self, run: Run) -> None:
        draw_curves(self.history, run.curves)
        self._drawn = time.monotonic()
