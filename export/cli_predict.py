"""`clipzoo predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from export.cli import ProviderOption, ProviderOptions, Verify, Workers, parse_provider_options
from export.cli_corpus import write_corpus
from export.cli_timeline import write_timeline
from loaders.errors import ClipzooError
from loaders.index import OnError
from loaders.terminal import JsonFile, OnErrorChoice, RayAddress, RayWorkers, check_ray, text_console, write_json

app = typer.Typer()


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    files: Annotated[list[Path], typer.Argument(help="Video files, or folders of them.")],
    json_file: JsonFile = None,
    provider: ProviderOption = "cpu",
    provider_option: ProviderOptions = [],  # noqa: B006  Typer copies it
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    window: Annotated[float | None, typer.Option(help="Seconds: one answer for each window of a long video.")] = None,
    stride: Annotated[
        float | None, typer.Option("--stride", "--hop", help="Seconds between windows; half a window if left out.")
    ] = None,
    timeline: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="Find the segments of one long video: .png, .json, .csv or .vtt; several times for more.",
        ),
    ] = [],  # noqa: B006  Typer copies it
    on: Annotated[float | None, typer.Option(help="Probability that a segment reaches; 0.6 if left out.")] = None,
    off: Annotated[float | None, typer.Option(help="Probability below which it ends; 0.4 if left out.")] = None,
    least: Annotated[float | None, typer.Option(help="Seconds of a segment; a window if left out.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="Of many clips, FILES or a .csv list: goes on from what is written."),
    ] = None,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
    on_error: Annotated[
        OnErrorChoice | None,
        typer.Option(help="Broken files: leave out, or stop (if left out); with --out they are rows."),
    ] = None,
    verify: Verify = True,
) -> None:
    """Classify video files with an ONNX file, or find what happens when in a long one. Needs no Keras."""
    from export.runtime import Classifier
    from loaders.lists import index_files

    console = text_console()
    check_ray(ray, ray_workers)
    session: dict[str, Any] = {
        "provider": provider, "provider_options": parse_provider_options(provider_option), "verify": verify,
    }  # fmt: skip
    if out:
        given = {
            "--json": json_file, "--timeline": timeline or None, "--window": window, "--stride": stride,
            "--on-error": on_error,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None:
                raise ClipzooError(f"--out {out}: not with {name}")
        write_corpus(
            model, files, out, console, ray=ray, ray_workers=ray_workers, batch_size=batch, workers=workers, **session
        )
        return
    if ray:
        raise ClipzooError(f"--ray {ray}: needs --out FILE.parquet, where answers are written as they come")
    skipping: OnError = on_error.value if on_error else "fail"
    thresholds = {"on": on, "off": off, "least": least}
    if timeline:
        if json_file:
            raise ClipzooError(
                f"--json {json_file}: not with --timeline; --timeline FILE.json has windows and segments"
            )
        write_timeline(
            model, files, timeline, console, session=session, window=window, hop=stride, batch_size=batch,
            workers=workers, **thresholds,
        )  # fmt: skip
        return
    for name, value in thresholds.items():
        if value is not None:
            raise ClipzooError(f"--{name} {value:g} needs --timeline FILE")
    if stride is not None and window is None:
        raise ClipzooError(f"--stride {stride:g} needs --window")
    classifier = Classifier(model, max_batch=batch, **session)
    paths = index_files(files).paths
    if window is not None:
        found = classifier.predict_windows(
            paths, window, stride=stride, batch_size=batch, workers=workers, on_error=skipping
        )
    else:
        found = classifier.predict(paths, batch_size=batch, workers=workers, on_error=skipping)
    if json_file:
        write_json(json_file, [asdict(prediction) for prediction in found], console)
        if str(json_file) == "-":
            return
    spans = ("start", "end") if window is not None else ()
    columns = ("label", "probability") if classifier.metadata.kind.classes else classifier.labels
    table = Table(*(Column(name, overflow="fold") for name in ("file", *spans, *columns)))
    for p in found:
        span = (f"{p.start:.2f} s", f"{p.end:.2f} s") if p.start is not None and p.end is not None else ()
        answer = [f"{value:.4g}" for value in p.values.values()]
        if p.probability is not None:
            answer = [", ".join(p.labels) or "-", f"{p.probability:.1%}"]
        table.add_row(p.file, *span, *answer)
    console.print(table)
