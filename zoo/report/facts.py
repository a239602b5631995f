"""What a run's record says, for people: what was trained, on which clips, and how to do it again."""

from __future__ import annotations

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.spec import ClipSpec
from loaders.split import SPLITS
from zoo.registry import model_info
from zoo.run import Run

Rows = list[tuple[str, str]]  # what, and its value


def model_facts(record: Mapping[str, Any], specs: Mapping[str, ClipSpec]) -> Rows:
    """What was trained."""
    rows = [("model", record["model"])]
    with suppress(ClipzooError):  # a model of one's own
        rows.append(("what it is", model_info(record["model"]).summary))
    for name, spec in specs.items():
        what = f"{spec.frames} frames of {spec.width} x {spec.height} pixels, {spec.modality}"
        rows.append((f"input {name}", f"{what}, taken by {spec.sampling} sampling"))
    if options := record.get("options"):
        rows.append(("options", ", ".join(f"{name}={_plain(value)}" for name, value in options.items())))
    begun = [_origin(each) for each in record.get("origins") or ()]
    if record.get("weights"):
        begun.insert(0, f"the model {record['weights']}")
    rows.append(("began from", "; ".join(begun) or "random weights"))
    return rows


def _origin(origin: Mapping[str, str]) -> str:
    about = [f"by {origin['author']}" if origin.get("author") else "", origin.get("license", "")]
    about = [each for each in about if each]
    return origin.get("weights", "weights of unknown name") + (f" ({', '.join(about)})" if about else "")


def recipe_facts(record: Mapping[str, Any], epochs: int) -> Rows:
    """How it was trained."""
    recipe = record.get("recipe") or {}
    rows = []
    best = record.get("best") or {}
    if "epoch" in best:
        planned = recipe.get("epochs", epochs)
        done = f"{epochs} of {planned} epochs" if epochs else f"{planned} epochs planned"
        judged = any(name.startswith("val_") for name in best)
        which = f"the best was epoch {int(best['epoch']) + 1}, and" if judged else "the last"
        if again := record.get("refit"):
            which = (
                f"then once more from the first weights, on the validation clips too: {again['epochs']} epochs on "
                f"{again['clips']} clips, which"
            )
        rows.append(("epochs", f"{done}; {which} is the model of this page"))
    rows.append(("optimizer", f"{_named(recipe.get('optimizer'))}, learning rate {_rate(recipe)}"))
    rows.append(("batch", f"{recipe.get('batch', record.get('batch', '?'))} clips"))
    train_from = recipe.get("train_from", "all")
    part = {"all": "all of the model", "head": "the head alone; the backbone is frozen"}
    rows.append(("what trained", part.get(train_from, f"layer {train_from} and all after it")))
    rows.append(("augmentation", _augmentation(record)))
    if "monitor" in recipe and recipe.get("validation") != 0 and not record.get("refit"):
        rows.append(("best by", f"{recipe['monitor'].replace('_', ' ')} on the validation clips"))
    rows.append(("seed", str(recipe.get("seed", "?"))))
    versions = record.get("versions") or {}
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows.append(("computed by", f"{record.get('backend', '?')} ({libraries})" if libraries else "?"))
    if isinstance(record.get("seconds"), int | float):
        rows.append(("time of all epochs", _duration(record["seconds"])))
    return rows


def _named(config: Any) -> str:
    return str(config.get("class_name", "?")) if isinstance(config, Mapping) else str(config or "?")


def _rate(recipe: Mapping[str, Any]) -> str:
    optimizer = recipe.get("optimizer")
    inner = optimizer.get("config", {}).get("learning_rate") if isinstance(optimizer, Mapping) else None
    rate = recipe.get("learning_rate") or inner
    if isinstance(rate, Mapping):
        first = rate.get("config", {}).get("initial_learning_rate")
        return f"{_named(rate)}{f' from {first:g}' if isinstance(first, int | float) else ''}"
    return f"{rate:g}" if isinstance(rate, int | float) else "of the optimizer"


def _augmentation(record: Mapping[str, Any]) -> str:
    told = (record.get("recipe") or {}).get("augmentation", record.get("augmentation"))
    if not isinstance(told, Mapping):
        return "none" if told in (None, "none") else str(told)
    numbers = {name: value for name, value in told.items() if name not in ("flip", "crop", "scales") and value}
    fields = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in numbers.items()]
    return ", ".join([f"mirroring {'on' if record.get('mirroring') else 'off'}", *fields])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


@dataclass(frozen=True)
class Splits:
    """Clips by class and split.

    Attributes:
        how: how the clips got their splits.
        names: of the splits.
        rows: label, and clips in each split and in all; none for numbers.
        totals: clips in each split and in all.
        groups: a sentence on the groups.
        torn: whether a group, or a file, stands in several splits.
    """

    how: str
    names: Sequence[str]
    rows: list[tuple[str, list[int]]]
    totals: list[int]
    groups: str
    torn: bool


def splits(record: Mapping[str, Any], index: ClipIndex) -> Splits:
    """Clips by class and split, and whether a group stands in one split alone."""
    counts = Counter((name, clip.split) for clip in index for name in clip.names)
    rows = [(label, [counts[label, split] for split in SPLITS]) for label in index.labels] if index.kind.classes else []
    totals = list(index.counts().values())
    sentence, torn = _groups(index)
    return Splits(
        how=str(record.get("splits", record.get("split", "not known"))),
        names=SPLITS,
        rows=[(label, [*row, sum(row)]) for label, row in rows],
        totals=[*totals, sum(totals)],
        groups=sentence,
        torn=torn,
    )


def _groups(index: ClipIndex) -> tuple[str, bool]:
    where: dict[str, set[str]] = defaultdict(set)
    for clip in index:
        if clip.group:
            where[clip.group].add(str(clip.split))
    if not where:
        return (
            "No groups are known. Where clips are cut from one source video, some may stand in the training split and "
            "others in the test split, and the figures of this page are then too good. A column `group` in the list "
            "keeps them together."
        ), False
    torn = sorted(group for group, held in where.items() if len(held) > 1)
    if not torn:
        lone = sum(not clip.group for clip in index)
        more = f" {lone} clips have no group." if lone else ""
        return f"{len(where)} groups are known, and each stands in one split alone.{more}", False
    shown = ", ".join(torn[:5]) + (", ..." if len(torn) > 5 else "")
    return (
        f"Groups that stand in several splits: {len(torn)} of {len(where)} ({shown}). Clips of one source then stand "
        "on both sides, and the figures of this page may be too good."
    ), True


def commands(run: Run, record: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The command as it was typed, and the one that trains again on the same clips in the same splits.

    Either is None where there is none: the run was made in Python, or its model is no name of the zoo.
    """
    typed = [str(word) for word in record.get("command") or ()]
    first = shlex.join(["clipzoo", *typed]) if typed[:1] == ["train"] else None
    again = ["clipzoo", "train", record["videos"], "--list", str(run.clips), "--recipe", str(run.record)]
    if record.get("weights"):
        again += ["--weights", record["weights"]]
    else:
        try:
            model_info(record["model"])
        except ClipzooError:
            return first, None
    task = record.get("task", "classification")
    if task != "classification":
        again += ["--task", task]
        again += [word for column in run.label_columns for word in ("--label", column)]
    backend = record.get("backend")
    prefix = f"KERAS_BACKEND={backend} " if backend else ""
    return first, prefix + shlex.join([*again, "--out", "again"])
