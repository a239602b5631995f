"""The figures of each epoch, and the end of a training whose loss is no number any more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

import keras

from loaders.errors import ClipzooError
from zoo.prefetching import PrefetchingDataset

History = list[dict[str, float]]


class LossError(ClipzooError):
    """A loss, or what else is watched, that is no number any more."""


class EpochHistory(keras.callbacks.Callback):
    """Keeps the figures of each epoch, says which is the best so far, and ends a training whose loss is no number.

    Args:
        monitor: what it is the best by.
        feed: that trains.
        before: the figures of epochs before a stop.
        judged: whether clips that are not trained on say which is the best; else the last is.
    """

    async_safe = True  # what threads find, the next step says

    def __init__(
        self, monitor: str, feed: PrefetchingDataset, *, before: Sequence[dict[str, float]], judged: bool
    ) -> None:
        super().__init__()
        self.monitor, self.feed, self.judged = monitor, feed, judged
        self.history: History = list(before)
        self.best = min(map(self._value, before), default=math.inf)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch, self.first = epoch, self.feed.skip
        self.lost: list[int] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.lost:
            self._end("the loss", math.nan)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.lost.append(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        for name, what in (("loss", "the loss"), ("val_loss", "the validation loss"), (self.monitor, self.monitor)):
            if not math.isfinite(logs.get(name, 0.0)):
                self._end(what, logs[name])
        value = self._value(logs)
        better = value < self.best or not self.judged
        self.best = min(self.best, value)
        logs |= {"learning_rate": self._rate(), "best": float(better)}  # later callbacks see them
        self.history.append({"epoch": float(epoch), **{name: float(value) for name, value in logs.items()}})

    def _value(self, logs: Mapping[str, float]) -> float:
        """Less is better."""
        return -logs[self.monitor] if self.monitor.endswith("accuracy") else logs[self.monitor]

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _end(self, what: str, value: float) -> NoReturn:
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        step = f", step {self.first + min(self.lost) + 1}" if self.lost else ""
        raise LossError(
            f"{what} is {value} in epoch {self.epoch + 1}{step}, at a learning rate of {self._rate():.3g}: a smaller "
            "recipe.learning_rate, recipe.clip_norm=1, or broken weights?"
        )
