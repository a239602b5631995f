"""`clipzoo evaluate` and `clipzoo export`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from export.metadata import Precision
from export.session import Provider
from loaders.errors import ClipzooError, WriteError
from loaders.index import ClipIndex
from loaders.renamed_options import list_not_split, renamed_options
from loaders.split import Split
from loaders.tasks import FEATURES, Task, task_kind
from loaders.terminal import (
    JsonFile,
    LabelColumns,
    ListFile,
    OnErrorChoice,
    bar,
    index_videos,
    parse_spec,
    split_pairs,
    text_console,
    write_json,
)

app = typer.Typer()
Workers = Annotated[int, typer.Option(min=1, help="Threads that read clips.")]
Verify = Annotated[bool, typer.Option(help="Refuse an ONNX file that is not as it was written.")]
ProviderOption = Annotated[Provider, typer.Option(help="Of ONNX Runtime; what is asked for is in use, or it fails.")]
ProviderOptions = Annotated[
    list[str],
    typer.Option(
        "--provider-option", metavar="NAME=VALUE",
        help="Of the provider, as ONNX Runtime names it, such as cudnn_conv_algo_search=HEURISTIC; may be repeated.",
    ),
]  # fmt: skip


def parse_provider_options(pairs: Sequence[str]) -> dict[str, str]:
    """Reads `--provider-option NAME=VALUE`; raises ClipzooError for what is not of that form."""
    return split_pairs(pairs, option="--provider-option", form="NAME=VALUE", example="cudnn_conv_algo_search=HEURISTIC")


@app.command(cls=renamed_options({"--part": "--split NAME", "--split": list_not_split}))
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run, a .keras file, an .onnx file, or a preset.")],
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    list_file: ListFile = None,
    label: LabelColumns = [],  # noqa: B006  Typer copies it
    split: Annotated[Split | None, typer.Option(help="Which clips; test, where a list has splits.")] = None,
    json_file: JsonFile = None,
    picture: Annotated[
        Path | None, typer.Option(help="The confusion matrix, PNG; left out, into the run, of its test clips.")
    ] = None,
    crops: Annotated[
        int, typer.Option(help="1: the center; 3: the whole frame; 10: corners, center, mirrors; averaged.")
    ] = 1,
    views: Annotated[int, typer.Option(min=1, help="Places in time, averaged; dense or segment sampling.")] = 1,
    scores_file: Annotated[Path | None, typer.Option("--scores", help="Write logits here, .npz, for `sweep`.")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    provider: ProviderOption = "cpu",
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
    verify: Verify = True,
) -> None:
    """Measure a model on labeled clips: top-1, mean per-class accuracy, 95 % interval, confusion matrix."""
    from export.scoring import open_model, score
    from zoo.run import Run
    from zoo.run_scores import keep

    console, stderr = text_console(), text_console(stderr=True)
    if model.suffix != ".onnx":
        from zoo.backend import start_backend
        from zoo.saving import require_model

        require_model(model)
        console.print(start_backend())
    scored = open_model(model, provider=provider, verify=verify)
    index, chosen, own = _choose(
        model, videos, list_file, split, console, label=label or None, labels=scored.labels, task=scored.task
    )
    kept = own is not None and chosen == "test" and crops * views == 1  # the figures of the run, which it has once
    picture = picture or (Run(model).confusion if kept else None)
    if picture is not None:  # before the work: an installation that only runs files has no matplotlib
        from zoo.pictures import draw_result
    with bar(stderr, "classifying", len(index)) as advance:
        scores = score(
            scored, index, batch=batch, workers=workers, crops=crops, views=views, on_error=on_error.value,
            advance=advance,
        )  # fmt: skip
    for error in scores.left_out:
        stderr.print(f"left out: {error}")
    result = scores.evaluate()
    if scores_file:
        scores.save(scores_file)
        console.print(f"wrote {scores_file}")
    if kept:
        with suppress(WriteError):  # for `clipzoo report`; a run on a disk that is read-only is measured all the same
            keep(Run(model), scores)
            console.print(f"wrote {Run(model).scores}")
    heading, *body = result.table()
    table = Table(*(Column(name, overflow="fold") for name in heading), title=f"{model} on {len(scores.files)} clips")
    for cells in body:
        table.add_row(*cells)
    console.print(table)
    for line in result.lines():
        console.print(line)
    if json_file:
        figures = {"model": str(model), "videos": str(videos), "split": chosen, "crops": crops, "views": views}
        left_out = [str(error) for error in scores.left_out]
        write_json(json_file, {**figures, **result.to_dict(), "left_out": left_out}, console)
    if picture is not None:
        draw_result(result, picture)
        console.print(f"wrote {picture}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run, a .keras file, or a preset; see `clipzoo models --presets`.")],
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    spec: Annotated[
        str | None,
        typer.Option(help="What a model takes that is not of the zoo: frames=5,size=112,... or a JSON file."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Its labels, in the order of its outputs: a,b,c or a file, one a line.")
    ] = None,
    task: Annotated[Task | None, typer.Option(help="What they are; classification if left out.")] = None,
    mean: Annotated[str, typer.Option(help="Taken off the pixels: a number, or one for each channel: a,b,c.")] = "0",
    std: Annotated[str, typer.Option(help="Divides them then, likewise; 255 for a model that takes 0 to 1.")] = "1",
    modules: Annotated[
        list[str], typer.Option("--import", help="Module, or .py file, that registers layers of one's own.")
    ] = [],  # noqa: B006  Typer copies it
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 or 18.")] = 17,
    precision: Annotated[Precision, typer.Option(help="float16 is for GPUs, int8 for processors.")] = "float32",
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Videos for int8; a run has its training clips.")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="An output `features` too: what the head is given.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Take frames one by one, for `watch`: a TSM of shift=past, dense sampling.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if the answers hardly vary from clip to clip.")] = False,
) -> None:
    """Write a model as one ONNX file, if ONNX Runtime gives what Keras gives on the same clips."""
    from export.convert import to_onnx
    from zoo.saving import require_model

    console = text_console()
    require_model(run)
    given: dict[str, Any] = {"task": task, "mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    if spec is not None:
        given["spec"] = parse_spec(spec)
    if labels is not None:
        given["labels"] = _names(labels)
    with console.status("converting in a clean process") if console.is_terminal else nullcontext():
        metadata = to_onnx(
            run, out, modules=modules, opset=opset, precision=precision, features=features, stream=stream,
            calibrate=calibrate, force=force, **given,
        )  # fmt: skip
    parity = metadata.parity
    console.print(
        f"parity on {parity['clips']} clips ({parity['source']}): "
        + "".join(f"{name} {parity[name]:.1g}, " for name in (*metadata.kind.outputs, FEATURES) if name in parity)
        + f"allowed {parity['tolerance']:g} (of the spread; of probabilities as they are)"
    )
    if metadata.quantization:
        made = metadata.quantization
        floating = f"; float32: {', '.join(made['floating'])}" if made["floating"] else ""
        console.print(
            f"int8: decides as float32 on {made['agreement']:.1%} of {made['clips']} clips ({made['source']}), "
            f"probabilities within {made['difference']:.2g}{floating}"
        )
    if force:
        console.print(f"the answers differ from clip to clip by {parity['variation']:.1g}")
    if metadata.stream:
        console.print(f"takes frames one by one, and hands on {len(metadata.stream)} states")
    if metadata.features:
        console.print(f"features: what layer {metadata.features!r} gives")
    console.print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB)")


def _numbers(option: str, text: str) -> float | list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise ClipzooError(f"{option} {text!r} must be a number, or one for each channel: a,b,c") from None
    return found if len(found) > 1 else found[0]


def _names(text: str) -> list[str]:
    """Labels between commas, or the lines of a file."""
    try:
        is_file = Path(text).is_file()
    except OSError:  # longer than a name of a file can be
        is_file = False
    if not is_file:
        return [name.strip() for name in text.split(",")]
    try:
        return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ClipzooError(f"--labels {text}: cannot be read ({error})") from None


def _choose(
    model: Path,
    videos: Path,
    list_file: Path | None,
    split: Split | None,
    console: Console,
    *,
    label: list[str] | None,
    labels: tuple[str, ...],
    task: Task,
) -> tuple[ClipIndex, str | None, Path | None]:
    """The clips to measure on, their split, and the run's own list where it is theirs.

    A run on its own clips is measured on its own test clips by default.
    """
    index, own = choose_clips(model, videos, list_file, label=label, labels=labels, task=task)
    if own is not None:
        console.print(f"clips: the split {split or 'test'} of {own}")
    if split is None and not index.is_split:
        if list_file is None:
            console.print("clips: all of the folder; if the model was trained on some, give --list and --split")
        return index, None, own
    return of_split(index, split or "test", model), split or "test", own


def of_split(index: ClipIndex, split: Split, model: Path) -> ClipIndex:
    """The clips of a split; raises ClipzooError where there are none, and says so if a run was trained on them too."""
    from zoo.run import Run

    try:
        return index.only(split)
    except ClipzooError as error:
        run = Run(model)
        if split == "validation" and run.record.is_file() and run.read_record().get("refit"):
            raise ClipzooError(f"{error}: in the end the run was trained on those for validation too (refit)") from None
        raise


def choose_clips(
    model: Path,
    videos: Path,
    list_file: Path | None,
    *,
    label: list[str] | None,
    labels: tuple[str, ...],
    task: Task,
    labeled: bool = True,
) -> tuple[ClipIndex, Path | None]:
    """The clips under a folder, as a model names their labels; see `index_videos` for `labeled`.

    Returns:
        The clips; and the list that a run has of its own clips, where they are these and no other list was given.
    """
    from zoo.run import Run

    run, own = Run(model), None
    recorded = list_file is None and run.record.is_file() and run.clips.is_file()
    if recorded and run.lies_in(videos):
        list_file = own = run.clips
        label = label or run.label_columns
    kind = task_kind(task)
    if not label and list_file is not None and kind.columns(labels) != ("label",):
        label = list(kind.columns(labels))  # a list has a column for each unless told otherwise
    if not labeled and list_file is None and not label:
        task = "classification"  # of a folder, whatever the model answers
    return index_videos(videos, list_file, label=label, task=task, labeled=labeled), own
