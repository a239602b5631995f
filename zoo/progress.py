"""What a person sees while a model trains: a bar, a line an epoch, and how long the model waited for clips."""

from __future__ import annotations

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loaders.tasks import shown_in


class RichProgress(keras.callbacks.Callback):
    """A progress bar over the batches of an epoch, and one line for each epoch done.

    Args:
        console: where to print.
    """

    async_safe = True  # a bar that a thread draws holds no step up

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,  # a log file wants lines, not bars
        )
        self.task = self.progress.add_task(
            "", total=self.params["steps"], epoch=f"{epoch + 1}/{self.params['epochs']}", figures=""
        )
        self.progress.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        kind = shown_in(logs)
        figures = (
            f"loss {logs['loss']:.3f}  {kind.title} {kind.show(logs[kind.metric])}  "
            f"waiting for clips {logs.get('data_wait', 0.0):.0%}"
        )
        done = max(batch + 1, self.progress.tasks[self.task].completed)  # threads come in any order
        self.progress.update(self.task, completed=done, figures=figures)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.stop()
        logs = logs or {}
        kind = shown_in(logs)
        line = f"epoch {epoch + 1:3d}/{self.params['epochs']}"
        line += f"  loss {logs['loss']:.3f}  {kind.title} {kind.show(logs[kind.metric])}"
        if "val_loss" in logs:
            line += f"  validation loss {logs['val_loss']:.3f}  {kind.title} {kind.show(logs[f'val_{kind.metric}'])}"
        line += f"  {logs['seconds']:.1f} s, {logs['data_wait']:.0%} of it waiting for clips"
        if logs.get("best"):
            line += "  best"
        self.console.print(line)

    def stop(self) -> None:
        """Takes the bar away, whatever happened."""
        if hasattr(self, "progress"):
            self.progress.stop()
