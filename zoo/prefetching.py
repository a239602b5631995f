"""How clips reach the training step, and how long the step waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras

from loaders.ahead import ReadAhead
from loaders.errors import ClipzooError
from zoo.devices import BatchPadder


class CheckedDataset(keras.utils.PyDataset):
    """Somebody's dataset as Keras sees it: one worker, clips that are uint8, and a note of what it raised.

    Args:
        dataset: any PyDataset; a generator of `loaders.compat` is asked for its pixels as they are.
        pixels: whether they are clips, and not features.
        even: what makes batches fit several devices.
    """

    def __init__(self, dataset: keras.utils.PyDataset, *, pixels: bool = True, even: BatchPadder | None = None) -> None:
        super().__init__(workers=1)
        self.dataset = dataset.unscaled() if hasattr(dataset, "unscaled") else dataset
        self.failed: Exception | None = None
        self.epoch = 0
        self.skip = 0
        self.even = even
        self._checked = not pixels
        # More workers are threads of ours, never Keras's queue: see ReadAhead.
        threads = self.dataset.workers
        self._ahead = ReadAhead(lambda _, batch: self.dataset[batch], threads) if threads > 1 else None

    @property
    def num_batches(self) -> int | None:
        batches: int | None = self.dataset.num_batches
        return batches

    def __getitem__(self, batch: int) -> Any:
        try:
            item = self.read(batch)
            if not self._checked:
                _require_pixels(item[0])
                self._checked = True
            return item if self.even is None else self.even(item, batch + self.skip)
        except Exception as error:  # TensorFlow gives it on as an error of its own, a hundred lines long
            self.failed = self.failed or error
            raise

    def read(self, batch: int) -> Any:
        """One batch, read ahead or now."""
        if self._ahead is None:
            return self.dataset[batch]
        return self._ahead.get(self.epoch, batch, self.dataset.num_batches or batch + 1)


class PrefetchingDataset(CheckedDataset):
    """The training set as Keras sees it, with a note of when each batch was ready.

    Args:
        dataset: as of CheckedDataset.
        pixels: likewise.
        begin: the epoch that training begins with.
        skip: batches of it that were trained on before.
        even: as of CheckedDataset.
    """

    def __init__(
        self,
        dataset: keras.utils.PyDataset,
        *,
        pixels: bool = True,
        begin: int = 0,
        skip: int = 0,
        even: BatchPadder | None = None,
    ) -> None:
        super().__init__(dataset, pixels=pixels, even=even)
        self.resumed = bool(getattr(self.dataset, "resumed", False))
        self.first = self.dataset.epoch - begin if self.resumed else 0
        self.skip = skip
        self.epoch = -1  # between epochs Keras reads to throw away: nothing is read ahead then
        self.ready: dict[int, float] = {}
        self.took: dict[int, float] = {}
        self.clips: dict[int, int] = {}

    @property
    def num_batches(self) -> int | None:
        batches: int | None = len(self.dataset) if self.resumed else self.dataset.num_batches
        return batches if batches is None else batches - self.skip

    def __getitem__(self, batch: int) -> Any:
        asked = time.perf_counter()
        item = super().__getitem__(batch)
        self.ready[batch] = time.perf_counter()
        self.took[batch] = self.ready[batch] - asked
        return item

    def read(self, batch: int) -> Any:
        if self.epoch < 0:
            return getattr(self.dataset, "read_now", self.dataset.__getitem__)(batch + self.skip)
        item = super().read(batch + self.skip)
        self.clips[batch] = len(item[1])  # before it is filled up for several devices
        return item

    def begin(self, epoch: int) -> None:
        """Called before each epoch: Keras's own hooks come at different times on the two backends."""
        self.epoch = epoch
        self.ready.clear()
        self.took.clear()
        self.clips.clear()
        if hasattr(self.dataset, "epoch"):
            self.dataset.epoch = self.first + epoch
        elif epoch:
            self.dataset.on_epoch_end()

    def end(self) -> None:
        """Called after each epoch."""
        self.skip = 0
        if self.resumed:  # the rest of its epoch is over, and Keras asks anew how many batches there are
            self.dataset.epoch = self.first + self.epoch + 1
        self.epoch = -1


def _require_pixels(clips: Any) -> None:
    """Models of the zoo scale pixels themselves: floats, of 0 to 1 say, would become zeros without a word."""
    arrays = clips.values() if isinstance(clips, Mapping) else clips if isinstance(clips, list | tuple) else [clips]
    for array in arrays:
        dtype = getattr(array, "dtype", None)
        if dtype is None or keras.backend.standardize_dtype(dtype) != "uint8":
            raise ClipzooError(
                f"the clips are {dtype or type(array).__name__}, and models of the zoo take uint8, 0 to 255: they "
                "scale pixels themselves; leave scaling out of the dataset (rescale=None in loaders.compat)"
            )


class WaitingTimer(keras.callbacks.Callback):
    """Tells the feed of each epoch, and measures the wait for data and, as `logs["seconds"]`, the epoch.

    On JAX the thread that trains fetches batches itself, and waits for as long as that takes; where it fetches one
    ahead of a step that is still being computed, that is the most that it can be. On TensorFlow another thread fetches
    them, and the step waits from `on_train_batch_begin` until the batch is ready.

    Args:
        feed: that trains.
        before: seconds that the first epoch had taken when it was stopped.
    """

    # Else Keras on JAX waits for the figures of each step before it fetches the next batch. It calls
    # `on_train_batch_end` from threads now, when the step has been computed, and all of them before `on_epoch_end`.
    async_safe = True

    def __init__(self, feed: PrefetchingDataset, *, before: float = 0.0) -> None:
        super().__init__()
        self.feed, self.before = feed, before

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.first_epoch = not hasattr(self, "began")
        self.feed.begin(epoch)
        self.began = time.perf_counter()
        self.asked: dict[int, float] = {}
        self.trained: dict[int, float] = {}

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.asked[batch] = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.trained[batch] = time.perf_counter()
        if logs is not None:
            logs |= {"data_wait": self.wait(), "clips_per_second": self.rate()}

    def seconds(self, *, skip: int = 0) -> float:
        """Of the epoch's training so far, without its first `skip` steps."""
        return max(dict(self.trained).values(), default=self.began) - (self.trained[skip - 1] if skip else self.began)

    def wait(self, *, skip: int = 0) -> float:
        """Share of `seconds` that was spent waiting for clips, 0 to 1."""
        if keras.config.backend() == "jax":
            waits = dict(self.feed.took)
        else:
            ready, asked = dict(self.feed.ready), dict(self.asked)
            if self.first_epoch:
                asked.pop(0, None)  # the step is compiled before it fetches its first batch
            waits = {b: max(0.0, ready[b] - when) for b, when in asked.items() if b in ready}
        waited = sum(seconds for batch, seconds in waits.items() if batch >= skip)
        return min(1.0, waited / max(1e-9, self.seconds(skip=skip)))

    def rate(self) -> float:
        """Clips trained on in each of the `seconds` so far."""
        clips = sum(self.feed.clips.get(batch, 0) for batch in dict(self.trained))
        return clips / max(1e-9, self.seconds())

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.feed.end()
        if logs is not None:
            logs |= {"data_wait": self.wait(), "clips_per_second": self.rate()}
            logs["seconds"] = self.before + time.perf_counter() - self.began
        self.before = 0.0
