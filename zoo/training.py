"""`fit`: any PyDataset trains a model of the zoo, by a recipe. `zoo.learning.train` keeps what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import keras

from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.tasks import TASKS, task_kind
from zoo.contract import labels, scale_answer, task
from zoo.devices import BatchPadder, current_layout, on_each
from zoo.history import EpochHistory, History
from zoo.hosts import said_of
from zoo.layers import ClipInput
from zoo.objectives import MaskedLossMean, MaskedMean, MeanClassAccuracy, ScaledSquaredError
from zoo.precision import set_precision
from zoo.prefetching import CheckedDataset, PrefetchingDataset, WaitingTimer
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from zoo.checkpoint import State


def compile_model(model: keras.Model, recipe: Recipe, *, index: ClipIndex | None = None) -> None:
    """Gives a model the optimizer and the precision of the recipe, and loss and metrics of its task.

    Args:
        model: of the zoo.
        recipe: how it will train.
        index: of the training clips; a model of numbers is scaled to theirs.

    Raises:
        ClipzooError: the recipe watches what the task does not have, or Keras does not take its optimizer.
    """
    kind = task_kind(task(model))
    metric = keras.metrics.BinaryAccuracy(name=kind.metric) if kind is TASKS["multilabel"] else kind.metric
    one_class = kind is TASKS["classification"]
    if recipe.monitor == "class_accuracy" and not one_class:
        raise ClipzooError(f"monitor 'class_accuracy' is for one class a clip, not for {kind.name}")
    if recipe.label_smoothing and not one_class:
        raise ClipzooError(
            f"Recipe label_smoothing ({recipe.label_smoothing}) is for one class a clip, not for {kind.name}"
        )
    loss: Any = kind.loss
    if recipe.label_smoothing:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    if not kind.classes and index is not None:
        loss = ScaledSquaredError(scale_answer(model, index.encode()).tolist())
    if recipe.precision is not None:
        set_precision(model, recipe.precision)
    metrics = [metric, *([MeanClassAccuracy(len(labels(model)))] if one_class else [])]
    if current_layout() is None:
        model.compile(optimizer=recipe.make_optimizer(), loss=loss, metrics=metrics)
        return
    counted = [MaskedLossMean(loss), MaskedMean(_FUNCTIONS[kind.metric], name=kind.metric), *metrics[1:]]
    model.compile(optimizer=recipe.make_optimizer(), loss=loss, weighted_metrics=counted)


_FUNCTIONS = {
    "accuracy": keras.metrics.categorical_accuracy,
    "label_accuracy": keras.metrics.binary_accuracy,
    "mean_absolute_error": keras.metrics.mean_absolute_error,
}


def fit(
    model: keras.Model,
    train: keras.utils.PyDataset,
    validation: keras.utils.PyDataset | None = None,
    *,
    recipe: Recipe | None = None,
    class_weight: Mapping[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    state: State | None = None,
) -> History:
    """Compiles and trains a model of the zoo; it ends with the weights of the last epoch.

    Args:
        model: from `create_model` or `load_model`. It goes on computing in the recipe's precision.
        train: batches of (clips, labels), the clips uint8; a ClipDataset, or any other PyDataset. Where it has an
            attribute `epoch`, that is set to 0, 1, ... before each epoch; where it has none, its `on_epoch_end` is
            called between epochs. A ClipDataset that was resumed goes on from there. More than one worker are threads,
            never processes, and never Keras's queue (ReadAhead). A generator of `loaders.compat` gives its pixels
            unscaled here.
        validation: likewise, never shuffled; it decides on the best epoch and on the learning rate. None: the training
            loss decides on the rate, and every epoch counts as the best so far.
        recipe: how to train; its batch, augmentation, splits, mixup, class weights and refit are for
            `zoo.learning.train`, which makes the datasets.
        class_weight: how much a clip of each class counts, such as `index.class_weights()`; classification alone.
        callbacks: more of them, called last; `logs` holds all figures of the epoch.
        state: of a training of this model that was stopped, to go on from; see `zoo.checkpoint`.

    Returns:
        A row of figures for each epoch: loss, val_loss, the task's metric (accuracy, which is top-1 from 0 to 1;
        label_accuracy; or mean_absolute_error) and that of validation, class_accuracy (classification), learning_rate,
        seconds, clips_per_second, data_wait, the share of the training time in which the model waited for clips, and
        best, 1 where the epoch was the best so far.

    Raises:
        ClipzooError: the datasets' labels are not those of the model, the clips are not uint8, the loss of training or
            validation is no number any more, or the memory does not suffice.
        VideoError: a clip cannot be read.
    """
    recipe = recipe or Recipe()
    for dataset in (train, validation):
        _check_labels(model, getattr(dataset, "index", None))
    keras.utils.set_random_seed(recipe.seed)
    compile_model(model, recipe, index=getattr(train, "index", None))
    over = current_layout()
    pixels = any(isinstance(layer, ClipInput) for layer in model.layers)  # else it is what stands behind a frozen part
    begin, skip, before = (state.epoch, state.batch, state.seconds) if state is not None else (0, 0, 0.0)
    feed = PrefetchingDataset(
        train,
        pixels=pixels,
        begin=begin,
        skip=skip,
        even=BatchPadder(over, train, class_weight) if over is not None else None,
    )
    checked = None
    if validation is not None:
        checked = CheckedDataset(
            validation, pixels=pixels, even=BatchPadder(over, validation) if over is not None else None
        )
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces the first step twice, to make these
    monitor = f"val_{recipe.monitor}" if checked is not None else recipe.monitor
    record = EpochHistory(monitor, feed, before=state.history if state is not None else (), judged=checked is not None)
    plateau: list[keras.callbacks.Callback] = []
    if isinstance(model.optimizer.get_config()["learning_rate"], float):  # else a schedule, which falls by itself
        mode = "min" if recipe.monitor == "loss" else "max"
        plateau.append(
            keras.callbacks.ReduceLROnPlateau(monitor, mode=mode, factor=recipe.factor, patience=recipe.patience)
        )
    restore = [Restore(state, plateau)] if state is not None else []
    all_of_them = [WaitingTimer(feed, before=before), record, *plateau, *restore, *callbacks]
    every = OneTraining(
        all_of_them, add_history=True, model=model, epochs=recipe.epochs, steps=feed.num_batches, verbose=0
    )
    try:
        every.begin()
        if state is not None and state.logs is not None:
            _validate(model, checked, every, state)
            begin += 1
        # Keras asks once how many batches an epoch has: the rest of a resumed one is a run of its own.
        part = (feed.resumed or feed.skip > 0) and begin + 1 < recipe.epochs
        for start, end in pairwise([begin, begin + 1, recipe.epochs] if part else [begin, recipe.epochs]):
            if model.stop_training:
                break
            every.set_params({"epochs": recipe.epochs, "steps": feed.num_batches, "verbose": 0})
            # Else an optimizer that averages weights would put the averages in their place in the middle of training.
            with patch.object(model.optimizer, "finalize_variable_values") if end < recipe.epochs else nullcontext():
                model.fit(
                    feed,
                    validation_data=checked,
                    initial_epoch=start,
                    epochs=end,
                    class_weight=dict(class_weight) if class_weight and over is None else None,
                    shuffle=False,  # Keras would permute batches; the dataset permutes samples
                    verbose=0,
                    callbacks=every,
                )
        every.end()
    except Exception as error:
        # TensorFlow wraps what a dataset raises into an error of its own, with both tracebacks in its text.
        cause = feed.failed or (checked.failed if checked is not None else None) or error
        raise said(cause, recipe) from None
    return record.history


def _validate(model: keras.Model, checked: CheckedDataset | None, every: OneTraining, state: State) -> None:
    """What was left of an epoch whose training was over, as Keras ends one."""
    every.on_epoch_begin(state.epoch)
    found = model.evaluate(checked, verbose=0, callbacks=every, return_dict=True)
    every.on_epoch_end(state.epoch, {**(state.logs or {}), **{f"val_{name}": found[name] for name in found}})


def seeds(model: keras.Model) -> list[keras.Variable]:
    """The states of a model's random draws, such as those of dropout, which no `.keras` file holds."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def said(error: Exception, recipe: Recipe) -> Exception:
    """What ended training, as a sentence where it is one of those that people meet."""
    error = said_of(error)
    if isinstance(error, ClipzooError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError" or (
        "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
    ):  # fmt: skip
        return ClipzooError(
            f"the memory does not suffice for batches of {recipe.batch} clips: give a smaller recipe.batch, fewer or "
            "smaller frames, or no cache in memory"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return ClipzooError(f"training stopped: {where}{error.strerror or error}")
    return error


def _check_labels(model: keras.Model, index: ClipIndex | None) -> None:
    if index is None:
        return
    if not index.labeled:
        raise ClipzooError(f"{index.root}: some clips have no label; a model cannot learn from them")
    if index.task != task(model):
        raise ClipzooError(f"the clips are labeled for {index.task}, the model is for {task(model)}")
    if tuple(index.labels) != labels(model):
        raise ClipzooError(
            f"the labels do not fit the model: the clips have {', '.join(index.labels)}; "
            f"the model has {', '.join(labels(model))}"
        )


class OneTraining(keras.callbacks.CallbackList):
    """The callbacks of a training that may be several calls of Keras's `fit`: it begins once, and ends once."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Nothing: see `begin`."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Nothing: see `end`."""

    def begin(self) -> None:
        """Called before the first `fit`."""
        super().on_train_begin()

    def end(self) -> None:
        """Called behind the last."""
        super().on_train_end()


class Restore(keras.callbacks.Callback):
    """Gives model, optimizer and callbacks what they had when a training was stopped, but the weights.

    Args:
        state: of then.
        plateau: the callbacks before it that forget all when training begins, and learn it from the epochs' figures.
    """

    def __init__(self, state: State, plateau: Sequence[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.state, self.plateau = state, plateau

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        for callback in self.plateau:
            for row in self.state.history:
                callback.on_epoch_end(int(row["epoch"]), dict(row))
        self._put(self.model.optimizer.variables, "optimizer")
        self._put(seeds(self.model), "seeds")
        # Metrics have no variables before they are asked once, which on TensorFlow the first step does.
        answer = keras.ops.zeros((1, *self.model.output_shape[1:]))
        on_each(lambda: self.model.compute_metrics(None, answer, answer, keras.ops.ones(1)))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == self.state.epoch and self.state.arrays["metrics"]:
            self._put(self.model.metrics_variables, "metrics")

    def _put(self, variables: Sequence[keras.Variable], name: str) -> None:
        values = self.state.arrays[name]
        if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
            raise ClipzooError(
                f"the checkpoint does not fit: it has {len(values)} values of {name}, of other shapes than the "
                f"{len(variables)} of this Keras {keras.__version__}; it was made by Keras "
                f"{self.state.record['versions']['keras']}"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
