"""How good models become on real clips by the recipe `auto`: `python -m benchmarks.real LIST --model i3d`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.harness.machine import cores
from benchmarks.harness.records import Row, newest, side_by_side
from benchmarks.harness.runners import BACKENDS
from benchmarks.harness.script import measuring, run_script
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.terminal import text_console
from zoo.settings import read_settings


def main(
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split, group. Its folder holds the files.")],
    model: Annotated[list[str], typer.Option(help="A name in the zoo; give it again for more.")],
    seed: Annotated[list[int], typer.Option(help="Of validation part, weights, order and folds; likewise.")] = [0],  # noqa: B006
    folds: Annotated[int, typer.Option(help="Answer every clip once, in so many parts; 0: the list's own split.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE of the model, where a default cannot be had.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the result files; that of this machine, if left out.")
    ] = None,
) -> None:
    """Train by the recipe `auto`, export, and score the ONNX file on test clips; what has a row already is left."""
    from zoo.backend import start_backend

    console = text_console()
    console.print(start_backend(training=True))
    index, options = index_csv(clips, root=clips.parent), read_settings(None, settings or []).model
    known = side_by_side("real", out) if out else newest("real")
    done = {row.key for results in known for row in results.rows}
    file = out / f"real-{datetime.now(UTC):%Y-%m-%dT%H%M%S}.jsonl" if out else None
    with measuring("real", file, console) as results:
        for name, each in product(model, seed):
            for number, part in enumerate(index.folds(folds, validation=0.15, seed=each) if folds else [index]):
                fold = f"{number + 1} of {folds}" if folds else ""
                row = planned_row(clips.parent.name, name, options=options, seed=each, fold=fold)
                if row.key in done:
                    console.print(f"{row.model}, {row.name}: is there")
                    continue
                facts = learn(part, name, options=options, seed=each, say=console.print)
                results.add(replace(row, turns=[[facts["training_seconds"]]], facts={"said": options, **facts}))


def planned_row(clips: str, model: str, *, options: dict[str, Any], seed: int, fold: str = "") -> Row:
    """What is known of a training before it, and tells it from those that are done.

    Args:
        clips: name of the dataset.
        model: a name in the zoo.
        options: of it; files of weights are of one machine, and left out.
        seed: of the recipe.
        fold: such as `1 of 5`; empty for the dataset's own split.
    """
    import keras

    said = ", ".join(f"{name} {value}" for name, value in options.items() if "weights" not in name)
    settings = {"clips": clips, "options": said, "seed": str(seed), "fold": fold}
    settings = {name: value for name, value in settings.items() if value}
    return Row(model=model, runner=BACKENDS[keras.backend.backend()], settings=settings, batch=0)


def learn(
    index: ClipIndex, model: str, *, options: dict[str, Any], seed: int, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """One training by the recipe `auto`, as `clipzoo train` does it, and the scores of its ONNX file.

    Args:
        index: the clips; what they lack of splits is made as `zoo.train` does it, and no group is torn.
        model: a name in the zoo.
        options: of it.
        seed: of the recipe.
        say: called with each line that a person should read.

    Returns:
        What is known of the training and its test: figures from 0 to 1, `right` (a character for each test clip, in
        the order of `files`), options and recipe, seconds, versions.
    """
    import keras

    from export.convert import to_onnx
    from export.runtime import Classifier
    from export.scoring import score
    from zoo.backend import versions
    from zoo.recipes import plan
    from zoo.run import train

    planned, began = plan(model, index, options=options, fields={"seed": seed}), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = train(index, model, planned.recipe, out=folder, options=planned.options, workers=cores(), say=say)
        seconds, record, history = time.perf_counter() - began, run.read_record(), run.read_history()
        to_onnx(run.folder, run.folder / "model.onnx")
        classifier = Classifier(run.folder / "model.onnx")
        used = replace(index_csv(run.clips, root=index.root), labels=index.labels)
        scores = score(classifier, used.only("test"), workers=cores())
        seen = score(classifier, used.only("train"), workers=cores())
    result: Any = scores.evaluate()
    trained: Any = seen.evaluate()
    right = scores.probabilities.argmax(axis=1) == scores.targets
    best = record["best"]
    return {
        "model": model, "seed": seed, "backend": keras.backend.backend(), "top1": result.top1,
        "interval": list(result.interval), "mean_class_accuracy": result.mean_class_accuracy,
        "calibration_error": result.calibration_error, "test_clips": result.clips,
        "validation_top1": best.get("val_accuracy"), "training_top1": trained.top1, "training_clips": trained.clips,
        "epochs": len(history), "training_seconds": seconds, "options": planned.options, "recipe": record["recipe"],
        "versions": versions(), "right": "".join("01"[int(each)] for each in right),
        "files": list(scores.files), "labels": list(result.labels), "confusion": result.confusion,
    }  # fmt: skip


if __name__ == "__main__":
    run_script(main)
