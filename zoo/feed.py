"""How clips reach the training step, and how long the step waits for them."""

from __future__ import annotations

import time
from typing import Any

import keras

from loaders.ahead import ReadAhead


class Feed(keras.utils.PyDataset):
    """The training set as Keras sees it: read ahead by threads of ours, with a note of when each batch was ready."""

    def __init__(self, dataset: keras.utils.PyDataset) -> None:
        super().__init__(workers=1)
        self.dataset = dataset
        self.resumed = bool(getattr(dataset, "resumed", False))
        self.first = dataset.epoch if self.resumed else 0
        self.epoch = -1  # Keras reads and throws away before the first epoch begins
        self.ready: dict[int, float] = {}
        self.took: dict[int, float] = {}
        self._ahead = ReadAhead(lambda _, batch: dataset[batch], dataset.workers) if dataset.workers > 1 else None

    @property
    def num_batches(self) -> int | None:
        batches: int | None = len(self.dataset) if self.resumed else self.dataset.num_batches
        return batches

    def __getitem__(self, batch: int) -> Any:
        asked = time.perf_counter()
        many = self.num_batches
        item = self._ahead.get(self.epoch, batch, many or batch + 1) if self._ahead else self.dataset[batch]
        self.ready[batch] = time.perf_counter()
        self.took[batch] = self.ready[batch] - asked
        return item

    def begin(self, epoch: int) -> None:
        """Called before each epoch: Keras's own hooks come at different times on the two backends."""
        self.epoch = epoch
        self.ready.clear()
        self.took.clear()
        if hasattr(self.dataset, "epoch"):
            self.dataset.epoch = self.first + epoch
        elif epoch:
            self.dataset.on_epoch_end()


class Clock(keras.callbacks.Callback):
    """Tells the feed of each epoch, and measures the wait for data and, as `logs["seconds"]`, the epoch.

    On JAX the thread that trains fetches batches itself, and waits for as long as that takes; on a GPU, where Keras
    fetches one ahead of a step that is still being computed, that is the most that it can be. On TensorFlow another
    thread fetches them, and the step waits from `on_train_batch_begin` until the batch is ready.
    """

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.first_epoch = not hasattr(self, "begun")
        self.feed.begin(epoch)
        self.begun = time.perf_counter()
        self.batch_begun: dict[int, float] = {}
        self.trained = self.begun

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.batch_begun[batch] = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.trained = time.perf_counter()
        if logs is not None:
            logs["data_wait"] = self.wait()

    def wait(self) -> float:
        """Share of the epoch's training time so far that was spent waiting for clips, 0 to 1."""
        if keras.config.backend() == "jax":
            waited = sum(self.feed.took.values())
        else:
            ready, begun = self.feed.ready, dict(self.batch_begun)
            if self.first_epoch:
                begun.pop(0, None)  # the step is compiled before it fetches its first batch
            waited = sum(max(0.0, ready[b] - start) for b, start in begun.items() if b in ready)
        return min(1.0, waited / max(1e-9, self.trained - self.begun))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["data_wait"] = self.wait()
            logs["seconds"] = time.perf_counter() - self.begun
