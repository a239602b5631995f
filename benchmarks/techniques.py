"""What helps a training, one thing at a time: `python -m benchmarks.techniques LIST --model i3d`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.harness.accuracy_tables import AUTO
from benchmarks.harness.script import ResultFile, keys_of, measuring, run_script
from benchmarks.real_clips import planned_row
from loaders.check import names
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.processor import cores
from loaders.terminal import text_console
from zoo.recipe import Recipe
from zoo.recipes import plan
from zoo.settings import Overrides, read_settings
from zoo.splitting import settle_splits


def _optimizer(recipe: Recipe, **config: Any) -> Recipe:
    assert isinstance(recipe.optimizer, Mapping)
    return replace(recipe, optimizer={**recipe.optimizer, "config": {**recipe.optimizer["config"], **config}})


def _warm_up(recipe: Recipe, steps: int) -> Recipe:
    """A rate that rises from 0 in the first two epochs, and falls in the others."""
    assert isinstance(recipe.learning_rate, Mapping)
    known = recipe.learning_rate["config"]
    config = {
        "initial_learning_rate": 0.0, "warmup_target": known["initial_learning_rate"], "warmup_steps": 2 * steps,
        "decay_steps": known["decay_steps"] - 2 * steps,
    }  # fmt: skip
    return replace(recipe, learning_rate={**recipe.learning_rate, "config": config})


# Name -> a recipe, the steps of an epoch -> the recipe with this changed alone.
TECHNIQUES: Mapping[str, Callable[[Recipe, int], Recipe]] = {
    AUTO: lambda recipe, steps: recipe,
    "classes balanced": lambda recipe, steps: replace(recipe, class_weights=True),
    "weights averaged in each epoch (EMA)": lambda recipe, steps: _optimizer(
        recipe, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=steps
    ),
    "warm-up of 2 epochs": _warm_up,
    "learning rate 1e-3 throughout": lambda recipe, steps: replace(recipe, learning_rate=1e-3, patience=recipe.epochs),
    "no weight decay": lambda recipe, steps: _optimizer(recipe, weight_decay=0.0),
    "gradients cut to norm 1": lambda recipe, steps: replace(recipe, clip_norm=1.0),
    "label smoothing 0.1": lambda recipe, steps: replace(recipe, label_smoothing=0.1),
    "mixup of features, alpha 0.2": lambda recipe, steps: replace(recipe, mixup=0.2),
    "one augmented draw": lambda recipe, steps: replace(recipe, draws=1),
}
# Name -> what the model is made with; auto has dropout 0.5 and frames that keep their shape.
OPTIONS: Mapping[str, Overrides] = {
    "no dropout": Overrides(model={"dropout": 0.0}),
    "dropout 0.8": Overrides(model={"dropout": 0.8}),
    "frames squeezed into a square": Overrides(spec={"resize": "stretch"}),
}


def main(
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split, group. Its folder holds the files.")],
    model: Annotated[list[str], typer.Option(help="A name in the zoo; give it again for more.")],
    seed: Annotated[list[int], typer.Option(help="Of validation part, weights and order; likewise.")] = [0, 1, 2],  # noqa: B006
    technique: Annotated[list[str] | None, typer.Option(help="One of them; all if left out.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as of `clipzoo train`.")] = None,
    json_file: ResultFile = None,
) -> None:
    """Train by the recipe auto with one thing changed; compare top-1 on validation clips. No test clip is read."""
    from zoo.backend import start_backend

    console = text_console()
    console.print(start_backend(training=True))
    known = (*TECHNIQUES, *OPTIONS)
    names("--technique", technique or [], known, noun="technique")
    index, given = index_csv(clips, root=clips.parent), read_settings("auto", settings or [])
    done = keys_of("techniques", json_file.parent if json_file else None)
    with measuring("techniques", json_file, console) as results:
        for name, each, way in product(model, seed, technique or known):
            row = planned_row(clips.parent.name, name, given, seed=each)
            row = replace(row, settings={**row.settings, "technique": way})
            if row.key in done:
                console.print(f"{row.model}, {way}, seed {each}: is there")
                continue
            facts = judge(index, name, given, technique=way, seed=each, say=console.print)
            results.add(replace(row, turns=[[facts["training_seconds"]]], facts=facts))


def judge(
    index: ClipIndex,
    model: str,
    given: Overrides,
    *,
    technique: str,
    seed: int,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """One training by the recipe `auto` with one thing changed, once, with the validation clips apart.

    Args:
        index: the clips; those of its test split are left alone.
        model: a name in the zoo, that begins from weights.
        given: fields of the recipe and options of the model, of all techniques alike.
        technique: of `TECHNIQUES` or `OPTIONS`.
        seed: of the recipe.
        say: called with each line that a person should read.

    Returns:
        `last_top1`, from 0 to 1: top-1 after the last epoch, which is what `auto` keeps where it trains twice;
        `validation_top1` of the best epoch by loss; of how many clips; recipe, options and seconds.

    Raises:
        ClipzooError: the recipe does not keep features of a frozen part, which is what all techniques are tried on.
    """
    from zoo.learning import train
    from zoo.run import figures_of

    change = OPTIONS.get(technique, Overrides())
    given = replace(given, model={**given.model, **change.model}, spec={**given.spec, **change.spec})
    planned = plan(model, index, options=given.options, fields={**given.recipe, "seed": seed})
    if not planned.recipe.draws:
        raise ClipzooError(
            f"{model}: begins from no weights, or trains whole; this is for what keeps features of a frozen part"
        )
    say(f"{model}, {technique}, seed {seed}")
    recipe = replace(planned.recipe, refit=False)
    split, _ = settle_splits(index, recipe)
    counts = split.counts()
    changed = TECHNIQUES.get(technique, TECHNIQUES[AUTO])(recipe, math.ceil(counts["train"] / recipe.batch))
    with tempfile.TemporaryDirectory() as folder:
        run = train(split, model, changed, out=folder, options=planned.options, workers=cores(), say=say)
        record, last = run.read_record(), run.read_history()[-1]
    return {
        "validation_top1": figures_of(record)["val_accuracy"], "last_top1": last["val_accuracy"],
        "validation_clips": counts["validation"],
        "training_seconds": record["seconds"], "options": planned.options, "recipe": record["recipe"],
    }  # fmt: skip


if __name__ == "__main__":
    run_script(main)
