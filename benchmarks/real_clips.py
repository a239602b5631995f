"""How good models become on real clips: `python -m benchmarks.real_clips LIST --model i3d`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice, product, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from benchmarks.harness.records import Row
from benchmarks.harness.runners import BACKENDS
from benchmarks.harness.script import keys_of, measuring, run_script
from benchmarks.probe import linear_probe
from loaders import check
from loaders.augment import cropper
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.processor import cores
from loaders.terminal import text_console
from zoo.settings import Overrides, read_settings

if TYPE_CHECKING:
    from zoo.run import Run
    from zoo.scores import Scores


def main(
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split, group. Its folder holds the files.")],
    model: Annotated[list[str], typer.Option(help="A name in the zoo; give it again for more.")],
    seed: Annotated[list[int], typer.Option(help="Of validation part, weights, order and folds; likewise.")] = [0],  # noqa: B006
    folds: Annotated[int, typer.Option(help="Answer every clip once, in so many parts; 0: the list's own split.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as of `clipzoo train`, where not by default.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="auto, article or dtpp.")] = "auto",
    classes: Annotated[str | None, typer.Option(help="These alone: a,b,c; all of the list, if left out.")] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Train on so many of the training clips, of every class alike; 0: on all.")
    ] = 0,
    crops: Annotated[int, typer.Option(help="Of each test clip, as of `clipzoo evaluate`.")] = 1,
    training: Annotated[bool, typer.Option(help="Score the training clips too.")] = True,
    float16: Annotated[bool, typer.Option("--float16", help="Score the float16 file too.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="In place of the training, a linear probe of what its head begins with.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the result files; that of this machine, if left out.")
    ] = None,
) -> None:
    """Train as `clipzoo train` does, export, and score the ONNX file on test clips; what has a row already is left."""
    from zoo.backend import start_backend

    console = text_console()
    cropper(crops)  # a slip is said before the training
    if probe and (crops > 1 or float16):
        raise ClipzooError("--probe is of one crop, and has no file: leave out --crops and --float16")
    console.print(start_backend(training=True))
    index, given = index_csv(clips, root=clips.parent), read_settings(recipe, settings or [])
    chosen = classes.split(",") if classes else []
    if chosen:
        check.names("--classes", chosen, index.labels, noun="class")
        index = ClipIndex(index.root, tuple(clip for clip in index if clip.label in chosen))
    name_of = f"{clips.parent.name}: {', '.join(index.labels)}" if chosen else clips.parent.name
    done = keys_of("real", out)
    file = out / f"real-{datetime.now(UTC):%Y-%m-%dT%H%M%S}.jsonl" if out else None
    with measuring("real", file, console) as results:
        for name, each in product(model, seed):
            for fold, part in folds_of(index, folds, seed=each):
                row = planned_row(name_of, name, given, seed=each, fold=fold, limit=limit, crops=crops)
                row = replace(row, settings={**row.settings, "probe": "linear probe"}) if probe else row
                if row.key in done:
                    console.print(f"{row.model}, {row.name}: is there")
                    continue
                part = fewer(part, limit, seed=each) if limit else part
                way = partial(learn, crops=crops, training=training, float16=float16) if not probe else probed
                facts = way(part, name, given, seed=each, say=console.print)
                results.add(replace(row, turns=[[facts["training_seconds"]]], facts={"said": given.model, **facts}))


def folds_of(index: ClipIndex, folds: int, *, seed: int) -> Iterator[tuple[str, ClipIndex]]:
    """What a row calls each fold, such as `1 of 5`, and its clips; with 0 folds the list's own split, unnamed."""
    if not folds:
        yield "", index
        return
    for number, part in enumerate(index.folds(folds, seed=seed), start=1):
        yield f"{number} of {folds}", part


def fewer(index: ClipIndex, limit: int, *, seed: int) -> ClipIndex:
    """The same test clips, and so many of those to train on: one of each class in turn, drawn by the seed.

    Args:
        index: clips, of which some are for the test.
        limit: clips to keep of all others.
        seed: of the draw.

    Raises:
        ClipzooError: there are not so many, or fewer than two for each class.
    """
    order = np.random.default_rng(seed).permutation(len(index))
    rest: dict[Any, list[int]] = {label: [] for label in index.labels}
    for position in order:
        if index[position].split != "test":
            rest[index[position].label].append(int(position))
    there = sum(map(len, rest.values()))
    if not 2 * len(rest) <= limit <= there:
        raise ClipzooError(f"--limit {limit}: must be {2 * len(rest)}, two of each class, to {there}, all there are")
    turns = chain.from_iterable(zip_longest(*rest.values()))
    kept = set(islice((position for position in turns if position is not None), limit))
    clips = (clip for position, clip in enumerate(index) if clip.split == "test" or position in kept)
    return replace(index, clips=tuple(clips))


def planned_row(
    clips: str, model: str, given: Overrides, *, seed: int, fold: str = "", limit: int = 0, crops: int = 1
) -> Row:
    """What is known of a training before it, and tells it from those that are done.

    Args:
        clips: name of the dataset.
        model: a name in the zoo.
        given: what is not by default; files of weights are of one machine, and left out.
        seed: of the recipe.
        fold: such as `1 of 5`; empty for the dataset's own split.
        limit: training clips; 0: all of them.
        crops: of each test clip; see `export.scoring.score`.
    """
    import keras

    options = [*given.model.items(), *given.spec.items()]  # both may say `frames`
    said = ", ".join(f"{name} {value}" for name, value in options if not Path(str(value)).is_file())
    fields = [f"{name} {value}" for name, value in given.recipe.items()]
    recipe = ", ".join([given.named, *fields] if fields or given.named != "auto" else [])
    of = f"{limit} training clips" if limit else ""
    seen = f"{crops} crops" if crops > 1 else ""
    settings = {
        "clips": clips, "options": said, "recipe": recipe, "seed": str(seed), "fold": fold, "limit": of, "crops": seen,
    }  # fmt: skip
    settings = {name: value for name, value in settings.items() if value}
    return Row(model=model, runner=BACKENDS[keras.backend.backend()], settings=settings, batch=0)


def learn(
    index: ClipIndex,
    model: str,
    given: Overrides,
    *,
    seed: int,
    crops: int = 1,
    training: bool = True,
    float16: bool = False,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """One training, as `clipzoo train` does it, and the scores of its ONNX file.

    Args:
        index: the clips; what they lack of splits is made as `zoo.train` does it, and no group is torn.
        model: a name in the zoo.
        given: recipe by name, its fields, and options of the model.
        seed: of the recipe.
        crops: of each test clip; see `export.scoring.score`.
        training: whether the training clips are scored too.
        float16: whether the float16 file is scored too, and its answers counted that differ.
        say: called with each line that a person should read.

    Returns:
        What `judge` and `facts_of` say; where they were asked for, `training_top1`, and `float16_changed`, a number of
        clips, or `float16_refused`, what the parity gate said.
    """
    from export.convert import to_onnx
    from export.parity import ParityError
    from export.runtime import Classifier
    from export.scoring import score

    with tempfile.TemporaryDirectory() as folder:
        run = train_by_plan(index, model, given, seed=seed, out=Path(folder), say=say)
        file, half, used = run.folder / "model.onnx", run.folder / "float16.onnx", clips_of(run, index)
        to_onnx(run.folder, file)
        classifier = Classifier(file)
        scores = score(classifier, used.only("test"), workers=cores(), crops=crops)
        facts = {**facts_of(run), **judge(scores, used)}
        if float16:
            try:
                to_onnx(run.folder, half, precision="float16")
                halves = score(Classifier(half), used.only("test"), workers=cores(), crops=crops)
                changed = answers_of(halves) != answers_of(scores)
                facts["float16_changed"] = int(changed.sum())
            except ParityError as error:
                facts["float16_refused"] = str(error)
                say(f"float16: {error}")
        if training:
            seen: Any = score(classifier, used.only("train"), workers=cores()).evaluate()
            facts["training_top1"] = seen.top1
    return facts


def probed(
    index: ClipIndex, model: str, given: Overrides, *, seed: int, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """What a linear probe knows of the test clips, and of those that it was fitted to; arguments as of `learn`."""
    import keras

    from zoo.backend import versions

    test, known, chosen = linear_probe(index, model, given, seed=seed, say=say)
    seen: Any = known.evaluate()
    return {
        "model": model, "seed": seed, "backend": keras.backend.backend(), "training_seconds": chosen["seconds"],
        "strength": chosen["strength"], "training_top1": seen.top1, **judge(test, index), "versions": versions(),
    }  # fmt: skip


def train_by_plan(
    index: ClipIndex,
    model: str,
    given: Overrides,
    *,
    seed: int,
    out: Path,
    say: Callable[[str], object] = print,
) -> Run:
    """Trains as `clipzoo train` does; see `learn`."""
    from zoo.learning import train
    from zoo.recipes import plan

    planned = plan(model, index, recipe=given.named, options=given.options, fields={**given.recipe, "seed": seed})
    return train(index, model, planned.recipe, out=out, options=planned.options, workers=cores(), say=say)


def clips_of(run: Run, index: ClipIndex) -> ClipIndex:
    """The clips of a run with the splits that it had; labels in the order of `index`."""
    return replace(index_csv(run.clips, root=index.root), labels=index.labels)


def facts_of(run: Run) -> dict[str, Any]:
    """What is known of a training: model, seed, backend, figures of its validation clips, seconds, recipe, versions."""
    import keras

    from zoo.backend import versions
    from zoo.run import figures_of

    record, history = run.read_record(), run.read_history()
    validation = figures_of(record).get("val_accuracy")
    # A file's folder is of one machine.
    options = {
        name: Path(value).name if Path(str(value)).is_file() else value for name, value in record["options"].items()
    }
    return {
        "model": record["model"], "seed": record["recipe"]["seed"], "backend": keras.backend.backend(),
        **({"validation_top1": validation} if validation is not None else {}), "epochs": len(history),
        "history": history, "training_seconds": record["seconds"], "options": options, "specs": record["specs"],
        "recipe": record["recipe"], "versions": versions(),
    }  # fmt: skip


def judge(scores: Scores, used: ClipIndex) -> dict[str, Any]:
    """What scores of test clips say: shares from 0 to 1; `right` is a character for each clip in the order of `files`.

    Args:
        scores: of the test clips.
        used: all clips, with splits.
    """
    result: Any = scores.evaluate()
    groups = {clip.file: clip.group or clip.file for clip in used.only("test")}
    right = "".join("01"[int(each)] for each in answers_of(scores) == scores.targets)
    return {
        "top1": result.top1, "interval": list(result.interval), "mean_class_accuracy": result.mean_class_accuracy,
        "calibration_error": result.calibration_error, "test_clips": result.clips,
        "training_clips": used.counts()["train"], "right": right,
        "files": list(scores.files), "groups": [groups[file] for file in scores.files], "labels": list(result.labels),
        "confusion": result.confusion,
    }  # fmt: skip


def answers_of(scores: Scores) -> np.ndarray:
    """The class that each clip is taken for, whole numbers."""
    return scores.probabilities.argmax(axis=1)


if __name__ == "__main__":
    run_script(main)
