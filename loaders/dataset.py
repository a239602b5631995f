"""ClipDataset: an index, specs and an augmentation become batches for `model.fit`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from loaders.ahead import ReadAhead
from loaders.augment import Augmentation
from loaders.cache import MEMORY_BYTES, Cache, DiskCache, MemoryCache
from loaders.check import choice, number, whole
from loaders.clip import read_inputs
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.spec import ClipSpec
from loaders.split import SPLITS, Split

Inputs = np.ndarray | dict[str, np.ndarray]
Batch = tuple[Inputs, np.ndarray] | tuple[Inputs]


class ClipDataset(keras.utils.PyDataset):
    """Batches of clips and labels, read by threads while the model works.

    `dataset[i]` is `(clips, labels)`: uint8 (B, frames, height, width, channels), and float32 (B, labels), one-hot,
    several-hot or numbers as the index's task says; `(clips,)` where the index has no labels. With a dict of several
    specs, `clips` is a dict of such arrays, read in one pass over the file. The last batch may be smaller; none is
    dropped. What a batch holds depends on (seed, epoch, position) alone, never on the number of workers.

    The threads are its own, and Keras sees one worker: see ReadAhead for why. There are no processes: decoding leaves
    Python's lock, and two threads read twice as fast as one (`python -m benchmarks.loading`).

    Keras calls `on_epoch_end` once before the first epoch of `fit`, and reads batches that it throws away. So a plain
    `fit` may begin at epoch 1; `zoo.training.fit` sets `epoch` itself, and is the same on both backends.

    Args:
        index: the clips.
        spec: what to read of each: `zoo.specs(model)`, one ClipSpec, or a dict by input name.
        batch_size: B, >= 1.
        shuffle: a new order of the samples each epoch, from (seed, epoch).
        augmentation: one draw a clip, from (seed, epoch, position of the clip in the index).
        split: `train` draws the places of dense and segment samplings; left out, `train` with
            shuffle or augmentation, else `test`.
        mixup: alpha of Beta(alpha, alpha) by which each clip and its label are mixed with another of the batch (Zhang
            et al., ICLR 2018); 0 for none. For pixels, not for flow.
        cache: `memory`, the folder of a disk cache, or any Cache; what is decoded is kept there.
        cache_bytes: limit of `memory`.
        seed: of order, places, augmentation and mixup.
        workers: threads that read batches side by side, up to two batches each ahead of the model.

    Raises:
        ClipzooError: an empty index, or an argument out of range. Reading raises VideoError, which names the file;
            `index.readable()` leaves broken files out beforehand. A batch never shrinks silently.
    """

    def __init__(
        self,
        index: ClipIndex,
        spec: ClipSpec | Mapping[str, ClipSpec],
        *,
        batch_size: int = 16,
        shuffle: bool = False,
        augmentation: Augmentation | None = None,
        split: Split | None = None,
        mixup: float = 0.0,
        cache: Literal["memory"] | str | Path | Cache | None = None,
        cache_bytes: int = MEMORY_BYTES,
        seed: int = 0,
        workers: int = 2,
        use_multiprocessing: bool = False,
    ) -> None:
        if use_multiprocessing:
            raise ClipzooError(
                "ClipDataset reads in threads: Keras forks its processes, which hangs under JAX (keras#20619) and with "
                "OpenCV's threads (opencv#5150); leave use_multiprocessing out and give workers=N"
            )
        whole("ClipDataset batch_size", batch_size)
        whole("ClipDataset workers", workers)
        whole("ClipDataset seed", seed, least=0)
        number("ClipDataset mixup", mixup, least=0)
        if len(index) == 0:
            raise ClipzooError(f"{index.root}: no clips to read")
        if split is not None:
            choice("ClipDataset split", split, SPLITS)
        super().__init__(workers=1, use_multiprocessing=False)
        self.specs = {"": spec} if isinstance(spec, ClipSpec) else dict(spec) if isinstance(spec, Mapping) else {}
        if not self.specs or not all(isinstance(each, ClipSpec) for each in self.specs.values()):
            raise ClipzooError(f"ClipDataset needs a ClipSpec, or a dict of them by input name, not {spec!r}")
        moving = [s.modality for s in self.specs.values() if s.modality in ("flow", "flow_hsv")]
        if mixup and (moving or not index.labeled):
            raise ClipzooError(f"ClipDataset mixup ({mixup}) is for labeled clips of pixels, not for flow")
        self.index = index
        self._labeled = index.labeled
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.split: Split = split or ("train" if shuffle or augmentation else "test")
        self.mixup = mixup
        self.cache: Cache | None = (
            MemoryCache(cache_bytes)
            if cache == "memory"
            else DiskCache(cache)
            if isinstance(cache, str | Path)
            else cache
        )
        self.seed = int(seed)  # of NumPy's own integers JSON knows nothing
        self.resumed = False  # whether this epoch was begun by `resume`
        self._epoch = 0
        self._skip = 0  # batches of this epoch that were trained on before
        self._hosts = (0, 1)
        self._order: tuple[int, np.ndarray] | None = None
        self._workers = workers
        self._ahead = ReadAhead(self._read, workers)

    def __len__(self) -> int:
        return self._batches() - self._skip

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch, for Keras, which asks once for all epochs; `len` is what is left of this one."""
        return self._batches()

    @property
    def epoch(self) -> int:
        """The epoch that is read; another one begins at its first batch."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._skip, self.resumed = epoch, 0, False

    def __getitem__(self, batch: int) -> Batch:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)}")
        return self._ahead.get(self.epoch, batch + self._skip, self._batches())

    def read_now(self, batch: int) -> Batch:
        """A batch of this epoch as `dataset[batch]` gives it, read now, and nothing read ahead behind it."""
        return self._read(self.epoch, batch + self._skip)

    def __iter__(self) -> Iterator[Batch]:
        """The batches that are left of this epoch; then the next epoch begins."""
        for batch in range(len(self)):
            yield self[batch]
        self.on_epoch_end()

    def clips(self, batch: int) -> list[Clip]:
        """What stands in a batch, in its order: file, label, split, group, start and end of every sample."""
        return [self.index[position] for position in self._positions(self.epoch, batch + self._skip)]

    def shard(self, host: int, hosts: int) -> ClipDataset:
        """The share of one of several data-parallel hosts.

        All hosts give the same number of batches of the same sizes: where the clips do not come out even, some are
        read by two hosts. Together they cover every clip in every epoch.

        Args:
            host: 0 to hosts - 1.
            hosts: how many, >= 1, at most the number of clips.

        Raises:
            ClipzooError: an argument out of range.
        """
        if not 0 <= host < hosts <= len(self.index):
            raise ClipzooError(f"shard {host} of {hosts} must be 0 <= host < hosts <= {len(self.index)} clips")
        part = copy.copy(self)
        part._hosts, part._order = (host, hosts), None
        part._ahead = ReadAhead(part._read, self._workers)
        return part

    def state(self, batch: int) -> dict[str, Any]:
        """Where training stands, ready for JSON.

        Args:
            batch: batches of this epoch (of `len(dataset)`) that the model has been trained on.
        """
        whole("batch", batch, least=0, most=len(self))
        return {"epoch": self.epoch, "batch": batch + self._skip, **self._identity()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken: the rest of that epoch, then whole ones.

        For loops of one's own, `for batch in dataset`, and for `zoo.training.fit`. Plain `model.fit` begins with a
        whole epoch, since Keras ends one before the first.

        Raises:
            ClipzooError: the state is of other clips, another seed or batch size, or damaged.
        """
        mine = self._identity()
        other = [name for name, value in mine.items() if state.get(name) != value]
        if other:
            raise ClipzooError(
                "the saved state is of another dataset: "
                + ", ".join(f"{name} was {state.get(name)!r}, is {mine[name]!r}" for name in other)
            )
        epoch, batch = state.get("epoch"), state.get("batch")
        if not isinstance(epoch, int) or not isinstance(batch, int) or not 0 <= batch <= self._batches() or epoch < 0:
            raise ClipzooError(f"the saved state is damaged: epoch {epoch!r}, batch {batch!r}")
        whole = batch == self._batches()
        self._epoch, self._skip = (epoch + 1, 0) if whole else (epoch, batch)
        self.resumed = True

    def on_epoch_end(self) -> None:
        """Keras's hook: the next epoch has another order and other draws."""
        self.epoch += 1

    def order(self, epoch: int) -> np.ndarray:
        """Positions in the index in the order of an epoch, int64 (clips,); of this host's share after `shard`."""
        known = self._order  # threads that find another epoch here make their own; the result is the same
        if known is None or known[0] != epoch:
            positions = np.arange(len(self.index))
            if self.shuffle:
                np.random.default_rng((self.seed, epoch)).shuffle(positions)
            host, hosts = self._hosts
            # Around the end to the beginning, until all hosts have as many.
            share = np.resize(positions, -(-len(positions) // hosts) * hosts)[host::hosts]
            known = self._order = (epoch, share)
        return known[1]

    def _batches(self) -> int:
        return -(-len(self.order(self.epoch)) // self.batch_size)

    def _positions(self, epoch: int, batch: int) -> np.ndarray:
        return self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _read(self, epoch: int, batch: int) -> Batch:
        chosen = self._positions(epoch, batch)
        clips: dict[str, np.ndarray] = {}
        for row, position in enumerate(chosen):
            clip = self.index[position]
            inputs = read_inputs(
                self.index.root / clip.file,
                self.specs,
                span=clip.span,
                split=self.split,
                rng=np.random.default_rng((self.seed, epoch, int(position))),
                augmentation=self.augmentation,
                cache=self.cache,
            )
            for name, pixels in inputs.items():
                clips.setdefault(name, np.empty((len(chosen), *self.specs[name].shape), np.uint8))[row] = pixels
        labels = self.index.encode(chosen) if self._labeled else None
        if self.mixup and labels is not None:
            rng = np.random.default_rng((self.seed, epoch, batch, *b"mixup"))
            *pixels_of_each, labels = mixed([*clips.values(), labels], alpha=self.mixup, rng=rng)
            clips = dict(zip(clips, pixels_of_each, strict=True))
        given: Inputs = next(iter(clips.values())) if len(clips) == 1 else clips
        return (given,) if labels is None else (given, labels)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a saved state to mean anything."""
        listed = hashlib.sha256("\n".join(f"{c.file} {c.span}" for c in self.index).encode("utf-8", "replace"))
        return {
            "clips": listed.hexdigest()[:16],
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "hosts": list(self._hosts),
        }


def mixed(arrays: Sequence[np.ndarray], *, alpha: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Mixup (arXiv 1710.09412): each row of a batch with another of it, in all arrays alike.

    Args:
        arrays: clips, features or labels, (B, ...) each.
        alpha: of Beta(alpha, alpha), which the share of the own row is drawn from; > 0.
        rng: which draws partners and shares.

    Returns:
        As many arrays, uint8 where they were, else float32.
    """
    rows = len(arrays[0])
    partners, share = rng.permutation(rows), rng.beta(alpha, alpha, rows).astype(np.float32)

    def mix(values: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (values.ndim - 1))
        found = part * values + (1 - part) * values[partners]
        return np.rint(found).astype(np.uint8) if values.dtype == np.uint8 else found

    return [mix(values) for values in arrays]
