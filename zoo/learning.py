"""The one function that trains: it makes a run of clips, a model and a recipe."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loaders.cache import Cache
from loaders.check import number
from loaders.errors import ClipzooError
from loaders.index import ClipIndex, some
from loaders.split import Split
from loaders.tasks import TASKS
from zoo.backend import versions
from zoo.presets import as_preset
from zoo.recipe import Recipe, mirrored_labels
from zoo.run import Run
from zoo.splitting import settle_splits

if TYPE_CHECKING:
    import keras

    from zoo.checkpoint import State
    from zoo.devices import Devices


def train(
    index: ClipIndex,
    model: str | Path | keras.Model,
    recipe: Recipe | None = None,
    *,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    cache: Literal["memory"] | str | Path | Cache | None = None,
    workers: int = 2,
    checkpoint_minutes: float = 10.0,
    devices: Devices | None = None,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    say: Callable[[str], object] = lambda line: None,
) -> Run:
    """Trains a model on clips, and keeps it, its figures and all that is needed to do it again in a folder.

    Args:
        index: the clips. Where they have no splits, the recipe's shares and seed split them; where they have no
            validation clips, these are taken from the training clips, unless the recipe's share of them is 0.
        model: a name of the zoo; a run, a `.keras` file or a preset's name (a Path) to go on from, with a head for
            these labels; or a model of the zoo.
        recipe: how to train.
        out: the folder to make. It may hold other files; those of another run are only replaced with `overwrite`.
        options: of `create_model` and so of a name alone: `{"frames": 5, "size": 112, "spec": {...}}`.
        cache: what is decoded is kept there: `memory`, a folder, or any Cache.
        workers: threads that read clips.
        checkpoint_minutes: between two checkpoints within an epoch, >= 0; after each epoch there is one anyway.
        devices: how many of this machine's, or `all`: each computes its share of every batch. The result is that of one
            device, where batch normalization is frozen and dropout 0; see zoo/CLUSTER.md. None: one; after
            `zoo.hosts.join`, all of each host, of which host 0 writes the run.
        overwrite: replace a run that is there. It stays as it is until the first epoch of the new one is done; its
            checkpoint, until the first one of the new one.
        callbacks: more of them; a recipe with `refit` trains twice, and calls them for both.
        say: called with each line that a person should read: splits, mirroring, size.

    Returns:
        The run: `model.keras` is its best epoch by the recipe's `monitor` (the last, without validation clips; that of
        the second training, where the recipe has `refit`), `last.keras` the last. Both, history and curves are written
        after each epoch, each file whole or not at all; with `draws`, where an epoch takes less than its files, every
        10 seconds and at the end.
        What ends before its last epoch leaves a checkpoint, from which `resume` goes on. Ctrl-C and SIGTERM end it
        after the step that is under way, with a checkpoint of just that, as KeyboardInterrupt and SystemExit(143); a
        second one at once.

    Raises:
        ClipzooError: the folder holds a run, or another training writes into it; clips, model and recipe do not fit;
            there are fewer devices; another host is gone (`zoo.hosts.LostHostError`); a loss that is no number (the
            best epoch before it is kept); a full disk, or too little memory.
        VideoError: a clip cannot be read.
    """
    from zoo.devices import spread_over
    from zoo.hosts import host_rank
    from zoo.run_lock import run_lock

    if not isinstance(index, ClipIndex):
        raise ClipzooError(f"index ({index!r}) must be a ClipIndex, such as loaders.index_folder('clips')")
    kind = index.kind
    if kind.classes and len(index.labels) < kind.fewest:
        there = ", ".join(map(repr, index.labels)) or "no label"
        raise ClipzooError(f"{index.root}: has only {there}; {index.task} takes at least {kind.count(kind.fewest)}")
    if "classes" in (options or {}):
        raise ClipzooError("options: classes are those of the clips; leave them out, or take index.only(...) of some")
    number("checkpoint_minutes", checkpoint_minutes, least=0)
    recipe, run = recipe or Recipe(), Path(out)
    with spread_over(devices) as over, run_lock(run, overwrite=overwrite) if host_rank()[0] == 0 else nullcontext():
        if over is not None:
            say(over.line)
            if not isinstance(model, str | Path):
                raise ClipzooError("a model that is built already is on one device: give its name, or a file of it")
        return _train(
            index, model, recipe, run, options or {}, callbacks, say,
            cache=cache, workers=workers, minutes=checkpoint_minutes,
        )  # fmt: skip


def _train(
    index: ClipIndex,
    model: str | Path | keras.Model,
    recipe: Recipe,
    folder: Path,
    options: Mapping[str, Any],
    callbacks: Sequence[keras.callbacks.Callback],
    say: Callable[[str], object],
    **how_fed: Any,
) -> Run:
    import keras

    from zoo.checkpoint import State, pack_clips
    from zoo.contract import origins, specs
    from zoo.devices import current_layout
    from zoo.refitting import keep_first_weights

    index, how = settle_splits(index, recipe)
    counts = index.counts()
    say(
        f"clips: {len(index)} of {index.kind.count(len(index.labels))}; "
        + ", ".join(f"{n} {split}" for split, n in counts.items())
        + f" ({how})"
    )
    again = recipe.refit and counts["validation"] > 0
    if not counts["test"]:
        left = "`clipzoo evaluate RUN VIDEOS --split validation` is all there is"
        say(f"note: no test clips; {'the second training leaves none to score its model' if again else left}")
    if not counts["validation"]:
        say("note: no validation clips; the last epoch is the model, and nothing says how good it is before a test")
    parts: tuple[Split, ...] = ("validation", "test")
    for split in parts:
        absent = _absent(index, split) if counts[split] else []
        if absent:
            say(f"note: no {split} clip of {some(absent, 5)}; figures on these clips say nothing of them")
    keras.utils.set_random_seed(recipe.seed)  # of the first weights; `fit` sets it again
    network = _network(model, index, options, say)
    contract = specs(network)
    augmentation = recipe.augmentation_for(contract, index.labels)
    mirrored = mirrored_labels(index.labels)
    if augmentation is not None:
        why = f": it would turn {mirrored[0]!r} into {mirrored[1]!r}" if mirrored else ""
        say(f"mirroring: {'on, every second clip' if augmentation.flip else 'off'}{why}")
    record: dict[str, Any] = {
        "model": network.name,
        "options": {name: _absolute(value) for name, value in options.items() if name != "spec"},
        "weights": (str(model) if as_preset(model) else str(model.resolve())) if isinstance(model, Path) else None,
        "origins": origins(network),
        "task": index.task,
        "labels": list(index.labels),
        "specs": {name: spec.to_dict() for name, spec in contract.items()},
        "videos": str(index.root.resolve()),
        "splits": how,
        "clips": counts,
        # With what a name stands for on these inputs; of other labels, others tell left from right.
        "recipe": dataclasses.replace(recipe, augmentation=recipe.augmentation_for(contract, ())).to_dict(),
        "mirroring": bool(augmentation and augmentation.flip),
        "backend": keras.config.backend(),
        **({"devices": over.devices, "hosts": over.hosts} if (over := current_layout()) is not None else {}),
        "versions": versions(),
        "command": sys.argv[1:],
    }
    say(f"model: {network.name}, {network.count_params():,} parameters; input {next(iter(contract.values())).shape}")
    state = State(record=record, recipe=dataclasses.replace(recipe, augmentation=augmentation), epoch=0)
    run, packed = Run(folder), pack_clips(index)
    if again:
        keep_first_weights(network, run, state, packed)
    return learn(run, network, index, state, packed, callbacks, say, **how_fed)


def learn(
    run: Run,
    network: keras.Model,
    index: ClipIndex,
    state: State,
    packed: bytes,
    callbacks: Sequence[keras.callbacks.Callback],
    say: Callable[[str], object],
    *,
    cache: Any,
    workers: int,
    minutes: float,
    again_for: Run | None = None,
) -> Run:
    """Trains from a state on, the first or one that was kept, in a folder that is claimed; see `train`, `resume`.

    `again_for` is the run that this one trains the model of once more; see `zoo.refitting`.
    """
    from zoo.frozen import freeze
    from zoo.history import LossError
    from zoo.hosts import LostHostError, host_rank, require_alike
    from zoo.refitting import refit
    from zoo.stopping import stopped, stops
    from zoo.training import fit
    from zoo.training_sets import training_sets
    from zoo.writing import BETWEEN, Checkpoints, Writer

    recipe = state.recipe
    frozen = freeze(network, recipe.train_from)
    name = str(cache if cache == "memory" else Path(cache).resolve()) if isinstance(cache, str | Path) else None
    state = dataclasses.replace(state, cache=name)
    checkpoints = Checkpoints(run, state, packed, whole=network, frozen=frozen, minutes=minutes, again_for=again_for)
    host, hosts = host_rank()
    writer = Writer(run, index, checkpoints, every=BETWEEN if recipe.draws and hosts == 1 else 0.0)
    weights = index.only("train").class_weights() if recipe.class_weights else None
    if hosts > 1:
        require_alike({"clips": packed, "recipe": recipe.to_dict(), "model": (network.name, network.count_params())})

    def kept() -> str:
        return "host 0 keeps the run" if host else f"{writer.kept}{checkpoints.onward}"

    def tell(error: BaseException) -> None:
        if not hasattr(error, "__notes__"):  # else the second training has
            error.add_note(f"interrupted; {kept()}")
            say(error.__notes__[0])

    try:
        learner, trained, checked = training_sets(network, index, recipe, cache=cache, workers=workers, say=say)
        with stops() as checkpoints.asked:
            try:
                # The writer goes first: without `draws`, a callback of the user finds the files of the epoch.
                fit(
                    learner, trained, checked, recipe=recipe, class_weight=weights,
                    callbacks=[*([] if host else [writer, checkpoints]), *callbacks],
                    state=state if state.arrays else None,
                )  # fmt: skip
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell of
                    writer.flush(ended=True)
                raise
    except (KeyboardInterrupt, SystemExit) as error:
        tell(error)
        raise
    except ClipzooError as error:
        if host and checkpoints.asked and isinstance(error, LostHostError):
            raise stopped(checkpoints.asked[0]) from None  # host 0 was asked to stop too, and did after its checkpoint
        # What has lost its numbers would lose them again.
        error.args = (f"{error}; {writer.kept if isinstance(error, LossError) and not host else kept()}",)
        raise
    if recipe.refit and index.counts()["validation"]:
        how = {"callbacks": callbacks, "say": say, "cache": cache, "workers": workers, "minutes": minutes}
        try:
            refit(run, index, state, packed, learn=partial(learn, again_for=run, **how), say=say)
        except (KeyboardInterrupt, SystemExit) as error:
            tell(error)
            raise
    if host == 0:
        run.forget_training()
    return run


def _absent(index: ClipIndex, split: Split) -> list[str]:
    """The classes that no clip of a split is of."""
    if index.task != TASKS["classification"].name:
        return []
    there = {clip.label for clip in index.only(split)}
    return [label for label in index.labels if label not in there]


def _absolute(value: Any) -> Any:
    """A path of a file that is there, as it is from every folder; any other value."""
    return str(Path(value).resolve()) if isinstance(value, str | Path) and Path(value).is_file() else value


def _network(
    model: str | Path | keras.Model, index: ClipIndex, options: Mapping[str, Any], say: Callable[[str], object]
) -> keras.Model:
    from zoo.contract import labels, new_head, task
    from zoo.registry import create_model
    from zoo.saving import load_model

    if isinstance(model, str):
        return create_model(model, classes=index.labels, task=index.task, **options)
    given = ", ".join(options)
    if given:
        what = f"{model}, which is built already" if isinstance(model, Path) else "a model that is built already"
        raise ClipzooError(f"{given}: does not go with {what}; leave it out, or train a model by its name")
    if not isinstance(model, Path):
        return model
    loaded = load_model(model)
    same = (labels(loaded), task(loaded)) == (tuple(index.labels), index.task)
    say(f"head: {'goes on, for the labels are the same' if same else 'a new one, for other labels'}")
    return loaded if same else new_head(loaded, index.labels, index.task)
