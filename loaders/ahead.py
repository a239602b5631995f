"""What threads read ahead of the model, every item once and in order on both backends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
Item = TypeVar("Item")


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


def read_side_by_side(sources: Iterator[Iterator[Item]], *, threads: int, room: int) -> Iterator[Item]:
    """The items of all sources, in order, each source read by one thread at a time, and several side by side.

    A source stops when it is `room` items ahead, and gives its thread to others; none waits for its reader in a thread.

    Args:
        sources: what to read, each begun when its turn comes near.
        threads: how many, up to two sources each ahead of the one that is given.
        room: items that are read ahead of each, >= 1.
    """

    def read(source: Iterator[Item]) -> list[Item]:
        return list(islice(source, room))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="clipzoo-side-by-side")
    try:
        begun: deque[tuple[Iterator[Item], Future[list[Item]]]] = deque()
        while True:
            for source in islice(sources, 1 + 2 * threads - len(begun)):
                begun.append((source, pool.submit(read, source)))
            if not begun:
                return
            source, reading = begun.popleft()
            items = reading.result()
            if len(items) == room:
                begun.appendleft((source, pool.submit(read, source)))
            yield from items
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
