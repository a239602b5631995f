"""A run: the folder that training writes, what lies where in it, and the one function that makes it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loaders.atomic import write_text
from loaders.cache import Cache
from loaders.check import number
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.tasks import task_kind
from zoo.backend import versions
from zoo.presets import as_preset
from zoo.recipe import Recipe, mirrored_labels
from zoo.splitting import settle_splits

if TYPE_CHECKING:
    import keras

    from zoo.devices import Devices
    from zoo.resuming import State

# What is written before a run's first epoch is done lies in this folder; `_WHOLE` in it: all of it is there.
NEW, _WHOLE = ".new", "whole"


@dataclass(frozen=True)
class Run:
    """The files of a training run under one folder."""

    folder: Path

    def __post_init__(self) -> None:
        self._move_in()

    @property
    def model(self) -> Path:
        """The best model by what the recipe watches on the validation clips."""
        return self.folder / "model.keras"

    @property
    def last(self) -> Path:
        """The model after the last epoch."""
        return self.folder / "last.keras"

    @property
    def labels(self) -> Path:
        """Names of the classes, one a line, in the order of the outputs."""
        return self.folder / "labels.txt"

    @property
    def history(self) -> Path:
        """Figures of every epoch, CSV."""
        return self.folder / "history.csv"

    @property
    def curves(self) -> Path:
        """Learning curves, PNG."""
        return self.folder / "curves.png"

    @property
    def confusion(self) -> Path:
        """Picture of the last evaluation, PNG."""
        return self.folder / "confusion.png"

    @property
    def scores(self) -> Path:
        """What the model gave for the clips of one split, as `zoo.run_scores.keep` writes it, NPZ."""
        return self.folder / "scores.npz"

    @property
    def report(self) -> Path:
        """The page that `clipzoo report` writes, HTML."""
        return self.folder / "report.html"

    @property
    def clips(self) -> Path:
        """The clips used, with the split of each, CSV."""
        return self.folder / "split.csv"

    @property
    def record(self) -> Path:
        """All that is needed to do it again, JSON."""
        return self.folder / "run.json"

    @property
    def checkpoint(self) -> Path:
        """What `resume` goes on from; it is there while the run is not finished. See `zoo.resuming`."""
        return self.folder / "checkpoint.keras"

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Where all of them are, or would be."""
        return (
            self.model, self.last, self.labels, self.history, self.curves, self.confusion, self.scores, self.report,
            self.clips, self.record, self.checkpoint,
        )  # fmt: skip

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them that are there."""
        return tuple(path for path in self.all_files if path.exists())

    @contextmanager
    def replacing_all(self) -> Iterator[Run]:
        """Yields a run in a fresh folder inside this one; its files take the places of this one's together at the end.

        A kill at any moment leaves the old files, or the new ones: what was cut short is ended by whoever looks next.
        """
        new = self.folder / NEW
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield Run(new)
        # The checkpoint is written in its own time.
        old = {path.name for path in self.files} - {path.name for path in new.iterdir()} - {self.checkpoint.name}
        write_text(new / _WHOLE, "\n".join(sorted(old)))
        self._move_in()

    def _move_in(self) -> None:
        """Ends a replacement of the files that was cut short: what is whole in `.new` takes its place."""
        new = self.folder / NEW
        if not (new / _WHOLE).exists():
            return
        with suppress(FileNotFoundError):  # another process may be at it
            names = {path.name for path in new.iterdir()} - {_WHOLE}
            for name in names:
                (new / name).replace(self.folder / name)
            # What the run before had besides is none of this one's.
            for name in (new / _WHOLE).read_text(encoding="utf-8").split():
                (self.folder / name).unlink(missing_ok=True)
            (new / _WHOLE).unlink()
            new.rmdir()

    def read_record(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            ClipzooError: it is not there or cannot be read.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ClipzooError(f"{self.record}: cannot be read as the record of a run ({error})") from None
        if not isinstance(record, dict) or not isinstance(record.get("videos"), str):
            raise ClipzooError(f"{self.record}: is not the record of a run: it does not say where the videos are")
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes `run.json`."""
        write_text(self.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_history(self) -> list[dict[str, float]]:
        """The figures of every epoch, as `zoo.training.fit` returns them; none where there is no `history.csv`.

        Raises:
            ClipzooError: it cannot be read.
        """
        if not self.history.is_file():
            return []
        try:
            with self.history.open(encoding="utf-8", newline="") as file:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise ClipzooError(f"{self.history}: cannot be read as the history of a run ({error})") from None

    def index(self, *, root: str | Path | None = None) -> ClipIndex:
        """The clips of the run.

        Args:
            root: the folder that they lie in; where they lay when it trained, if left out.

        Raises:
            ClipzooError: the record, the list or the folder of the clips is gone.
        """
        record = self.read_record()
        task = record.get("task", "classification")
        columns = self.label_columns
        return index_csv(
            self.clips, root=root or record["videos"], label=columns if columns != ["label"] else "label", task=task
        )

    @property
    def label_columns(self) -> list[str]:
        """The columns of `split.csv` that hold the labels."""
        record = self.read_record()
        return list(task_kind(record.get("task", "classification")).columns(record.get("labels", ())))


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
            device, where batch normalisation is frozen and dropout 0; see zoo/CLUSTER.md. None: one; after
            `zoo.hosts.join`, all of each host, of which host 0 writes the run.
        overwrite: replace a run that is there. It stays as it is until the first epoch of the new one is done; its
            checkpoint, until the first one of the new one.
        callbacks: more of them.
        say: called with each line that a person should read: splits, mirroring, size.

    Returns:
        The run: `model.keras` is its best epoch by the recipe's `monitor` (the last, without validation clips),
        `last.keras` the last. Both, history and curves are written after each epoch, each file whole or not at all.
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

    from zoo.contract import origins, specs
    from zoo.devices import current_layout
    from zoo.resuming import State, pack_clips

    index, how = settle_splits(index, recipe)
    counts = index.counts()
    say(
        f"clips: {len(index)} of {index.kind.count(len(index.labels))}; "
        + ", ".join(f"{n} {split}" for split, n in counts.items())
        + f" ({how})"
    )
    if not counts["test"]:
        say("note: no test clips; `clipzoo evaluate RUN VIDEOS --split validation` is all there is")
    if not counts["validation"]:
        say("note: no validation clips; the last epoch is the model, and nothing says how good it is before a test")
    keras.utils.set_random_seed(recipe.seed)  # of the first weights; `fit` sets it again
    network = _network(model, index, options)
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
        "recipe": recipe.to_dict(),
        "mirroring": bool(augmentation and augmentation.flip),
        "backend": keras.config.backend(),
        **({"devices": over.devices, "hosts": over.hosts} if (over := current_layout()) is not None else {}),
        "versions": versions(),
        "command": sys.argv[1:],
    }
    say(f"model: {network.name}, {network.count_params():,} parameters; input {next(iter(contract.values())).shape}")
    state = State(record=record, recipe=dataclasses.replace(recipe, augmentation=augmentation), epoch=0)
    return learn(Run(folder), network, index, state, pack_clips(index), callbacks, say, **how_fed)


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
) -> Run:
    """Trains from a state on, the first or one that was kept, in a folder that is claimed; see `train`, `resume`."""
    from zoo.frozen import freeze
    from zoo.hosts import LostHostError, host_rank, require_alike
    from zoo.resuming import stopped, stops
    from zoo.training import LossError, fit
    from zoo.training_sets import training_sets
    from zoo.writing import Checkpoints, Writer

    recipe = state.recipe
    frozen = freeze(network, recipe.train_from)
    name = str(cache if cache == "memory" else Path(cache).resolve()) if isinstance(cache, str | Path) else None
    state = dataclasses.replace(state, cache=name)
    checkpoints = Checkpoints(run, state, packed, whole=network, frozen=frozen, minutes=minutes)
    writer = Writer(run, index, checkpoints)
    weights = index.only("train").class_weights() if recipe.class_weights else None
    host, hosts = host_rank()
    if hosts > 1:
        require_alike({"clips": packed, "recipe": recipe.to_dict(), "model": (network.name, network.count_params())})

    def kept() -> str:
        return "host 0 keeps the run" if host else f"{writer.kept}{checkpoints.onward}"

    try:
        learner, trained, checked = training_sets(network, index, recipe, cache=cache, workers=workers, say=say)
        with stops() as checkpoints.asked:
            # The writer goes first: what a callback of the user does then finds the files of the epoch.
            fit(
                learner, trained, checked, recipe=recipe, class_weight=weights,
                callbacks=[*([] if host else [writer, checkpoints]), *callbacks], state=state if state.arrays else None,
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit):
        say(f"interrupted; {kept()}")
        raise
    except ClipzooError as error:
        if host and checkpoints.asked and isinstance(error, LostHostError):
            raise stopped(checkpoints.asked[0]) from None  # host 0 was asked to stop too, and did after its checkpoint
        # What has lost its numbers would lose them again.
        error.args = (f"{error}; {writer.kept if isinstance(error, LossError) and not host else kept()}",)
        raise
    if host == 0:
        run.checkpoint.unlink(missing_ok=True)
    return run


def _absolute(value: Any) -> Any:
    """A path of a file that is there, as it is from every folder; any other value."""
    return str(Path(value).resolve()) if isinstance(value, str | Path) and Path(value).is_file() else value


def _network(model: str | Path | keras.Model, index: ClipIndex, options: Mapping[str, Any]) -> keras.Model:
    from zoo.contract import new_head
    from zoo.registry import create_model
    from zoo.saving import load_model

    if isinstance(model, str):
        return create_model(model, classes=index.labels, task=index.task, **options)
    given = ", ".join(options)
    if given:
        what = f"{model}, which is built already" if isinstance(model, Path) else "a model that is built already"
        raise ClipzooError(f"{given}: does not go with {what}; leave it out, or train a model by its name")
    return new_head(load_model(model), index.labels, index.task) if isinstance(model, Path) else model
