"""How a model learns: the recipe, and `fit`, which takes any PyDataset."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import keras

from loaders.atomic import replacing, write_text
from loaders.errors import ClipzooError
from loaders.tasks import TASKS, task_kind
from zoo.contract import labels, task
from zoo.feed import Clock, Feed
from zoo.pictures import draw_curves
from zoo.precision import Precision, check_precision, set_precision
from zoo.run import Run
from zoo.sgd import CaffeSGD, MeanClassAccuracy

RATES = {"adam": 1e-3, "sgd": 1e-2, "caffe": 1e-2}
History = list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the training clips, >= 1.
        optimizer: `adam`; `sgd` with Nesterov momentum 0.9; or `caffe`: `zoo.sgd.CaffeSGD` with momentum 0.9.
        learning_rate: at the start, > 0; None: 1e-3 for adam, 1e-2 for the others.
        patience: epochs without a better value of `monitor` after which the learning rate falls.
        factor: what it is multiplied by then, between 0 and 1.
        monitor: what decides on the best model and on the learning rate, on the validation clips (on the training
            clips where there are none): `loss`, or `class_accuracy`, the mean of the per-class accuracies.
        l2: of `caffe`: share of each kernel that is added to its gradient.
        clip_norm: what the norm of all gradients together is cut to: of the mean over the accumulated batches, or, for
            `caffe`, of their sum, as Caffe does it. None: they are not cut.
        accumulate: batches whose gradients make one step.
        precision: `float32`; `mixed_bfloat16`: what is done to every frame is done in bfloat16 (`set_precision`); None:
            what the model's layers have, which is float32 unless they were made otherwise.
        seed: of order, augmentation and dropout.
    """

    epochs: int = 30
    optimizer: Literal["adam", "sgd", "caffe"] = "adam"
    learning_rate: float | None = None
    patience: int = 4
    factor: float = 0.5
    monitor: Literal["loss", "class_accuracy"] = "loss"
    l2: float = 5e-4
    clip_norm: float | None = None
    accumulate: int = 1
    precision: Precision | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in RATES:
            raise ClipzooError(f"optimizer ({self.optimizer!r}) must be one of {', '.join(RATES)}")
        if self.monitor not in ("loss", "class_accuracy"):
            raise ClipzooError(f"monitor ({self.monitor!r}) must be loss or class_accuracy")
        if not self.l2 >= 0 or self.accumulate < 1 or (self.clip_norm is not None and not self.clip_norm > 0):
            raise ClipzooError(
                f"l2 ({self.l2}) must be >= 0, accumulate ({self.accumulate}) >= 1, "
                f"clip_norm ({self.clip_norm}) above 0"
            )
        if self.precision is not None:
            check_precision(self.precision)
        if self.epochs < 1 or self.patience < 1:
            raise ClipzooError(f"epochs ({self.epochs}) and patience ({self.patience}) must be >= 1")
        if not 0 < self.factor < 1 or not 0 < self.rate < math.inf:
            raise ClipzooError(f"factor ({self.factor}) must be in (0, 1) and learning_rate ({self.rate}) > 0")

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return self.learning_rate if self.learning_rate is not None else RATES[self.optimizer]

    @classmethod
    def two_stream(cls, modality: str, **changes: Any) -> Recipe:
        """The protocol of arXiv 1711.04161, for batches of 4 clips: 32 make a step of 128.

        Args:
            modality: `flow` begins at a rate of 1e-3, all else at 1e-2.
            changes: other fields.
        """
        paper: dict[str, Any] = {
            "optimizer": "caffe",
            "learning_rate": 1e-3 if modality == "flow" else 1e-2,
            "factor": 0.1,
            "monitor": "class_accuracy",
            "clip_norm": 40.0,
            "accumulate": 32,
        }
        return cls(**{**paper, **changes})

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """A fresh optimizer, as the fields say."""
        norm = self.clip_norm
        if norm is not None and self.optimizer == "caffe":
            norm /= self.accumulate  # Caffe cuts the sum of the batches' gradients, Keras their mean
        more: dict[str, Any] = {"global_clipnorm": norm}
        if self.accumulate > 1:
            more["gradient_accumulation_steps"] = self.accumulate
        if self.optimizer == "adam":
            return keras.optimizers.Adam(self.rate, **more)
        if self.optimizer == "sgd":
            return keras.optimizers.SGD(self.rate, momentum=0.9, nesterov=True, **more)
        return CaffeSGD(self.rate, 0.9, l2=self.l2, **more)


def compile_model(model: keras.Model, recipe: Recipe) -> None:
    """Gives a model the optimizer and the precision of the recipe, and loss and metrics of its task.

    Raises:
        ClipzooError: the recipe watches what the task does not have.
    """
    kind = task_kind(task(model))
    metric = keras.metrics.BinaryAccuracy(name=kind.metric) if kind is TASKS["multilabel"] else kind.metric
    metrics = [metric, *([MeanClassAccuracy(len(labels(model)))] if kind is TASKS["classification"] else [])]
    if recipe.monitor == "class_accuracy" and kind is not TASKS["classification"]:
        raise ClipzooError(f"monitor 'class_accuracy' is for one class a clip, not for {task(model)}")
    if recipe.precision is not None:
        set_precision(model, recipe.precision)
    model.compile(optimizer=recipe.make_optimizer(), loss=kind.loss, metrics=metrics)


def fit(
    model: keras.Model,
    train: keras.utils.PyDataset,
    validation: keras.utils.PyDataset | None = None,
    *,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    class_weight: Mapping[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> History:
    """Compiles and trains a model of the zoo.

    Args:
        model: from `create_model` or `load_model`. It goes on computing in the recipe's precision; what `load_model`
            reads back of `out` computes in float32.
        train: batches of (clips, labels); a ClipDataset, or any other PyDataset. Where it has an attribute `epoch`,
            that is set to 0, 1, ... before each epoch; where it has none, its `on_epoch_end` is called between epochs.
            A ClipDataset that was resumed goes on from there. More than one worker are threads, never processes, and
            never Keras's queue (ReadAhead).
        validation: likewise, never shuffled; it decides on the best model and on the learning rate.
        recipe: how to train.
        out: a folder for `model.keras` (best), `last.keras`, `history.csv` and `curves.png`, written after each epoch.
        class_weight: how much a clip of each class counts, such as `index.class_weights()`; classification alone.
        callbacks: more of them, called last; `logs` holds all figures of the epoch.

    Returns:
        A row of figures for each epoch: loss, val_loss, the task's metric (accuracy, which is top-1 from 0 to 1;
        label_accuracy; or mean_absolute_error) and that of validation, class_accuracy (classification), learning_rate,
        seconds, data_wait, the share of the training time in which the model waited for clips, and best, 1 where the
        epoch was the best so far.

    Raises:
        ClipzooError: the datasets' labels are not those of the model, or the loss is no number any more.
        VideoError: a clip cannot be read.
    """
    recipe = recipe or Recipe()
    for dataset in (train, validation):
        index = getattr(dataset, "index", None)
        if index is not None and not index.labelled:
            raise ClipzooError(f"{index.root}: some clips have no label; a model cannot learn from them")
        if index is not None and index.task != task(model):
            raise ClipzooError(f"the clips are labelled for {index.task}, the model is for {task(model)}")
        if index is not None and tuple(index.labels) != labels(model):
            raise ClipzooError(
                f"the labels do not fit the model: the clips have {', '.join(index.labels)}; "
                f"the model has {', '.join(labels(model))}"
            )
    keras.utils.set_random_seed(recipe.seed)
    compile_model(model, recipe)
    feed = Feed(train)
    monitor = f"val_{recipe.monitor}" if validation is not None else recipe.monitor
    mode = "min" if recipe.monitor == "loss" else "max"
    record = _Record(monitor, Run(Path(out)) if out is not None else None)
    every: list[keras.callbacks.Callback] = [
        Clock(feed),
        keras.callbacks.ReduceLROnPlateau(monitor, mode=mode, factor=recipe.factor, patience=recipe.patience),
        record,
        *callbacks,
    ]
    # Keras asks once how many batches an epoch has: the rest of a resumed one is a run of its own.
    ends = [0, 1, recipe.epochs] if feed.resumed and recipe.epochs > 1 else [0, recipe.epochs]
    for begin, end in pairwise(ends):
        model.fit(
            feed,
            validation_data=validation,
            initial_epoch=begin,
            epochs=end,
            class_weight=dict(class_weight) if class_weight else None,
            shuffle=False,  # Keras would permute batches; the dataset permutes samples
            verbose=0,
            callbacks=every,
        )
    return record.history


class _Record(keras.callbacks.Callback):
    """Keeps the figures; writes best and last model, CSV and curves after each epoch, each file whole or not at all."""

    def __init__(self, monitor: str, run: Run | None) -> None:
        super().__init__()
        self.monitor = monitor
        self.run = run
        self.history: History = []
        self.best = math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        if not math.isfinite(logs["loss"]):
            raise ClipzooError(
                f"the loss is {logs['loss']} in epoch {epoch + 1}: a smaller learning rate, or broken weights? "
                "The best model so far is kept"
            )
        value = -logs[self.monitor] if self.monitor.endswith("accuracy") else logs[self.monitor]
        better = value < self.best
        self.best = min(self.best, value)
        logs["best"] = float(better)  # later callbacks see it
        self.history.append({"epoch": float(epoch), **{name: float(value) for name, value in logs.items()}})
        if self.run is None:
            return
        if better:
            self._save(self.run.model)
        self._save(self.run.last)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in self.history)
        write_text(self.run.history, text.getvalue())
        draw_curves(self.history, self.run.curves)

    def _save(self, path: Path) -> None:
        with replacing(path) as partial:
            self.model.save(partial)
