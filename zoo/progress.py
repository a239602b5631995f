"""What a person sees while a model trains: one live display and a line an epoch, or TensorBoard."""

from __future__ import annotations

import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from loaders.errors import ClipzooError
from loaders.tasks import shown_in


class RichProgress(keras.callbacks.Callback):
    """A live display of a training, and one line for each epoch done; lines alone where there is no terminal.

    The display has a bar of the epoch and one of the training: loss, metric, learning rate, clips a second, the share
    of time spent waiting for clips, the best epoch so far, and the time that is left at the rate so far.

    Args:
        console: where to print.
    """

    async_safe = True  # a bar that a thread draws holds no step up

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._best, self._rate = "", 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._best = ""
        self.progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,  # a log file wants lines, not bars
        )
        self._within = self.progress.add_task("", name="epoch", figures="", total=None)
        self._whole = self.progress.add_task("", name="training", figures="", total=self.params["epochs"])
        self._begun: float | None = None
        self.progress.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._begun is None:
            self._begun, self._first = time.monotonic(), epoch  # a training that was resumed begins later
        self._rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        name = f"epoch {epoch + 1}/{self.params['epochs']}"
        self.progress.update(self._within, name=name, completed=0, total=self.params["steps"], figures="")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = max(batch + 1, self.progress.tasks[self._within].completed)  # threads come in any order
        self.progress.update(self._within, completed=done, figures=self._figures(logs or {}))

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        figures = self.progress.tasks[self._within].fields["figures"]
        self.progress.update(self._within, figures=f"{figures}, validating")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        kind = shown_in(logs)
        figures = [f"loss {logs['loss']:.3f}  {kind.title} {kind.show(logs[kind.metric])}"]
        if "val_loss" in logs:
            of_validation = f"{kind.title} {kind.show(logs[f'val_{kind.metric}'])}"
            figures.append(f"validation loss {logs['val_loss']:.3f}  {of_validation}")
            if logs.get("best"):
                self._best = f"best: epoch {epoch + 1}, validation {of_validation}"
        figures.append(f"rate {self._rate:.2g}")
        figures.append(
            f"{logs['seconds']:.1f} s, {logs['clips_per_second']:.1f} clips/s, "
            f"{logs['data_wait']:.0%} of it waiting for clips"
        )
        left = self._left(epoch + 1)
        self.progress.update(self._whole, completed=epoch + 1, figures="  ".join(filter(None, (self._best, left))))
        line = [
            f"epoch {epoch + 1:3d}/{self.params['epochs']}",
            *figures,
            *(["best"] if self._best and logs.get("best") else []),
        ]
        self.console.print("  ".join(line))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the display away, whatever happened."""
        if hasattr(self, "progress") and not self.progress.disable:  # rich 13 ends a display that never was by a line
            self.progress.stop()

    def _figures(self, logs: dict[str, float]) -> str:
        kind = shown_in(logs)
        return (
            f"loss {logs['loss']:.3f}  {kind.title} {kind.show(logs[kind.metric])}  rate {self._rate:.2g}  "
            f"{logs.get('clips_per_second', 0.0):.1f} clips/s  waiting for clips {logs.get('data_wait', 0.0):.0%}"
        )

    def _left(self, done: int) -> str:
        """The time that is left if epochs go on to take as long, validation and files included."""
        assert self._begun is not None
        seconds = (time.monotonic() - self._begun) / (done - self._first) * (self.params["epochs"] - done)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left" if done < self.params["epochs"] else ""


class RunTensorBoard(keras.callbacks.TensorBoard):
    """Keras's callback: figures of every epoch in a run's folder, for `tensorboard --logdir RUN/tensorboard`.

    Args:
        run: the folder of the run.
        onward: go on with the figures that are there; else they are of a run before, and go.

    Raises:
        ClipzooError: TensorBoard, or TensorFlow, which writes its files, is not installed.
    """

    async_safe = True  # what it does in a step, counting, holds none up

    def __init__(self, run: Path, *, onward: bool = False) -> None:
        missing = [name for name in ("tensorflow", "tensorboard") if find_spec(name) is None]
        if missing:
            raise ClipzooError(
                f"--tensorboard: {' and '.join(missing)} not installed; pip install 'clipzoo[tensorboard]', "
                "or leave it out: history.csv holds the same figures"
            )
        super().__init__(run / "tensorboard", write_graph=False)
        self._onward, self._begun = onward, False

    def set_model(self, model: keras.Model) -> None:
        if self._begun:  # a model that is trained once more has curves of its own
            self.log_dir: str = str(Path(self.log_dir) / "refit")
        super().set_model(model)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if not self._onward:
            shutil.rmtree(self.log_dir, ignore_errors=True)
        self._begun = True
        super().on_train_begin(logs)
