"""`clipzoo train`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from loaders.errors import ClipzooError
from loaders.renamed_options import renamed_options
from loaders.tasks import Task
from loaders.terminal import LabelColumns, ListFile, OnErrorChoice, drop_broken, index_videos, text_console
from zoo.hosts import Hosts, is_watched, join, refuse, watched
from zoo.registry import input_specs

if TYPE_CHECKING:
    import keras

    from zoo.run import Run

app = typer.Typer()


_OLD = {
    "--split": "--list FILE",
    "--batch": "--set recipe.batch=N",
    "--frames": "--set frames=N",
    "--size": "--set size=PIXELS",
    "--seed": "--set recipe.seed=N",
    "--spec": "--set spec.FIELD=VALUE",
    "--protocol": "--recipe dtpp",
    "--optimizer": "--set recipe.optimizer=NAME",
    "--learning-rate": "--set recipe.learning_rate=RATE",
    "--patience": "--set recipe.patience=N",
    "--clip-norm": "--set recipe.clip_norm=NORM",
    "--accumulate": "--set recipe.accumulate=N",
    "--precision": "--set recipe.precision=NAME",
    "--augment": "--set recipe.augmentation=NAME",
    "--validation": "--set recipe.validation=SHARE",
    "--test": "--set recipe.test=SHARE",
    "--class-weights": "--set recipe.class_weights=true",
}


@app.command(cls=renamed_options(_OLD))
def train(
    context: typer.Context,
    videos: Annotated[
        Path | None, typer.Argument(help="Folder of clips, one sub-folder per action.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model; see `clipzoo models`.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the run; must not hold one yet.")] = Path("run"),
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="auto, article, dtpp; a TOML file with tables model, recipe, spec; or a run.json."
        ),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="alpha=0.25, frames=8, recipe.learning_rate=3e-4, spec.stride=4, ..."
        ),
    ] = [],  # noqa: B006  Typer copies it
    weights: Annotated[
        Path | None,
        typer.Option(help="A run, a .keras file or a preset, to go on from; with a new head for other labels."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The recipe's, if left out.")] = None,
    list_file: ListFile = None,
    task: Annotated[Task, typer.Option(help="What the labels are.")] = "classification",
    label: LabelColumns = [],  # noqa: B006  Typer copies it
    cache: Annotated[str | None, typer.Option(help="memory, or a folder: decode every clip once.")] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="N|all", help="Of this machine, or of each host: they share every batch.")
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(metavar="NAME:PORT,COUNT,NUMBER", help="Train on several machines (JAX); see zoo/CLUSTER.md."),
    ] = None,
    scan: Annotated[Path | None, typer.Option(help="What `clipzoo scan --json` wrote; spares the checks.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read clips.")] = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped, with its clips and settings.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Between two checkpoints within an epoch; there is one after each.")
    ] = 10.0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write figures for `tensorboard --logdir RUN/tensorboard` too.")
    ] = False,
) -> None:
    """Train a model on a folder of clips. KERAS_BACKEND chooses JAX or TensorFlow.

    Ctrl-C and SIGTERM end it after the step that is under way; --resume RUN goes on from there.

    Clips are mirrored at random, unless the labels tell left from right, as turn_left and turn_right do;
    --set recipe.augmentation=noflip leaves it out.
    """
    from zoo.backend import choose_backend, start_backend
    from zoo.learning import train as train_run
    from zoo.recipe import Recipe
    from zoo.recipes import model_options, plan
    from zoo.run_lock import require_free
    from zoo.saving import saved_specs
    from zoo.settings import read_settings

    console, stderr = text_console(), text_console(stderr=True)
    joining = Hosts.parse(hosts) if hosts is not None else None
    spread = _devices(devices)
    first = joining is None or joining.number == 0
    if joining is not None and not is_watched():
        choose_backend()
        refuse(os.environ["KERAS_BACKEND"])
        raise typer.Exit(watched(joining, sys.argv[1:]))
    console.quiet = not first
    if resume is not None:
        _refuse_beside_resume(context)
        how = {"cache": cache, "workers": workers, "checkpoint_minutes": checkpoint_minutes, "devices": spread}
        _resume(resume, joining, console, board=tensorboard and first, videos=videos, **how)
        return
    if videos is None:
        raise ClipzooError("give VIDEOS, a folder of clips with one sub-folder per action; or --resume RUN to go on")
    if first:
        require_free(out, overwrite=overwrite)  # before anything that takes long
    alone = read_settings(None, set_)
    for option, wanted, key, value in (
        ("--model", model, "name", alone.model.get("name")),
        ("--epochs", epochs, "recipe.epochs", alone.recipe.get("epochs")),
    ):
        if wanted is not None and value is not None and value != wanted:
            raise ClipzooError(
                f"{option} {wanted} and --set {key}={value} say two things of one; leave one of them out"
            )
    settings = read_settings(recipe, [*set_, *([f"recipe.epochs={epochs}"] if epochs else [])])
    options = settings.options
    name = options.pop("name", None)
    name = model or (None if weights else name)
    if name is None and weights is None:
        raise ClipzooError("give --model NAME (see `clipzoo models`), or --weights RUN to go on from a run")
    if name is not None and weights is not None:
        raise ClipzooError(f"--model {name} does not go with --weights {weights}, which is a model already")
    # A slip is said before clips are looked at; what these two go with, the recipe decides when they are known.
    Recipe.from_dict({field: value for field, value in settings.recipe.items() if field not in ("draws", "refit")})
    options = model_options(name, recipe=settings.named, options=options)
    specs = saved_specs(weights) if weights is not None else input_specs(str(name), **options)
    console.print(choose_backend())
    index = index_videos(videos, list_file, label=label, task=task)
    index = drop_broken(index, on_error=on_error, workers=workers, stderr=stderr, scan=scan, specs=specs)
    if joining is not None:
        join(joining)
    start_backend(training=True)  # after all that can be wrong with the clips: this takes seconds
    planned = plan(name, index, recipe=settings.named, options=options, fields=settings.recipe, onward=weights)
    for line in planned.lines:
        console.print(line)
    what: str | Path = weights if weights is not None else str(name)
    _finish(
        console,
        lambda watching: train_run(
            index, what, planned.recipe, out=out, options=planned.options, cache=cache, workers=workers,
            checkpoint_minutes=checkpoint_minutes, devices=spread, overwrite=overwrite, callbacks=watching,
            say=console.print,
        ),
        writes=first,
        board=out if tensorboard and first else None,
    )  # fmt: skip


def _devices(text: str | None) -> int | Literal["all"] | None:
    if text is None:
        return None
    if text == "all":
        return "all"
    if not text.isdecimal() or int(text) < 1:
        raise ClipzooError(f"--devices {text!r}: must be a whole number >= 1, or all")
    return int(text)


_BESIDE_RESUME = ("videos", "resume", "cache", "workers", "checkpoint_minutes", "devices", "hosts", "tensorboard")


def _refuse_beside_resume(context: typer.Context) -> None:
    """A run goes on as it began: what else is asked for is said, not passed over."""
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name not in _BESIDE_RESUME and source is not None and source.name == "COMMANDLINE":
            raise ClipzooError(
                f"{parameter.opts[-1]} does not go with --resume, which goes on as the run began; leave it out, or "
                "train another run: clipzoo train VIDEOS --weights RUN --out ANOTHER"
            )


def _resume(run: Path, joining: Hosts | None, console: Console, *, board: bool, **how: Any) -> None:
    """Goes on with a run; `how` is of `zoo.resume`."""
    from zoo.backend import choose_backend, start_backend
    from zoo.checkpoint import read_state
    from zoo.resuming import resume as resume_run
    from zoo.run import Run

    line = choose_backend()
    read_state(Run(run))  # before anything that takes long
    console.print(line)
    if joining is not None:
        join(joining)
    start_backend(training=True)
    _finish(
        console,
        lambda watching: resume_run(run, callbacks=watching, say=console.print, **how),
        writes=joining is None or joining.number == 0,
        board=run if board else None,
        onward=True,
    )


def _finish(
    console: Console,
    trained: Callable[[Sequence[keras.callbacks.Callback]], Run],
    *,
    writes: bool,
    board: Path | None,
    onward: bool = False,
) -> None:
    """Trains, and says what came of it.

    Args:
        console: where.
        trained: callbacks that watch -> the run.
        writes: whether this host writes the run.
        board: of which run TensorBoard's files are written.
        onward: behind those that are there.
    """
    from loaders.tasks import task_kind
    from zoo.chance import learnt_nothing
    from zoo.progress import RichProgress, RunTensorBoard
    from zoo.run import figures_of

    progress = RichProgress(console)
    boards = [RunTensorBoard(board, onward=onward)] if board is not None else []
    try:
        run = trained([progress, *boards])
    except KeyboardInterrupt as error:
        if not hasattr(error, "__notes__"):  # else it is said already, with what is kept
            console.print("interrupted before anything was trained")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    if not writes:
        return
    record = run.read_record()
    row, again, kind = figures_of(record), record.get("refit"), task_kind(record["task"])
    judged = f"val_{kind.metric}" in row
    figure = f"{kind.title} {kind.show(row[f'val_{kind.metric}' if judged else kind.metric]).strip()}"
    if again:
        console.print(
            f"model: trained on {again['clips']} clips; on {record['clips']['train']} of them alone, "
            f"validation {figure}"
        )
    else:
        name = "best" if judged else "model"
        console.print(f"{name}: epoch {int(row['epoch']) + 1}, {'validation' if judged else 'training'} {figure}")
    nothing = learnt_nothing(run)
    if nothing:
        console.print(f"note: {nothing}")
    console.print(f"wrote {run.model}, {run.history}, {run.curves}")
    console.print(f"next: clipzoo export {shlex.quote(str(run.folder))} model.onnx")
