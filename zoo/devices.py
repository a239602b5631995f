"""One training on several devices: each computes its share of every batch, and the result is that of one device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from loaders.check import whole
from loaders.errors import ClipzooError
from zoo.hosts import host_rank, require_alike

Devices = int | Literal["all"]


@dataclass(frozen=True, kw_only=True)
class DeviceLayout:
    """What a training is spread over.

    Attributes:
        devices: of this host, >= 1.
        host: the number of this host, from 0.
        hosts: how many, >= 1; each has as many devices.
    """

    devices: int
    host: int = 0
    hosts: int = 1

    @property
    def line(self) -> str:
        """For people."""
        over = f", host {self.host} of {self.hosts}; host 0 writes the run" if self.hosts > 1 else ""
        return f"devices: {self.devices} of {', '.join(_devices())}{over}"

    def share(self, batch: int) -> int:
        """The clips of a batch that this host reads.

        Raises:
            ClipzooError: the batch does not divide by the hosts.
        """
        if batch % self.hosts:
            raise ClipzooError(
                f"recipe.batch {batch} does not divide by {self.hosts} hosts: give "
                f"--set recipe.batch={-(-batch // self.hosts) * self.hosts}"
            )
        return batch // self.hosts

    def waste(self, batch: int) -> str | None:
        """What to say of a batch that does not divide by the devices."""
        each = self.share(batch)
        filled = -(-each // self.devices) * self.devices
        if filled == each:
            return None
        return (
            f"note: {each} clips do not divide by {self.devices} devices: each batch is filled up to {filled} with "
            f"clips that count nothing; recipe.batch={filled * self.hosts} takes no longer"
        )


@contextmanager
def spread_over(devices: Devices | None) -> Iterator[DeviceLayout | None]:
    """Models that are made inside train on several devices: by `keras.distribution.DataParallel` on JAX, by
    `tf.distribute.MirroredStrategy` on TensorFlow.

    Args:
        devices: how many of each host, or `all`; the first ones. None: one; after `zoo.hosts.join`, all of each.

    Yields:
        What it is spread over; None for one device, where nothing differs from a training without this.

    Raises:
        ClipzooError: there are not so many.
    """
    host, hosts = host_rank()
    there = _devices()
    if devices is None:
        devices = len(there) if hosts > 1 else 1
    elif devices != "all":
        whole("devices", devices)
    count = len(there) if devices == "all" else devices
    if count > len(there):
        more = (
            "; XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of a CPU, for tests"
            if keras.config.backend() == "jax" and there[0].startswith("cpu")
            else ""
        )
        raise ClipzooError(
            f"devices is {count}, and there {'is' if len(there) == 1 else 'are'} {len(there)}: {', '.join(there)}; "
            f"give fewer, or 'all'{more}"
        )
    if count == 1 and hosts == 1:
        yield None
        return
    if hosts > 1:
        require_alike({"numbers of devices": count})
    with _scope(count):
        yield DeviceLayout(devices=count, host=host, hosts=hosts)


def current_layout() -> DeviceLayout | None:
    """What models are spread over that are made now; None: one device."""
    if keras.config.backend() == "jax":
        distribution = keras.distribution.distribution()
        if distribution is None:
            return None
        host, hosts = host_rank()
        return DeviceLayout(devices=distribution.device_mesh.devices.size // hosts, host=host, hosts=hosts)
    tf = sys.modules.get("tensorflow")
    if tf is None or not tf.distribute.has_strategy():
        return None
    return DeviceLayout(devices=tf.distribute.get_strategy().num_replicas_in_sync)


def copy_on_one_device(model: keras.Model) -> keras.Model:
    """A copy of a model that computes on this host's first device alone, for what all devices would do alike.

    On TensorFlow, which gives no way out of a strategy, it is the model itself.
    """
    if keras.config.backend() != "jax" or current_layout() is None:
        return model
    with _nowhere():
        copy = keras.models.clone_model(model)
        copy.set_weights([keras.ops.convert_to_numpy(weight) for weight in model.weights])
        return copy


def on_each(call: Callable[[], Any]) -> None:
    """Calls where metrics may be added to: on TensorFlow that is on each device."""
    if keras.config.backend() == "tensorflow" and current_layout() is not None:
        sys.modules["tensorflow"].distribute.get_strategy().run(call)
    else:
        call()


def over_devices(value: Any) -> Any:
    """The mean of a number over the devices, in the midst of a step; JAX computes for all of them at once anyway."""
    if keras.config.backend() == "tensorflow":
        distribute = sys.modules["tensorflow"].distribute
        replica = distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:  # none while Keras looks for shapes
            return replica.all_reduce(distribute.ReduceOp.MEAN, value)
    return value


class BatchPadder:
    """Fills batches up to what divides by the devices, with clips of weight 0, and gives the others such weights that
    the loss is the mean over the clips that count.

    Keras divides the loss by the length of a batch, and that of each device by the length of its part: where the
    parts are equally long, the gradient is the one of a single device.

    Args:
        spread: over which devices.
        dataset: that is read; where it is a share of several hosts', it has `index` and `batch_size`.
        class_weight: how much a clip of each class counts.
    """

    def __init__(self, spread: DeviceLayout, dataset: Any, class_weight: Mapping[int, float] | None = None) -> None:
        self.spread = spread
        self.weights = (
            np.array([class_weight[n] for n in range(len(class_weight))], np.float32) if class_weight else None
        )
        self.clips = len(dataset.index) if spread.hosts > 1 and hasattr(dataset, "index") else None
        self.batch = int(getattr(dataset, "batch_size", 0))

    def __call__(self, item: Any, batch: int) -> tuple[Any, np.ndarray, np.ndarray]:
        """(clips, labels) -> (clips, labels, weights), of which the last is float32 (B,).

        Args:
            item: a batch of this host.
            batch: its number in the epoch.
        """
        if len(item) != 2:
            raise ClipzooError("several devices take batches of (clips, labels), without weights of samples")
        clips, labels = item
        rows, hosts = len(labels), self.spread.hosts
        filled = -(-rows // self.spread.devices) * self.spread.devices
        # `ClipDataset.shard` deals the clips of an epoch to the hosts in turn, around the end to the beginning.
        counts, together = np.ones(rows, bool), rows * hosts
        if self.clips is not None:
            counts = (batch * self.batch + np.arange(rows)) * hosts + self.spread.host < self.clips
            together = min(together, self.clips - batch * self.batch * hosts)
        weights = np.zeros(filled, np.float32)
        weights[:rows] = counts * (filled * hosts / together)
        if self.weights is not None:
            weights[:rows] *= self.weights[np.argmax(labels, axis=-1)]
        if filled > rows:
            take = np.arange(filled) % rows
            clips, labels = keras.tree.map_structure(lambda array: np.asarray(array)[take], clips), labels[take]
        return clips, labels, weights


def _devices() -> list[str]:
    """The devices of this host."""
    if keras.config.backend() == "jax":
        import jax

        return [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    return list(keras.distribution.list_devices())


@contextmanager
def _scope(count: int) -> Iterator[None]:
    if keras.config.backend() == "jax":
        import jax

        taken = [each for host in range(jax.process_count()) for each in jax.local_devices(process_index=host)[:count]]
        # Each host reads its own share: Keras could not share out a PyDataset (keras#21430).
        mesh = keras.distribution.DeviceMesh((len(taken),), ["batch"], [f"{each.platform}:{each.id}" for each in taken])
        with keras.distribution.DataParallel(device_mesh=mesh, auto_shard_dataset=False).scope():
            yield
    else:
        import tensorflow as tf

        taken = _devices()[:count]
        # TensorFlow's collectives of a CPU know one number of devices in the life of a process.
        reduce = tf.distribute.ReductionToOneDevice() if taken[0].startswith("cpu") else None
        with tf.distribute.MirroredStrategy(taken, cross_device_ops=reduce).scope():
            yield


@contextmanager
def _nowhere() -> Iterator[None]:
    there = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(there)


def outside_layout() -> AbstractContextManager[None]:
    """A context in which what is made is of this host's first device alone, and asks no other host."""
    return _nowhere() if keras.config.backend() == "jax" and current_layout() is not None else nullcontext()
