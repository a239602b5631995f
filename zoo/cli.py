"""`clipzoo models` and `clipzoo train`."""

from __future__ import annotations

import dataclasses
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.tasks import task_kind
from loaders.terminal import (
    LabelColumns,
    OnErrorChoice,
    OptionPairs,
    drop_broken,
    index_videos,
    parse_fields,
    parse_options,
    text_console,
)
from zoo.registry import card, list_models

app = typer.Typer()


@app.command()
def models(pattern: Annotated[str, typer.Argument(help="Shell pattern, such as 'mobilenet*'.")] = "*") -> None:
    """List the models: input, size, cost and origin."""
    names = list_models(pattern)
    if not names:
        raise ClipzooError(f"no model fits {pattern!r}; there are {', '.join(list_models())}")
    table = Table(
        "model", "frames", "size", "parameters", "multiply-adds a clip", "what it is",
        caption="With 51 classes (HMDB51) and the default input.",
    )  # fmt: skip
    for name in names:
        c = card(name)
        size = f"{c.spec.height}x{c.spec.width}"
        table.add_row(
            name, str(c.spec.frames), size, f"{c.parameters / 1e6:.2f} M", f"{c.multiply_adds / 1e9:.2f} G", c.summary
        )
    console = text_console()
    console.print(table)
    for source in sorted({card(name).source for name in names}):
        console.print(f"Source: {source}")


@app.command()
def train(
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    model: Annotated[str | None, typer.Option(help="Model; see `clipzoo models`.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the run; must not hold one yet.")] = Path("run"),
    split: Annotated[Path | None, typer.Option(help="CSV list: file,label[,split][,group][,start,end].")] = None,
    task: Annotated[str, typer.Option(help="classification, multilabel or regression.")] = "classification",
    label: LabelColumns = [],  # noqa: B006  Typer copies it
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch: Annotated[int | None, typer.Option(min=1, help="Clips in a batch; 16, or 4 with a protocol.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames in a clip; the model's default if left out.")] = None,
    size: Annotated[int | None, typer.Option(help="Height and width, pixels; the model's default if left out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split, weights, order, augmentation, dropout.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="A run, or a .keras file, to go on from with a new head.")
    ] = None,
    set_: OptionPairs = [],  # noqa: B006  Typer copies it
    spec_fields: Annotated[
        str, typer.Option("--spec", help="Other fields of the input: sampling=dense,stride=4,modality=flow,...")
    ] = "",
    protocol: Annotated[
        str | None, typer.Option(help="two_stream: that of arXiv 1711.04161; what else is given goes before it.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, sgd or caffe; adam if left out.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="1e-3 for adam, else 1e-2, if left out.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without progress before the rate falls.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Cut the gradients' norm to this.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches that make one step.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, or mixed_bfloat16: frames in bfloat16.")] = None,
    augment: Annotated[str, typer.Option(help="all, noflip (a mirror changes the class), multiscale or none.")] = "all",
    validation: Annotated[float, typer.Option(help="Share for validation, where no list gives it.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share kept apart for testing, where no list gives it.")] = 0.15,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read clips.")] = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
    cache: Annotated[str | None, typer.Option(help="memory, or a folder: decode every clip once.")] = None,
    scan: Annotated[Path | None, typer.Option(help="What `clipzoo scan --json` wrote; spares the checks.")] = None,
    class_weights: Annotated[bool, typer.Option("--class-weights", help="Make every class count alike.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
) -> None:
    """Train a model on a folder of clips. KERAS_BACKEND chooses JAX or TensorFlow."""
    from loaders.atomic import write_text
    from loaders.augment import FLOW_SCALES, Augmentation
    from zoo.backend import choose_backend, start_backend
    from zoo.run import Run, versions

    console, stderr = text_console(), text_console(stderr=True)
    run = Run(out)
    if run.record.exists() and not overwrite:
        raise ClipzooError(f"{out}: holds a run already; give another --out, or --overwrite")
    if out.exists() and not out.is_dir():
        raise ClipzooError(f"{out}: is a file; --out takes a folder")
    if not 0 < validation < 1:
        raise ClipzooError(f"--validation {validation} must be above 0 and below 1: it decides on the best epoch")
    if model is None and weights is None:
        raise ClipzooError("give --model NAME (see `clipzoo models`), or --weights RUN to go on from a run")
    if model is not None:
        card(model)
    augmentations = {
        "all": Augmentation(),
        "noflip": Augmentation(flip=False),
        "multiscale": Augmentation.multiscale(),
        "none": None,
    }
    if protocol not in (None, "two_stream"):
        raise ClipzooError(f"--protocol {protocol!r} must be two_stream, or left out")
    if protocol and task != "classification":
        raise ClipzooError(f"--protocol two_stream is for one class a clip, not for {task}")
    if augment not in augmentations:
        raise ClipzooError(f"--augment {augment!r} must be one of {', '.join(augmentations)}")
    options = parse_options(set_)
    own = sorted({"frames", "size", "classes"} & set(options))
    if own:
        raise ClipzooError(f"--set {own[0]}: frames and size are options of their own, classes are found in VIDEOS")
    kind = task_kind(task)
    changes = parse_fields(spec_fields) if spec_fields else {}
    console.print(choose_backend())
    index = index_videos(videos, split, label=label, task=task)  # type: ignore[arg-type]
    index = drop_broken(index, on_error=on_error, workers=workers, stderr=stderr, scan=scan)
    index, how = _with_parts(index, validation=validation, test=test, seed=seed)
    parts = {name: sum(clip.split == name for clip in index) for name in ("train", "validation", "test")}
    console.print(
        f"clips: {len(index)} in {len(index.labels)} classes; "
        + ", ".join(f"{n} {name}" for name, n in parts.items())
        + f" ({how})"
    )
    if not parts["test"]:
        console.print(
            "note: too few clips for a test part; `clipzoo evaluate RUN VIDEOS --part validation` is all there is"
        )

    start_backend(training=True)  # after all that can be wrong with the clips: this takes seconds
    import keras

    from loaders.dataset import ClipDataset
    from loaders.lists import write_csv
    from zoo.contract import specs
    from zoo.progress import RichProgress
    from zoo.training import Recipe, fit

    given = {"optimizer": optimizer, "learning_rate": learning_rate, "patience": patience,
             "clip_norm": clip_norm, "accumulate": accumulate, "precision": precision}  # fmt: skip
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    keras.utils.set_random_seed(seed)
    network = _model(model, weights, index, frames=frames, size=size, changes=changes, options=options)
    spec = specs(network)
    batch = batch or (4 if protocol else 16)
    modality = "flow" if any(s.modality == "flow" for s in spec.values()) else "rgb"
    if modality == "flow" and (drawn := augmentations[augment]) is not None:
        augmentations[augment] = dataclasses.replace(drawn, scales=FLOW_SCALES)
    make = partial(Recipe.two_stream, modality) if protocol else Recipe
    recipe = make(epochs=epochs, seed=seed, **fields)
    record: dict[str, Any] = {
        "command": sys.argv[1:],
        "model": network.name,
        "options": options,
        "weights": str(weights.resolve()) if weights else None,
        "task": index.task,
        "labels": list(index.labels),
        "specs": {name: s.to_dict() for name, s in spec.items()},
        "videos": str(videos.resolve()),
        "split": how,
        "clips": parts,
        "batch": batch,
        "augmentation": dataclasses.asdict(a) if (a := augmentations[augment]) else None,
        "recipe": {**dataclasses.asdict(recipe), "learning_rate": recipe.rate},
        "class_weights": class_weights,
        "workers": workers,
        "backend": os.environ["KERAS_BACKEND"],
        "versions": versions(),
    }
    trained_on = ClipDataset(
        index.only("train"),
        spec,
        batch_size=batch,
        shuffle=True,
        augmentation=augmentations[augment],
        seed=seed,
        workers=workers,
        split="train",
        cache=cache,
    )
    checked_on = ClipDataset(
        index.only("validation"),
        spec,
        batch_size=batch,
        workers=workers,
        split="validation",
        cache=trained_on.cache,  # one limit for both
    )
    for old in (run.model, run.last, run.history, run.curves, run.confusion):
        old.unlink(missing_ok=True)
    run.write_record(record)
    write_csv(index, run.split)
    write_text(run.labels, "".join(f"{label}\n" for label in index.labels))
    console.print(
        f"model: {network.name}, {network.count_params():,} parameters; input {next(iter(spec.values())).shape}"
    )
    weighted = index.only("train").class_weights() if class_weights else None
    progress = RichProgress(console, epochs=epochs, batches=len(trained_on))
    try:
        history = fit(
            network, trained_on, checked_on, recipe=recipe, out=out, class_weight=weighted, callbacks=[progress]
        )
    except KeyboardInterrupt:
        kept = f"{run.model} is the best epoch so far" if run.model.exists() else "no epoch was finished"
        stderr.print(f"interrupted; {kept}")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    best = [row for row in history if row["best"]][-1]
    run.write_record({**record, "best": best, "seconds": sum(row["seconds"] for row in history)})
    figure = f"{kind.title} {kind.show(best['val_' + kind.metric]).strip()}"
    console.print(f"best: epoch {int(best['epoch']) + 1}, validation {figure}")
    console.print(f"wrote {run.model}, {run.history}, {run.curves}")
    console.print(f"next: clipzoo export {out} model.onnx")


def _with_parts(index: Any, *, validation: float, test: float, seed: int) -> tuple[Any, str]:
    """Every clip in a part, and how it got there."""
    if not index.is_split:
        grouped = (
            "groups kept whole" if index.has_groups else "no groups known: clips of one source may stand in two parts"
        )
        return index.split(validation=validation, test=test, seed=seed), f"split by seed {seed}, {grouped}"
    index = dataclasses.replace(index, clips=tuple(clip for clip in index if clip.split))
    index.require_every_class("train")
    if any(clip.split == "validation" for clip in index):
        return index, "as listed"
    inner = index.only("train").split(validation=validation, test=0, seed=seed)
    taken = iter(inner)
    clips = tuple(next(taken) if clip.split == "train" else clip for clip in index)
    return dataclasses.replace(index, clips=clips), f"as listed, validation taken from train by seed {seed}"


def _model(
    name: str | None,
    weights: Path | None,
    index: ClipIndex,
    *,
    frames: int | None,
    size: int | None,
    changes: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    from zoo.contract import new_head, specs
    from zoo.registry import create_model, load_model

    if weights is None:
        return create_model(
            str(name), classes=index.labels, frames=frames, size=size, task=index.task, spec=changes, **options
        )
    if weights.suffix == ".h5":
        raise ClipzooError(f"--weights {weights} takes a run or a .keras file; say --set backbone_weights={weights}")
    base = load_model(weights)
    spec = next(iter(specs(base).values()))
    asked = {"--model": (name, base.name), "--frames": (frames, spec.frames), "--size": (size, spec.height)}
    for option, (given, held) in asked.items():
        if given is not None and given != held:
            raise ClipzooError(
                f"{option} {given} does not fit --weights {weights}, which has {held}; leave {option} out"
            )
    if options:
        raise ClipzooError(
            f"--set {', '.join(options)} does not go with --weights {weights}: the model is built already"
        )
    if changes:
        raise ClipzooError(f"--spec {', '.join(changes)} does not go with --weights {weights}, whose input is settled")
    return new_head(base, index.labels, index.task)
