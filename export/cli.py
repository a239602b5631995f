"""`clipzoo evaluate`, `clipzoo export` and `clipzoo predict`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from loaders.ahead import ReadAhead
from loaders.atomic import write_text
from loaders.clip import read_batches, read_crops
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind
from loaders.terminal import LabelColumns, OnErrorChoice, bar, drop_broken, index_videos, text_console

app = typer.Typer()
Workers = Annotated[int, typer.Option(min=1, help="Threads that read clips.")]


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run, a .keras file, or an .onnx file.")],
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    split: Annotated[Path | None, typer.Option(help="CSV list: file,label,split.")] = None,
    label: LabelColumns = [],  # noqa: B006  Typer copies it
    part: Annotated[str | None, typer.Option(help="train, validation or test; test if a list has parts.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="The confusion matrix, PNG; beside the model if left out.")
    ] = None,
    crops: Annotated[int, typer.Option(help="1: the centre; 10: corners, centre and mirrors, averaged.")] = 1,
    views: Annotated[int, typer.Option(min=1, help="Places in time, averaged; dense or segment sampling.")] = 1,
    scores_file: Annotated[Path | None, typer.Option("--scores", help="Write logits here, .npz, for `sweep`.")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
) -> None:
    """Measure a model on labelled clips: top-1, mean per-class accuracy, 95 % interval, confusion matrix."""
    from zoo.fusion import Scores
    from zoo.pictures import draw_result
    from zoo.run import Run

    console, stderr = text_console(), text_console(stderr=True)
    scorer = _scorer(model, console)
    index, part = _choose(
        model, videos, split, part, console, label=label or None, labels=scorer.labels, task=scorer.task
    )
    index = drop_broken(index.with_labels(scorer.labels), on_error=on_error, workers=workers, stderr=stderr)
    scores = []
    with bar(stderr, "classifying", len(index)) as advance:
        for rows in scorer.scores(index, batch=batch, workers=workers, crops=crops, views=views):
            scores.append(rows)
            for _ in rows:
                advance()
    saved = Scores(np.concatenate(scores), index.targets, scorer.labels, scorer.task, tuple(c.file for c in index))
    result = saved.evaluate()
    if scores_file:
        saved.save(scores_file)
        console.print(f"wrote {scores_file}")
    heading, *body = result.table()
    table = Table(*heading, title=f"{model} on {len(index)} clips")
    for cells in body:
        table.add_row(*cells)
    console.print(table)
    for line in result.lines():
        console.print(line)
    if json_file:
        figures = {"model": str(model), "videos": str(videos), "part": part, "crops": crops, "views": views}
        figures |= result.to_dict()
        write_text(json_file, json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
        console.print(f"wrote {json_file}")
    picture = picture or (Run(model).confusion if model.is_dir() else model.with_suffix(".confusion.png"))
    draw_result(result, picture)
    console.print(f"wrote {picture}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run, or a .keras file.")],
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 or 18.")] = 17,
    precision: Annotated[str, typer.Option(help="float32, or float16 for GPUs.")] = "float32",
) -> None:
    """Write a model as one ONNX file, if ONNX Runtime gives what Keras gives on the same clips."""
    from export.convert import to_onnx

    console = text_console()
    file = run / "model.keras" if run.is_dir() else run
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    with console.status("converting in a clean process") if console.is_terminal else nullcontext():
        metadata = to_onnx(run, out, opset=opset, precision=precision)  # type: ignore[arg-type]
    parity = metadata.parity
    console.print(
        f"parity on {parity['clips']} clips ({parity['source']}): "
        + "".join(f"{name} {parity[name]:.1g}, " for name in task_kind(metadata.task).outputs)
        + f"allowed {parity['tolerance']:g} (of the spread; of probabilities as they are)"
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
    window: Annotated[float | None, typer.Option(help="Seconds: one answer for each window of a long video.")] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds between windows; half a window if left out.")] = None,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.FAIL,
) -> None:
    """Classify video files with an ONNX file. Needs no Keras."""
    from export.runtime import Classifier
    from loaders.decode import check_readable

    console, stderr = text_console(), text_console(stderr=True)
    if stride is not None and window is None:
        raise ClipzooError(f"--stride {stride:g} needs --window")
    classifier = Classifier(model, provider=provider)  # type: ignore[arg-type]
    errors = check_readable(files, workers=workers)
    for error in filter(None, errors):
        if on_error is OnErrorChoice.FAIL:
            raise error
        stderr.print(f"left out: {error}")
    usable = [file for file, error in zip(files, errors, strict=True) if error is None]
    if not usable:
        raise ClipzooError(f"none of the {len(files)} files can be read")
    if window is not None:
        found = classifier.predict_windows(usable, window, stride=stride, batch_size=batch, workers=workers)
    else:
        found = classifier.predict(usable, batch_size=batch, workers=workers)
    if as_json:
        typer.echo(json.dumps([asdict(prediction) for prediction in found], indent=2, ensure_ascii=False))
        return
    spans = ("start", "end") if window is not None else ()
    columns = classifier.labels if not classifier.metadata.kind.classes else ("label", "probability")
    table = Table("file", *spans, *columns)
    for p in found:
        span = (f"{p.start:.2f} s", f"{p.end:.2f} s") if p.start is not None and p.end is not None else ()
        answer = [f"{value:.4g}" for value in p.values.values()]
        if p.probability is not None:
            answer = [", ".join(p.labels) or "-", f"{p.probability:.1%}"]
        table.add_row(p.file, *span, *answer)
    console.print(table)


@dataclass(frozen=True, kw_only=True)
class _Scorer:
    """A model that is to be measured: by ONNX Runtime, or by Keras."""

    labels: tuple[str, ...]
    task: Task
    specs: dict[str, ClipSpec]
    score: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # clips by input -> outputs by name

    def scores(self, index: ClipIndex, *, batch: int, workers: int, crops: int, views: int) -> Iterator[np.ndarray]:
        """Logits (or numbers) of each clip, (B, labels) a batch; averaged over crops and views."""
        name = task_kind(self.task).outputs[0]
        if crops * views == 1:
            spans = [clip.span for clip in index]
            for each in read_batches(index.paths, self.specs, spans=spans, batch_size=batch, workers=workers):
                yield self.score(each.clips)[name]
            return

        def read(_: int, position: int) -> dict[str, np.ndarray]:
            clip = index[position]
            return read_crops(index.root / clip.file, self.specs, span=clip.span, crops=crops, views=views)

        ahead = ReadAhead(read, workers)
        for position in range(len(index)):
            clips = ahead.get(0, position, len(index))
            yield self.score(clips)[name].mean(axis=0, keepdims=True)


def _scorer(model: Path, console: Console) -> _Scorer:
    if model.suffix == ".onnx":
        from export.runtime import Classifier

        classifier = Classifier(model)
        return _Scorer(
            labels=classifier.labels, task=classifier.metadata.task, specs=classifier.specs, score=classifier.scores
        )
    file = model / "model.keras" if model.is_dir() else model
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    from zoo.backend import start_backend

    console.print(start_backend())
    from zoo.contract import labels, specs, task, with_logits
    from zoo.registry import load_model

    network = load_model(model)
    outputs = with_logits(network)

    def score(clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Keras warns where a model of one input is given a dict.
        found = outputs.predict_on_batch(clips if len(clips) > 1 else next(iter(clips.values())))
        return {name: np.asarray(values) for name, values in found.items()}

    return _Scorer(labels=labels(network), task=task(network), specs=specs(network), score=score)


def _choose(
    model: Path,
    videos: Path,
    split: Path | None,
    part: str | None,
    console: Console,
    *,
    label: list[str] | None,
    labels: tuple[str, ...],
    task: Task,
) -> tuple[ClipIndex, str | None]:
    """The clips to measure on, and their part. A run on its own clips is measured on its own test part by default."""
    from zoo.run import Run

    run = Run(model)
    if split is None and run.record.is_file() and run.split.is_file():
        own = Path(run.read_record()["videos"])
        if own == videos.resolve():
            split = run.split
            label = label or run.label_columns
            console.print(f"clips: the part {part or 'test'} of {split}")
    if not label and task != "classification":
        label = list(labels)  # a list has a column for each unless told otherwise
    index = index_videos(videos, split, label=label, task=task)
    if part is None and not index.is_split:
        if split is None:
            console.print("clips: all of the folder; if the model was trained on some, give --split and --part")
        return index, None
    return index.only(part or "test"), part or "test"
