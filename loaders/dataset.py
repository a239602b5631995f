"""ClipDataset: an index, specs and an augmentation become batches for `model.fit`."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from loaders.ahead import ReadAhead
from loaders.augment import Augmentation
from loaders.clip import read_clip
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.spec import ClipSpec

Inputs = np.ndarray | dict[str, np.ndarray]


class ClipDataset(keras.utils.PyDataset):
    """Batches of clips and one-hot labels, read by threads while the model works.

    `dataset[i]` is `(clips, labels)`: uint8 (B, frames, height, width, channels), and float32 (B, classes). With a
    dict of specs, `clips` is a dict of such arrays. The last batch may be smaller; none is dropped. What a batch
    holds depends on (seed, epoch, position) alone, never on the number of workers.

    The threads are its own, and Keras sees one worker: see ReadAhead for why.

    Keras calls `on_epoch_end` once before the first epoch of `fit`, and reads batches that it throws away. So a plain
    `fit` may begin at epoch 1; `zoo.training.fit` sets `epoch` itself, and is the same on both backends.

    Args:
        index: the clips.
        spec: what to read of each: `zoo.specs(model)`, one ClipSpec, or a dict by input name.
        batch_size: B, >= 1.
        shuffle: a new order of the samples each epoch, from (seed, epoch).
        augmentation: one draw a clip, from (seed, epoch, position of the clip in the index).
        seed: of order and augmentation.
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
        seed: int = 0,
        workers: int = 2,
        use_multiprocessing: bool = False,
    ) -> None:
        if use_multiprocessing:
            raise ClipzooError(
                "ClipDataset reads in threads: Keras forks its processes, which hangs under JAX (keras#20619) and with "
                "OpenCV's threads (opencv#5150); leave use_multiprocessing out and give workers=N"
            )
        if batch_size < 1 or workers < 1:
            raise ClipzooError(f"ClipDataset batch_size ({batch_size}) and workers ({workers}) must be >= 1")
        if len(index) == 0:
            raise ClipzooError(f"{index.root}: no clips to read")
        super().__init__(workers=1, use_multiprocessing=False)
        specs = {"": spec} if isinstance(spec, ClipSpec) else dict(spec)
        if not specs:
            raise ClipzooError("ClipDataset needs at least one ClipSpec")
        self.index = index
        self.specs = specs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0
        self._targets = np.asarray(index.targets)
        self._order: tuple[int, np.ndarray] | None = None
        self._ahead = ReadAhead(self._read, workers)

    def __len__(self) -> int:
        return -(-len(self.index) // self.batch_size)

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return len(self)

    def __getitem__(self, batch: int) -> tuple[Inputs, np.ndarray]:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)}")
        return self._ahead.get(self.epoch, batch, len(self))

    def _read(self, epoch: int, batch: int) -> tuple[Inputs, np.ndarray]:
        chosen = self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        clips = {name: np.empty((len(chosen), *spec.shape), np.uint8) for name, spec in self.specs.items()}
        for row, position in enumerate(chosen):
            for name, spec in self.specs.items():
                clips[name][row] = read_clip(
                    self.index.path(position),
                    spec,
                    augmentation=self.augmentation,
                    # The same draw for every input of the clip.
                    rng=np.random.default_rng((self.seed, epoch, int(position))),
                )
        labels = np.zeros((len(chosen), len(self.index.labels)), np.float32)
        labels[np.arange(len(chosen)), self._targets[chosen]] = 1
        return (next(iter(clips.values())) if len(clips) == 1 else clips), labels

    def order(self, epoch: int) -> np.ndarray:
        """Positions in the index in the order of an epoch, int64 (clips,)."""
        known = self._order  # threads that find another epoch here make their own; the result is the same
        if known is None or known[0] != epoch:
            positions = np.arange(len(self.index))
            if self.shuffle:
                np.random.default_rng((self.seed, epoch)).shuffle(positions)
            known = self._order = (epoch, positions)
        return known[1]

    def on_epoch_end(self) -> None:
        """Keras's hook: the next epoch has another order and other draws."""
        self.epoch += 1
