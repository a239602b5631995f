"""Training steps as something that can be timed: from memory, from the disk cache, from videos."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.harness.models import CLASSES, model_input, random_clips, with_time_distributed
from benchmarks.harness.runners import Round, Runner, keras_device
from loaders.lists import index_folder

if TYPE_CHECKING:
    from zoo.recipe import Precision

Source = Literal["memory", "disk cache", "videos"]
Time = Literal["folded", "TimeDistributed"]
PRECISIONS: dict[str, Precision] = {"float32": "float32", "mixed bfloat16": "mixed_bfloat16"}
CPU_STEPS, HEAVY_CPU_STEPS, GPU_STEPS = 5, 2, 32


@dataclass(frozen=True, kw_only=True)
class TrainingVariant:
    """One way to train.

    Attributes:
        time: `folded` into the batch by FrameWise, or Keras's TimeDistributed.
        precision: `float32` or `mixed bfloat16`.
        source: where clips come from: an array in memory, which shows what the step alone costs; the loader, from its
            disk cache; or the loader, from video files, decoded anew in each epoch.
    """

    time: Time = "folded"
    precision: str = "float32"
    source: Source = "memory"

    @property
    def settings(self) -> dict[str, str]:
        return {"time": self.time, "precision": self.precision, "clips": self.source}


WAYS = (
    TrainingVariant(),
    TrainingVariant(time="TimeDistributed"),
    TrainingVariant(precision="mixed bfloat16"),
    TrainingVariant(source="disk cache"),
    TrainingVariant(source="videos"),
)
GPU_WAYS = (
    *WAYS,
    TrainingVariant(precision="mixed bfloat16", source="disk cache"),
    TrainingVariant(precision="mixed bfloat16", source="videos"),
)


class TrainingRunner(Runner):
    """Training steps of a model, by `model.fit` as `zoo.training.fit` calls it. A turn is an epoch of some steps.

    The first step of an epoch does not count: nothing has been read ahead for it, and in an epoch of common length it
    would not matter. Facts are `data_wait`, the share of the time spent waiting for clips; `compile_seconds`; and, on
    JAX, `compilations`, how often XLA compiled anything after the first epoch.

    Args:
        model: name in the zoo.
        options: of `create_model`.
        way: how to train.
        videos: a folder of clips, for `source` other than memory.
        workers: threads that read clips.
        steps: of an epoch, at least 2.
        gpu: whether the backend must be on a GPU.
    """

    def __init__(
        self,
        *,
        model: str,
        options: dict[str, Any],
        way: TrainingVariant,
        videos: Path | None,
        workers: int,
        steps: int = CPU_STEPS,
        gpu: bool = False,
    ) -> None:
        super().__init__()
        import keras

        from zoo.recipe import Recipe
        from zoo.registry import create_model
        from zoo.training import compile_model

        self.facts["keras_device"] = keras_device(gpu=gpu)
        keras.utils.set_random_seed(0)
        self.way, self.videos, self.workers = way, videos, workers
        labels = list(map(str, range(CLASSES)))
        if videos is not None and way.source != "memory":
            self.index = index_folder(videos)
            labels = list(self.index.labels)
        self.model = create_model(model, classes=labels, **options)
        if way.time == "TimeDistributed":
            self.model = with_time_distributed(self.model)
        compile_model(self.model, Recipe(precision=PRECISIONS[way.precision]))
        self.steps = steps
        self._folder = tempfile.TemporaryDirectory(prefix="clipzoo-cache-")
        self._waits: list[float] = []
        self._compilations = _count_compilations()

    def prepare(self, batch: int) -> Round:
        from zoo.prefetching import PrefetchingDataset, WaitingTimer

        self._feed = PrefetchingDataset(self._dataset(batch))
        self._clock = WaitingTimer(self._feed)
        self._epochs = 0
        return self._epoch

    def start(self, batch: int) -> float:
        self._round = self.prepare(batch)
        begun = time.perf_counter()
        seconds = self._epoch()
        self.facts["first_run_seconds"] = time.perf_counter() - begun
        if self._compilations is not None:
            self._compilations.clear()
        self.facts["compile_seconds"] = max(0.0, self.facts["first_run_seconds"] - seconds * self.steps)
        return seconds

    def turn(self, seconds: float) -> list[float]:
        samples: list[float] = []
        begun = time.perf_counter()
        while not samples or time.perf_counter() - begun < seconds:
            samples.append(self._epoch())
            self._waits.append(self._clock.wait(skip=1))
        self.facts["data_wait"] = float(np.median(self._waits))
        if self._compilations is not None:
            self.facts["compilations"] = len(self._compilations)
        return samples

    def _epoch(self) -> float:
        """Seconds of a step, on average over an epoch."""
        self.model.fit(
            self._feed,
            initial_epoch=self._epochs,
            epochs=self._epochs + 1,
            shuffle=False,
            verbose=0,
            callbacks=[self._clock],
        )
        self._epochs += 1
        seconds = self._clock.seconds(skip=1)
        # Keras tells of steps from threads: of so few on a busy machine it may tell all at once.
        return seconds / (self.steps - 1) if seconds > 0 else self._clock.seconds() / self.steps

    def _dataset(self, batch: int) -> Any:
        from zoo.contract import specs

        if self.way.source == "memory":
            return _in_memory(self.model, batch, self.steps)
        from loaders.dataset import ClipDataset

        count = self.steps * batch  # clips evenly over the folder, some of them again where it has too few
        every = [self.index[i * len(self.index) // count] for i in range(count)]
        index = replace(self.index, clips=tuple(every))
        cache = self._folder.name if self.way.source == "disk cache" else None
        dataset = ClipDataset(
            index, specs(self.model), batch_size=batch, shuffle=True, workers=self.workers, cache=cache
        )
        return dataset


def _in_memory(model: Any, batch: int, steps: int) -> Any:
    """The same batch again and again."""
    import keras

    from zoo.contract import labels, specs

    given = model_input(random_clips(specs(model), batch))
    targets = np.eye(len(labels(model)), dtype=np.float32)[np.arange(batch) % len(labels(model))]

    class InMemory(keras.utils.PyDataset):
        @property
        def num_batches(self) -> int:
            return steps

        def __getitem__(self, _: int) -> Any:
            return given, targets

    return InMemory()


def _count_compilations() -> list[str] | None:
    """A list that grows by one whenever XLA compiles something, on JAX; None on TensorFlow."""
    import keras

    if keras.config.backend() != "jax":
        return None
    import jax

    seen: list[str] = []

    def note(event: str, _: float, **__: Any) -> None:
        if event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    return seen
