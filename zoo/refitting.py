"""A second training on training and validation clips together, once the first has shown what its steps are worth."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.atomic import replacing
from loaders.index import ClipIndex
from loaders.lists import write_csv
from loaders.tasks import TASKS
from zoo.checkpoint import State, pack_clips, read_state
from zoo.run import AGAIN, Run

if TYPE_CHECKING:
    import keras


def keep_first_weights(network: keras.Model, run: Run, state: State, packed: bytes) -> None:
    """Keeps the model as it is before it trains, for `refit`; what an equal training left there goes."""
    from zoo.devices import outside_layout

    folder = _folder(run, state, packed)
    shutil.rmtree(folder, ignore_errors=True)
    with outside_layout(), replacing(_first(folder)) as partial:
        network.save(partial)


def refit(
    run: Run,
    index: ClipIndex,
    state: State,
    packed: bytes,
    *,
    learn: Callable[[Run, keras.Model, ClipIndex, State, bytes], object],
    say: Callable[[str], object],
) -> None:
    """Trains a run's model once more from its first weights, on validation clips too, and puts it in the run's place.

    It takes as many steps as the first training, so that a schedule of the rate ends where it ended. Where it was
    stopped, it goes on; a kill at any moment leaves the first model or the second. History and curves stay those of the
    first training, which has figures of the validation clips; `split.csv` says of these that they are trained on.

    Args:
        run: whose first training is done.
        index: its clips.
        state: that the first training began with.
        packed: `pack_clips` of `index`, as the first training had it.
        learn: trains a model in a folder of its own, as `zoo.learning.learn`.
        say: called with each line that a person should read.
    """
    import keras

    from zoo.hosts import host_rank
    from zoo.saving import load_keras

    folder = _folder(run, state, packed)
    again, clips = Run(folder), merged(index)
    before, count = index.counts()["train"], clips.counts()["train"]
    epochs = epochs_again(state.recipe.epochs, state.recipe.batch, before, count)
    recipe = dataclasses.replace(state.recipe, refit=False, validation=0.0, epochs=epochs)
    length = f"{epochs} epoch{'s' if epochs != 1 else ''}"
    say(f"once more from the first weights, on all {count} training and validation clips: {length}")
    if again.checkpoint.is_file() or len(again.read_history()) < epochs:
        if again.checkpoint.is_file():
            network, begun = load_keras(again.checkpoint), read_state(again)
        else:
            keras.utils.set_random_seed(recipe.seed)  # of what the file does not hold: the draws of dropout
            network, begun = load_keras(_first(folder)), State(record={}, recipe=recipe, epoch=0)
        record = {**state.record, "recipe": recipe.to_dict(), "clips": clips.counts()}
        learn(again, network, clips, dataclasses.replace(begun, record=record), pack_clips(clips))
    if host_rank()[0] == 0:
        _take_in(run, again, index, clips)


def merged(index: ClipIndex) -> ClipIndex:
    """The clips, those for validation among those to train on."""
    clips = (clip._replace(split="train") if clip.split == "validation" else clip for clip in index)
    return dataclasses.replace(index, clips=tuple(clips))


def epochs_again(epochs: int, batch: int, before: int, now: int) -> int:
    """How many epochs of `now` clips take the steps of so many epochs of `before` clips."""
    return max(1, round(epochs * -(-before // batch) / -(-now // batch)))


def _take_in(run: Run, again: Run, index: ClipIndex, clips: ClipIndex) -> None:
    record, rows, new_rows = run.read_record(), run.read_history(), again.read_history()
    found: dict[str, Any] = {"clips": clips.counts()["train"], "epochs": len(new_rows), **new_rows[-1]}
    del found["epoch"], found["best"]
    found["validated"] = rows[-1]
    if index.task == TASKS["classification"].name:
        found["validation_labels"] = Counter(clip.label for clip in index if clip.split == "validation")
    with run.replacing_all() as new:
        copies = {path: new.folder / path.name for path in (run.labels, run.history, run.curves)}
        for path, to in [*copies.items(), (again.model, new.model), (again.model, new.last)]:
            with replacing(to) as partial:
                shutil.copyfile(path, partial)
        write_csv(clips, new.clips)
        seconds = record["seconds"] + sum(row["seconds"] for row in new_rows)
        new.write_record({**record, "refit": found, "seconds": seconds})


def _folder(run: Run, state: State, packed: bytes) -> Path:
    """One for each training: another that begins in the same folder spoils nothing of one that was stopped."""
    what = json.dumps([state.record["model"], state.recipe.to_dict()], sort_keys=True).encode()
    return run.folder / f"{AGAIN}{hashlib.sha256(what + packed).hexdigest()[:12]}"


def _first(folder: Path) -> Path:
    return folder / "first.keras"
