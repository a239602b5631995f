"""`clipzoo evaluate`, `clipzoo export` and `clipzoo predict`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.terminal import OnErrorChoice, bar, drop_broken, index_videos, text_console

app = typer.Typer()
Batches = Callable[[Sequence[Path]], Iterator[np.ndarray]]
Workers = Annotated[int, typer.Option(min=1, help="Threads that read clips.")]


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run, a .keras file, or an .onnx file.")],
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    split: Annotated[Path | None, typer.Option(help="CSV list: file,label,split.")] = None,
    part: Annotated[str | None, typer.Option(help="train, validation or test; test if a list has parts.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="The confusion matrix, PNG; beside the model if left out.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
) -> None:
    """Measure a model on labelled clips: top-1, mean per-class accuracy, 95 % interval, confusion matrix."""
    from zoo.evaluation import evaluate as compare
    from zoo.pictures import draw_confusion
    from zoo.run import Run

    console, stderr = text_console(), text_console(stderr=True)
    labels, predict = _predictor(model, batch, workers, console)
    index = _choose(model, videos, split, part, console)
    index = drop_broken(index.with_labels(labels), on_error=on_error, workers=workers, stderr=stderr)
    scores = []
    with bar(stderr, "classifying", len(index)) as advance:
        for rows in predict(index.paths):
            scores.append(rows)
            for _ in rows:
                advance()
    result = compare(index.targets, np.concatenate(scores), labels)
    table = Table("class", "clips", "right", title=f"{model} on {len(index)} clips")
    for label, row in zip(labels, result.confusion, strict=True):
        share = result.class_accuracy[label]
        table.add_row(label, str(sum(row)), "-" if share is None else f"{share:.1%}")
    console.print(table)
    low, high = result.interval
    console.print(f"top-1 {result.top1:.1%}, 95 % interval {low:.1%} to {high:.1%} ({result.clips} clips)")
    console.print(f"mean per-class accuracy {result.mean_class_accuracy:.1%}")
    if json_file:
        figures = {"model": str(model), "videos": str(videos), "part": part, **result.to_dict()}
        write_text(json_file, json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
        console.print(f"wrote {json_file}")
    picture = picture or (Run(model).confusion if model.is_dir() else model.with_suffix(".confusion.png"))
    draw_confusion(result, picture)
    console.print(f"wrote {picture}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run, or a .keras file.")],
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 or 18.")] = 17,
) -> None:
    """Write a model as one ONNX file, if ONNX Runtime gives what Keras gives on the same clips."""
    from export.convert import to_onnx

    console = text_console()
    file = run / "model.keras" if run.is_dir() else run
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    with console.status("converting in a clean process") if console.is_terminal else nullcontext():
        metadata = to_onnx(run, out, opset=opset)
    parity = metadata.parity
    console.print(
        f"parity on {parity['clips']} clips ({parity['source']}): logits {parity['logits']:.1g} of their spread, "
        f"probabilities {parity['probabilities']:.1g}; allowed {parity['tolerance']:g}"
    )
    if parity["variation"] < 1e-3:
        console.print(
            f"note: the answers hardly differ from clip to clip (by {parity['variation']:.1g}), so this parity "
            "proves little; is the model trained?"
        )
    console.print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB)")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    files: Annotated[list[Path], typer.Argument(help="Video files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    provider: Annotated[str, typer.Option(help="cpu, cuda or tensorrt.")] = "cpu",
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.FAIL,
) -> None:
    """Classify video files with an ONNX file. Needs no Keras."""
    from export.runtime import Classifier
    from loaders.decode import check_readable

    console, stderr = text_console(), text_console(stderr=True)
    classifier = Classifier(model, provider=provider)  # type: ignore[arg-type]
    errors = check_readable(files, workers=workers)
    for error in filter(None, errors):
        if on_error is OnErrorChoice.FAIL:
            raise error
        stderr.print(f"left out: {error}")
    usable = [file for file, error in zip(files, errors, strict=True) if error is None]
    if not usable:
        raise ClipzooError(f"none of the {len(files)} files can be read")
    found = classifier.predict(usable, batch_size=batch, workers=workers)
    if as_json:
        typer.echo(json.dumps([asdict(prediction) for prediction in found], indent=2, ensure_ascii=False))
        return
    table = Table("file", "label", "probability")
    for prediction in found:
        table.add_row(prediction.file, prediction.label, f"{prediction.probability:.1%}")
    console.print(table)


def _predictor(model: Path, batch: int, workers: int, console: Console) -> tuple[tuple[str, ...], Batches]:
    """Labels of a model, and how it classifies files: by ONNX Runtime, or by Keras."""
    if model.suffix == ".onnx":
        from export.runtime import Classifier

        classifier = Classifier(model)
        return classifier.labels, lambda paths: classifier.probabilities(paths, batch_size=batch, workers=workers)
    file = model / "model.keras" if model.is_dir() else model
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    from zoo.backend import start_backend

    console.print(start_backend())
    from loaders.clip import read_batches
    from zoo.contract import labels, specs
    from zoo.registry import load_model

    network = load_model(model)
    contract = specs(network)

    def predict_files(paths: Sequence[Path]) -> Iterator[np.ndarray]:
        for clips in read_batches(paths, contract, batch_size=batch, workers=workers):
            # Keras warns where a model of one input is given a dict.
            yield np.asarray(network.predict_on_batch(clips if len(clips) > 1 else next(iter(clips.values()))))

    return labels(network), predict_files


def _choose(model: Path, videos: Path, split: Path | None, part: str | None, console: Console) -> Any:
    """The clips to measure on. A run on its own clips is measured on its own test part unless told otherwise."""
    from zoo.run import Run

    run = Run(model)
    if split is None and run.record.is_file() and run.split.is_file():
        own = Path(run.read_record()["videos"])
        if own == videos.resolve():
            split = run.split
            console.print(f"clips: the part {part or 'test'} of {split}")
    index = index_videos(videos, split)
    if part is None and not index.has_parts:
        if split is None:
            console.print("clips: all of the folder; if the model was trained on some, give --split and --part")
        return index
    return index.part(part or "test")
