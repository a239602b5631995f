"""What the frozen part of a model gives for clips: computed once, kept on disk, trained on in its place."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from loaders.ahead import ReadAhead
from loaders.augment import Augmentation
from loaders.cache import MEMORY_BYTES, Cache, DiskCache, Entry, MemoryCache, entry_key
from loaders.clip import read_inputs
from loaders.dataset import mixed
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.sampling import is_random
from loaders.spec import ClipSpec
from loaders.split import Split

Features = np.ndarray | list[np.ndarray]


class _Wanted(NamedTuple):
    """One draw of one clip."""

    clip: Clip
    draw: int
    key: str


class FeatureDataset(keras.utils.PyDataset):
    """Batches of features and labels, for what trains behind a frozen network.

    `dataset[i]` is `(features, labels)`: what `frozen` gives, float32, and labels as a ClipDataset has them. Features
    are computed when the dataset is made, those that the cache has not. What a batch holds depends on (seed, epoch,
    position) alone.

    Args:
        frozen: uint8 clips -> features; see `zoo.frozen.cut`.
        specs: input name -> ClipSpec of the model.
        index: the clips.
        cache: of features; its entries are named by what is in the file, span, spec, weights and layer of `frozen`,
            draw and augmentation. A folder of clips may be moved or copied.
        batch_size: clips in a batch, >= 1.
        draws: how often each clip is drawn; each epoch takes one of them. 0: once, as a test clip.
        augmentation: of a draw.
        mixup: alpha by which features and labels are mixed (manifold mixup, arXiv 1806.05236, at this layer); 0: not.
        shuffle: a new order each epoch.
        seed: of the order, and of which draw an epoch takes. The draws themselves are of the file alone: another seed
            finds them on the disk.
        workers: threads that read clips.
        say: called with a line of progress now and then.

    Raises:
        VideoError: a clip cannot be read.
    """

    def __init__(
        self,
        frozen: keras.Model,
        specs: Mapping[str, ClipSpec],
        index: ClipIndex,
        *,
        cache: Cache,
        batch_size: int = 16,
        draws: int = 0,
        augmentation: Augmentation | None = None,
        mixup: float = 0.0,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 2,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        super().__init__(workers=1)
        self.index, self.batch_size, self.shuffle, self.seed = index, batch_size, shuffle, seed
        self.mixup = mixup
        self.epoch = 0
        self._hosts = (0, 1)
        split: Split = "train" if draws else "test"
        chance = augmentation is not None or any(is_random(spec, split) for spec in specs.values())
        self.draws = max(1, draws) if chance else 1
        self._targets = index.encode()
        self._one = not isinstance(frozen.output, list)
        self._keys, self._kept = _compute(
            frozen, specs, index, cache, self.draws, augmentation if draws else None, split, workers, say
        )

    @property
    def num_batches(self) -> int:
        return -(-len(self._share(np.arange(len(self.index)))) // self.batch_size)

    def shard(self, host: int, hosts: int) -> FeatureDataset:
        """The share of one of several hosts, as `ClipDataset.shard` deals it out."""
        if not 0 <= host < hosts <= len(self.index):
            raise ClipzooError(f"shard {host} of {hosts} must be 0 <= host < hosts <= {len(self.index)} clips")
        part = copy.copy(self)
        part._hosts = (host, hosts)
        return part

    def _share(self, order: np.ndarray) -> np.ndarray:
        host, hosts = self._hosts
        return np.resize(order, -(-len(order) // hosts) * hosts)[host::hosts]

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, batch: int) -> tuple[Features, np.ndarray]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.index)) if self.shuffle else np.arange(len(self.index))
        draw = rng.integers(self.draws, size=len(self.index))
        chosen = self._share(order)[batch * self.batch_size : (batch + 1) * self.batch_size]
        rows = [self._kept.tensors(self._keys[draw[position]][position]) for position in chosen]
        found, targets = [np.stack(tensors) for tensors in zip(*rows, strict=True)], self._targets[chosen]
        if self.mixup:
            mixing = np.random.default_rng((self.seed, self.epoch, batch, *b"mixup"))
            *found, targets = mixed([*found, targets], alpha=self.mixup, rng=mixing)
        return (found[0] if self._one else found), targets


class _Kept:
    """Features of one training: in memory up to `MEMORY_BYTES`, and what comes after where the cache has it.

    None stays mapped: each mapping holds a file open, and a process may hold 1,024 open, or 256.
    """

    def __init__(self, cache: Cache, shapes: Sequence[tuple[int, ...]]) -> None:
        self._cache, self._shapes = cache, shapes
        self._memory: dict[str, np.ndarray] = {}
        self._used = 0

    def __contains__(self, key: str) -> bool:
        """Whether they are there, now or of an earlier training."""
        if key in self._memory:
            return True
        entry = self._cache.get(key)
        if entry is not None and self._used + entry.array.nbytes <= MEMORY_BYTES:
            self._hold(key, np.array(entry.array))
        return entry is not None

    def add(self, key: str, values: np.ndarray) -> None:
        """Keeps what was computed, in memory too where it has room, or where the cache declines it."""
        self._cache.put(key, Entry(values))
        if self._used + values.nbytes <= MEMORY_BYTES or self._cache.get(key) is None:
            self._hold(key, values)

    def tensors(self, key: str) -> list[np.ndarray]:
        """The tensors whose numbers lie one behind the other; raises ClipzooError where they are gone since."""
        values = self._memory.get(key)
        if values is None:
            entry = self._cache.get(key)
            if entry is None:
                raise ClipzooError("kept features were deleted while they were trained on; run the training again")
            values = entry.array
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), self._shapes, strict=True)]

    def _hold(self, key: str, values: np.ndarray) -> None:
        self._memory[key] = values
        self._used += values.nbytes


def _compute(
    frozen: keras.Model,
    specs: Mapping[str, ClipSpec],
    index: ClipIndex,
    cache: Cache,
    draws: int,
    augmentation: Augmentation | None,
    split: Split,
    workers: int,
    say: Callable[[str], object],
) -> tuple[list[list[str]], _Kept]:
    """Draw -> clip -> key, and the features by their keys, of which those are computed that are not there."""
    if augmentation is not None and augmentation.function is not None:
        cache = MemoryCache()  # the user's own code has no name that tells it from what it was yesterday
    kept = _Kept(cache, [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(frozen.output)])
    way = _way(frozen, augmentation, split)
    names = [_names(index, clip, specs, split) for clip in index]
    wanted = [
        _Wanted(clip, draw, hashlib.sha256(f"{name}{draw}{way}".encode()).hexdigest()[:40])
        for draw in range(draws)
        for clip, name in zip(index, names, strict=True)
    ]
    missing = list({each.key: each for each in wanted if each.key not in kept}.values())
    if missing:
        say(f"features: {len(missing)} of {len(wanted)} to compute, once: {len(index)} clips, {draws} draw(s) of each")

    def read(_: int, place: int) -> dict[str, np.ndarray]:
        clip, draw, _key = missing[place]
        # Of the file alone, not of its place among others: a clip that is added changes no other's features.
        rng = np.random.default_rng(
            (_SEED, draw, int(hashlib.sha256(f"{clip.file}{clip.span}".encode()).hexdigest()[:8], 16))
        )
        return read_inputs(
            index.root / clip.file, specs, span=clip.span, split=split, rng=rng, augmentation=augmentation
        )

    ahead, began, told, done = ReadAhead(read, workers), 0.0, 0.0, 0
    try:
        for start in range(0, len(missing), _TOGETHER):
            places = range(start, min(start + _TOGETHER, len(missing)))
            clips = [ahead.get(0, place, len(missing)) for place in places]
            batch = {name: np.stack([clip[name] for clip in clips]) for name in specs}
            outputs = keras.tree.flatten(
                frozen.predict_on_batch(batch if len(batch) > 1 else next(iter(batch.values())))
            )
            for row, place in enumerate(places):
                values = np.concatenate([np.asarray(output[row], np.float32).ravel() for output in outputs])
                kept.add(missing[place].key, values)
            done, now = places[-1] + 1, time.monotonic()
            if start == 0:
                began = told = now  # the first ones waited for the backend to compile
            elif now - told > _TELL and done < len(missing):
                told = now
                left = (now - began) / (done - _TOGETHER) * (len(missing) - done)
                say(f"features: {done} of {len(missing)}, {left / 60:.1f} min left")
    except KeyboardInterrupt:
        if isinstance(cache, DiskCache):
            say(f"features: {done} of {len(missing)} are kept on disk; the same command goes on from there")
        raise
    keys = [each.key for each in wanted]
    return [keys[draw * len(index) : (draw + 1) * len(index)] for draw in range(draws)], kept


_SEED = 0  # of all draws
# Keras may count names up; initializers and regularizers are for training.
_NO_SETTINGS = (
    "name", "trainable", "shared_object_id", "layer", "layers", "input_layers", "output_layers", "build_config",
)  # fmt: skip
_TOGETHER = 8  # clips that go through the network at once
_TELL = 20.0  # seconds between lines of progress


def _names(index: ClipIndex, clip: Clip, specs: Mapping[str, ClipSpec], split: Split) -> str:
    path = index.root / clip.file
    keys = "".join(entry_key(path, spec, span=clip.span, split=split, by_content=True) for spec in specs.values())
    return keys + (clip.file if split == "train" else "")  # draws are of its name too


def _way(frozen: keras.Model, augmentation: Augmentation | None, split: Split) -> str:
    """What else decides on features: the network with its weights, and how clips are drawn."""
    digest = hashlib.sha256()
    for weight in frozen.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).data)
    # Of the same weights, another scale of pixels or another shift gives other features.
    layers = [
        (type(layer).__name__, layer.name if layer.weights else "", _settings(layer.get_config()))
        for layer in frozen._flatten_layers(include_self=False)
    ]
    return f"{digest.hexdigest()}{layers}{augmentation!r}{split}{_SEED if split == 'train' else ''}"


def _settings(config: Any) -> Any:
    """A layer's settings: but for what changes no feature, and for layers in it, which have settings of their own."""
    if isinstance(config, dict):
        return sorted((key, _settings(value)) for key, value in config.items() if key not in _NO_SETTINGS)
    return [_settings(each) for each in config] if isinstance(config, list | tuple) else config
