"""Batches read by threads ahead of the model, every one once and in order on both backends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class ReadAhead(Generic[Batch]):
    """Reads the batches behind the one that is asked for.

    Stands in for Keras's own queue, which carries what it read before the first epoch, and what was left of the last
    one, over into the next epoch on JAX (keras 3.15.1, OrderedEnqueuer.stop), so that batches would come twice, late
    and in another order.

    Args:
        read: (epoch, batch) -> the batch; called by several threads at once.
        threads: how many, up to two batches each ahead of the model.
    """

    def __init__(self, read: Callable[[int, int], Batch], threads: int) -> None:
        self.threads = threads
        self._read = read
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._lock = Lock()

    def get(self, epoch: int, batch: int, batches: int) -> Batch:
        """The batch, read already or now; sets the threads to those behind it, and drops what is not wanted.

        Args:
            epoch: of the batch; nothing read for another epoch is ever given.
            batch: its number, 0 to `batches` - 1.
            batches: in the epoch.
        """
        wanted = [(epoch, b) for b in range(batch, min(batch + 1 + 2 * self.threads, batches))]
        with self._lock:
            for key in [key for key in self._ahead if key not in wanted]:
                self._ahead.pop(key).cancel()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="clipzoo-read-ahead")
            for key in wanted:
                if key not in self._ahead:
                    self._ahead[key] = self._pool.submit(self._read, *key)
            future = self._ahead.pop((epoch, batch))
        return future.result()
