"""A run: the folder that training writes, what lies where in it, and the one function that makes it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from loaders.atomic import write_text
from loaders.cache import Cache
from loaders.errors import ClipzooError, WriteError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.tasks import task_kind
from zoo.backend import versions
from zoo.presets import as_preset
from zoo.recipe import Recipe, mirrored_labels
from zoo.splitting import settle_splits

if TYPE_CHECKING:
    import keras

# What is written before a run's first epoch is done lies in this folder; `_WHOLE` in it: all of it is there.
_NEW, _WHOLE, _LOCK = ".new", "whole", ".lock"


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
    def files(self) -> tuple[Path, ...]:
        """All of them that are there."""
        own = (
            self.model, self.last, self.labels, self.history, self.curves, self.confusion, self.scores, self.report,
            self.clips, self.record,
        )  # fmt: skip
        return tuple(path for path in own if path.exists())

    @contextmanager
    def replacing_all(self) -> Iterator[Run]:
        """Yields a run in a fresh folder inside this one; its files take the places of this one's together at the end.

        A kill at any moment leaves the old files, or the new ones: what was cut short is ended by whoever looks next.
        """
        new = self.folder / _NEW
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield Run(new)
        old = {path.name for path in self.files} - {path.name for path in new.iterdir()}
        write_text(new / _WHOLE, "\n".join(sorted(old)))
        self._move_in()

    def _move_in(self) -> None:
        """Ends a replacement of the files that was cut short: what is whole in `.new` takes its place."""
        new = self.folder / _NEW
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
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    say: Callable[[str], object] = lambda line: None,
) -> Run:
    """Trains a model on clips, and keeps it, its figures and all that is needed to do it again in a folder.

    Args:
        index: the clips. Where they have no splits, the recipe's shares and seed split them; where they have no
            validation clips, these are taken from the training clips.
        model: a name of the zoo; a run, a `.keras` file or a preset's name (a Path) to go on from, with a head for
            these labels; or a model of the zoo.
        recipe: how to train.
        out: the folder to make. It may hold other files; those of another run are only replaced with `overwrite`.
        options: of `create_model` and so of a name alone: `{"frames": 5, "size": 112, "spec": {...}}`.
        cache: what is decoded is kept there: `memory`, a folder, or any Cache.
        workers: threads that read clips.
        overwrite: replace a run that is there. It stays as it is until the first epoch of the new one is done.
        callbacks: more of them.
        say: called with each line that a person should read: splits, mirroring, size.

    Returns:
        The run: `model.keras` is its best epoch by the recipe's `monitor`, `last.keras` the last. Both, history and
        curves are written after each epoch, each file whole or not at all.

    Raises:
        ClipzooError: the folder holds a run, or another training writes into it; clips, model and recipe do not fit; a
            loss that is no number (the best epoch before it is kept); a full disk, or too little memory.
        VideoError: a clip cannot be read.
    """
    if not isinstance(index, ClipIndex):
        raise ClipzooError(f"index ({index!r}) must be a ClipIndex, such as loaders.index_folder('clips')")
    kind = index.kind
    if kind.classes and len(index.labels) < kind.fewest:
        there = ", ".join(map(repr, index.labels)) or "no label"
        raise ClipzooError(f"{index.root}: has only {there}; {index.task} takes at least {kind.count(kind.fewest)}")
    if "classes" in (options or {}):
        raise ClipzooError("options: classes are those of the clips; leave them out, or take index.only(...) of some")
    recipe, folder = recipe or Recipe(), Path(out)
    with _claimed(folder, overwrite=overwrite):
        return _train(index, model, recipe, folder, options or {}, cache, workers, callbacks, say)


def _train(
    index: ClipIndex,
    model: str | Path | keras.Model,
    recipe: Recipe,
    folder: Path,
    options: Mapping[str, Any],
    cache: Any,
    workers: int,
    callbacks: Sequence[keras.callbacks.Callback],
    say: Callable[[str], object],
) -> Run:
    import keras

    from zoo.contract import origins, specs
    from zoo.feeding import feeds
    from zoo.frozen import freeze
    from zoo.training import fit
    from zoo.writing import Writer

    index, how = settle_splits(index, recipe)
    counts = index.counts()
    say(
        f"clips: {len(index)} of {index.kind.count(len(index.labels))}; "
        + ", ".join(f"{n} {split}" for split, n in counts.items())
        + f" ({how})"
    )
    if not counts["test"]:
        say("note: no test clips; `clipzoo evaluate RUN VIDEOS --split validation` is all there is")
    keras.utils.set_random_seed(recipe.seed)  # of the first weights; `fit` sets it again
    network = _network(model, index, options)
    contract = specs(network)
    augmentation = recipe.augmentation_for(contract, index.labels)
    mirrored = mirrored_labels(index.labels)
    if augmentation is not None:
        why = f": it would turn {mirrored[0]!r} into {mirrored[1]!r}" if mirrored else ""
        say(f"mirroring: {'on, every second clip' if augmentation.flip else 'off'}{why}")
    frozen = freeze(network, recipe.train_from)
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
        "versions": versions(),
        "command": sys.argv[1:],
    }
    say(f"model: {network.name}, {network.count_params():,} parameters; input {next(iter(contract.values())).shape}")
    writer = Writer(Run(folder), record, index, whole=network, frozen=frozen)
    weights = index.only("train").class_weights() if recipe.class_weights else None
    # The writer goes first: what a callback of the user does then finds the files of the epoch.
    try:
        learner, trained, checked = feeds(network, index, recipe, cache=cache, workers=workers, say=say)
        fit(learner, trained, checked, recipe=recipe, class_weight=weights, callbacks=[writer, *callbacks])
    except KeyboardInterrupt:
        onward = f"; to go on: clipzoo train VIDEOS --weights {folder} --out ANOTHER" if writer.written else ""
        say(f"interrupted; {writer.kept}{onward}")
        raise
    except ClipzooError as error:
        error.args = (f"{error}; {writer.kept}",)
        raise
    return Run(folder)


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


def require_free(out: str | Path, *, overwrite: bool = False, hint: str = "give another --out, or --overwrite") -> None:
    """Raises ClipzooError where `train` would not write a run: a file, a folder with any file of a run (`hint` says
    what to do then), or a folder that cannot be written.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ClipzooError(f"{folder}: is a file; a run is a folder")
    there = Run(folder).files
    if there and not overwrite:
        names = ", ".join(path.name for path in there)
        raise ClipzooError(f"{folder}: holds a run already ({names}); {hint}")
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(folder, "no permission, or a disk that is read-only")


@contextmanager
def _claimed(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Holds a folder for one training; whatever ends the process lets it go."""
    require_free(folder, overwrite=overwrite)
    fresh = not folder.exists()
    with _locked(folder):
        require_free(folder, overwrite=overwrite)  # another training may have ended meanwhile
        shutil.rmtree(folder / _NEW, ignore_errors=True)  # of a training that ended before its first epoch
        try:
            (folder / _NEW).mkdir()  # what cannot be written is known before training
            (folder / _NEW).rmdir()
        except OSError as error:
            raise WriteError(error.filename or folder, error.strerror or str(error)) from None
        try:
            yield
        finally:
            if fresh and not Run(folder).files:  # a mistake leaves no folder behind
                shutil.rmtree(folder / _NEW, ignore_errors=True)
                (folder / _LOCK).unlink(missing_ok=True)
                with suppress(OSError):
                    folder.rmdir()


def _locked(folder: Path) -> AbstractContextManager[Any]:
    """The lock of a folder, held; what goes wrong while it is held is not about it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / _LOCK, timeout=0).acquire()
    except Timeout:
        raise ClipzooError(
            f"{folder}: another training writes into it now; give another --out, or wait for it to end"
        ) from None
    except OSError as error:
        raise WriteError(error.filename or folder, error.strerror or str(error)) from None
