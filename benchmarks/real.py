"""How good models become on real clips by the recipe `auto`: `python -m benchmarks.real LIST --model i3d`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple

import typer

from benchmarks.harness.machine import cores
from benchmarks.harness.records import FOLDER
from benchmarks.harness.script import run_script
from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.terminal import text_console
from zoo.evaluation import wilson
from zoo.settings import read_settings

REAL = FOLDER / "real"


def main(
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split, group. Its folder holds the files.")],
    model: Annotated[list[str], typer.Option(help="A name in the zoo; give it again for more.")],
    seed: Annotated[list[int], typer.Option(help="Of validation part, weights, order and folds; likewise.")] = [0],  # noqa: B006
    folds: Annotated[int, typer.Option(help="Answer every clip once, in so many parts; 0: the list's own split.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE of the model, where a default cannot be had.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the result files, one a training.")] = REAL,
) -> None:
    """Train by the recipe `auto`, export, and score the ONNX file on test clips; what has a result file is left."""
    from zoo.backend import start_backend

    console = text_console()
    console.print(start_backend(training=True))
    index, options = index_csv(clips, root=clips.parent), read_settings(None, settings or []).model
    for name in model:
        for each in seed:
            parts = index.folds(folds, validation=0.15, seed=each) if folds else [index]
            for number, part in enumerate(parts):
                fold = f"-fold{number + 1}of{folds}" if folds else ""
                path = out / f"{clips.parent.name}-{name}-seed{each}{fold}.json"
                if path.exists():
                    console.print(f"{path.name}: is there")
                    continue
                row: dict[str, Any] = {"clips": clips.parent.name, "folds": folds, "said": options}
                row |= learn(part, name, options=options, seed=each, say=console.print)
                write_text(path, json.dumps(row, indent=1) + "\n")
                low, high = row["interval"]
                console.print(f"{path.name}: top-1 {row['top1']:.1%} ({low:.1%} to {high:.1%})")


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
        "files": list(scores.files),
    }  # fmt: skip


def table(folder: Path = REAL) -> str:
    """What the result files say: a row for each dataset, model and seed; of folds, all clips together."""
    heads = ("dataset", "model", "seed", "training top-1", "validation top-1", "test top-1", "95 % interval", "ECE")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    found = _trainings(folder)
    for each in found:
        low, high = wilson(each.right.count("1"), len(each.right))
        said = {key: value for key, value in each.files[0]["said"].items() if "weights" not in key}
        name = ", ".join((each.model, *(f"{key} {value}" for key, value in said.items())))
        training, validation, error = (
            f"{fmean(file[key] for file in each.files):.1%}"
            for key in ("training_top1", "validation_top1", "calibration_error")
        )
        test = f"{each.top1:.1%} of {len(each.right)}"
        cells = (each.clips, name, str(each.seed), training, validation, test, f"{low:.1%} to {high:.1%}", error)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) if found else ""


def shares(clips: str, folder: Path = REAL) -> dict[str, float]:
    """Model -> top-1 on the test clips of a dataset, the mean of its seeds."""
    found: dict[str, list[float]] = {}
    for each in _trainings(folder):
        if each.clips == clips:
            found.setdefault(each.model, []).append(each.top1)
    return {model: fmean(values) for model, values in found.items()}


class _Training(NamedTuple):
    """One training, or all folds of one seed: together they answer every clip once."""

    clips: str
    model: str
    seed: int
    files: list[dict[str, Any]]

    @property
    def right(self) -> str:
        return "".join(file["right"] for file in self.files)

    @property
    def top1(self) -> float:
        return self.right.count("1") / len(self.right)


def _trainings(folder: Path) -> list[_Training]:
    """Those whose files are all there."""
    found: dict[tuple[str, str, int, int], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault((row["clips"], row["model"], row["seed"], row["folds"]), []).append(row)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClipzooError(f"{path}: cannot be read as a result ({error})") from None
    return [
        _Training(clips, model, seed, files)
        for (clips, model, seed, folds), files in found.items()
        if len(files) == max(1, folds)
    ]


if __name__ == "__main__":
    run_script(main)
