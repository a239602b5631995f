"""What a training that was stopped goes on from: the checkpoint in a run's folder, read without Keras."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.printable import printable_name
from zoo.recipe import Recipe
from zoo.run import Run

FORMAT = 1
_STATE, _CLIPS, _ARRAYS = "state.json", "clips.json", "state.npz"
_PLAIN = ("record", "cache", "epoch", "batch", "logs", "seconds", "history")
_GROUPS = ("optimizer", "seeds", "metrics", "best")


@dataclass(frozen=True, kw_only=True)
class State:
    """All that decides on the rest of a training, beside the model and its weights.

    Attributes:
        record: what `run.json` says so far.
        recipe: how it trains, with the augmentation that was settled for these clips.
        cache: of clips or features, a folder or `memory`, where it had one that has a name.
        epoch: that was under way, from 0.
        batch: batches of it that were trained on.
        logs: figures of its training, where all batches were and its validation was under way; else None.
        seconds: that it had taken.
        history: a row of figures for each epoch before.
        arrays: `optimizer`, `seeds` and `metrics`: the values of these variables, in Keras's order; `best`: the weights
            of the best epoch, where it is not the last and a kill may have come before they were in `model.keras`.
    """

    record: dict[str, Any]
    recipe: Recipe
    cache: str | None = None
    epoch: int
    batch: int = 0
    logs: dict[str, float] | None = None
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    arrays: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        if self.epoch >= self.recipe.epochs:
            return "the second training" if self.recipe.refit else "its end"
        done = "the validation of" if self.logs is not None else f"step {self.batch + 1} of" if self.batch else ""
        return f"{done} epoch {self.epoch + 1} of {self.recipe.epochs}".strip()

    def write(self, file: Path, clips: bytes) -> None:
        """Adds all this to a `.keras` file, which stays one; `clips` is of `pack_clips`."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        arrays = {f"{name}.{n}": array for name in _GROUPS for n, array in enumerate(self.arrays.get(name, ()))}
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(_STATE, json.dumps({"format": FORMAT, **plain, "recipe": self.recipe.to_dict()}))
            archive.writestr(_CLIPS, clips, zipfile.ZIP_DEFLATED)
            archive.writestr(_ARRAYS, packed.getvalue())


def read_state(run: Run) -> State:
    """What the checkpoint of a run says; `zoo.saving.load_keras` reads the model from the same file.

    Raises:
        ClipzooError: no run, a run that is finished or has no checkpoint, or a checkpoint that is damaged or of another
            version.
    """
    file = _checkpoint(run)
    try:
        with zipfile.ZipFile(file) as archive:
            held = json.loads(archive.read(_STATE))
            if held["format"] != FORMAT:
                wrote = held["record"]["versions"]["clipzoo"]
                raise ClipzooError(
                    f"{file}: is a checkpoint of format {held['format']}, written by clipzoo {wrote}, and this clipzoo "
                    f"reads format {FORMAT}: go on with that version; or {_onward(run)}"
                )
            recipe = Recipe.from_dict(held.pop("recipe"))
            with np.load(io.BytesIO(archive.read(_ARRAYS))) as found:
                arrays = {
                    name: [found[f"{name}.{n}"] for n in range(sum(key.startswith(f"{name}.") for key in found.files))]
                    for name in _GROUPS
                }
        del held["format"]
        return State(recipe=recipe, arrays=arrays, **held)
    except ClipzooError:
        raise
    except Exception as error:  # a damaged file makes zipfile, JSON and NumPy raise whatever they like
        _damaged(run, error)


def read_clips(run: Run, state: State, videos: str | Path | None = None) -> tuple[ClipIndex, bytes]:
    """The clips of a checkpoint, and what `State.write` takes of them.

    Args:
        run: that `state` was read from.
        state: of it.
        videos: the folder where they lie now; None: where they lay.

    Raises:
        ClipzooError: the folder, or a clip to train or validate on, is gone or is another file.
    """
    try:
        with zipfile.ZipFile(run.checkpoint) as archive:
            packed = archive.read(_CLIPS)
        held = json.loads(packed)
        clips = tuple(Clip(file, _label(label), *rest) for file, label, *rest in held["clips"])
        sizes = held["bytes"]
    except Exception as error:
        _damaged(run, error)
    root = Path(videos if videos is not None else state.record["videos"])
    where = f"`clipzoo train FOLDER --resume {shlex.quote(str(run.folder))}` says where they lie now"
    if not root.is_dir():
        raise ClipzooError(f"{printable_name(str(root))}: no such folder of clips; {where}")
    index = ClipIndex(root, clips, tuple(state.record["labels"]), state.record["task"])
    needed = [(path, size) for path, clip, size in zip(index.paths, clips, sizes, strict=True) if clip.split != "test"]
    found = [(path, size, _size(path)) for path, size in needed]
    missing = [path for path, _, now in found if now is None]
    if missing:
        raise ClipzooError(
            f"{printable_name(str(missing[0]))}: no such file; {len(missing)} of the {len(needed)} clips that "
            f"{run.folder} trains on are gone; {where}"
        )
    for path, size, now in found:
        if now != size:
            raise ClipzooError(
                f"{printable_name(str(path))}: has {now} bytes, and had {size} when {run.folder} was begun; put the "
                f"clip back, or {_onward(run)}"
            )
    return index, packed


def pack_clips(index: ClipIndex) -> bytes:
    """The clips of a training as a checkpoint holds them: JSON, with the size of each file in bytes."""
    return json.dumps({"clips": index.clips, "bytes": [_size(path) for path in index.paths]}).encode()


def _checkpoint(run: Run) -> Path:
    if run.checkpoint.is_file():
        return run.checkpoint
    if not run.record.is_file():
        raise ClipzooError(f"{run.folder}: is no run; give the folder that --out of a training named")
    done, wanted = len(run.read_history()), run.read_record().get("recipe", {}).get("epochs")
    if done == wanted:
        raise ClipzooError(f"{run.folder}: its training is finished, all {done} epochs; {_onward(run)}")
    raise ClipzooError(
        f"{run.folder}: has no checkpoint: its training ended after {done} epochs, or an older clipzoo made it; "
        f"{_onward(run)}"
    )


def _onward(run: Run) -> str:
    return f"`clipzoo train VIDEOS --weights {shlex.quote(str(run.folder))} --out ANOTHER` goes on from its best epoch"


def _damaged(run: Run, error: Exception) -> NoReturn:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise ClipzooError(f"{run.checkpoint}: cannot be read as a checkpoint ({reason}); {_onward(run)}") from None


def _label(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
