"""`clipzoo demo`, `clipzoo bench` and `clipzoo report`."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from export.cli import ProviderOptions, Verify, Workers, parse_provider_options
from loaders.terminal import JsonFile, bar, text_console

app = typer.Typer()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for clips, models and pictures.")] = Path("demo"),
    clips: Annotated[int, typer.Option(min=60, help="How many clips to draw.")] = 600,
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    video: Annotated[
        Path | None, typer.Option(help="Whose action a preset names at the end; one of the drawn clips if left out.")
    ] = None,
) -> None:
    """Do the whole job on made clips: draw, train, export, classify, measure; then name an action by a preset."""
    from zoo.backend import start_backend

    console = text_console()
    console.print(start_backend(training=True))
    from benchmarks.demo import demo as run

    run(out, clips=clips, epochs=epochs, seed=seed, video=video, console=console)


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    provider: Annotated[
        str, typer.Option(help="cpu, cuda, tensorrt, openvino, openvino-bfloat16; or all that are installed.")
    ] = "cpu",
    provider_option: ProviderOptions = [],  # noqa: B006  Typer copies it
    batch: Annotated[list[int], typer.Option(min=1, help="Clips in a batch; give it again for more sizes.")] = [1, 8],  # noqa: B006
    seconds: Annotated[float, typer.Option(help="Least time for each batch size.")] = 3.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of ONNX Runtime on the CPU.")] = None,
    verify: Verify = True,
    json_file: JsonFile = None,
) -> None:
    """Measure an ONNX file's throughput in ONNX Runtime, on the provider that is asked for or not at all."""
    from benchmarks.harness.machine import setup
    from benchmarks.harness.render import table
    from benchmarks.harness.script import recording
    from benchmarks.inference import bench as measure

    console = text_console()
    found = setup("inference", on_gpu=provider in ("cuda", "tensorrt"), threads=threads)
    with recording(json_file, found, console) if json_file else nullcontext() as results:
        rows = measure(
            model,
            provider=provider,  # type: ignore[arg-type]
            provider_options=parse_provider_options(provider_option),
            batches=batch,
            seconds=seconds,
            threads=threads,
            verify=verify,
            done=results.add if results else lambda _: None,
        )
        columns = {
            **({"provider": ("provider", "{}"), "differs by": ("difference", "{:.1g}")} if provider == "all" else {}),
            "batch": ("batch", "{}"), "clips/s": ("clips_per_second", "{:.1f}"),
            "frames/s": ("frames_per_second", "{:.1f}"), "p50 ms": ("p50_ms", "{:.2f}"),
            "p95 ms": ("p95_ms", "{:.2f}"), "rounds": ("rounds", "{}"),
        }  # fmt: skip
        caption = "clips/s: clips over the time that passed, of the median turn; p50 and p95: of single rounds"
        figures = (
            {"difference": 0.0, **row.facts, **row.settings, **row.summary(), "batch": row.batch} for row in rows
        )
        cells = [[shown.format(each[key]) for key, shown in columns.values()] for each in figures]
        name = rows[0].runner if provider == "all" else rows[0].name
        console.print(table([tuple(columns), *cells], title=f"{model}: {name}", caption=caption))
    if provider == "all":
        for size in batch:
            best = max((row for row in rows if row.batch == size), key=lambda row: row.clips_per_second)
            times = best.clips_per_second / next(row for row in rows if row.batch == size).clips_per_second
            more = f", {times:.2f} times the CPU's rate" if best.settings["provider"] != "CPU" else ""
            console.print(f"fastest with {size} clip(s) at once: {best.settings['provider']}{more}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder that `clipzoo train` wrote.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; report.html in the run, if left out.")] = None,
    score: Annotated[bool, typer.Option(help="Score the test clips where no scores are kept.")] = True,
    scores_file: Annotated[
        Path | None, typer.Option("--scores", help="Show these, of `clipzoo evaluate --scores`, in place of the kept.")
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="The folder of the clips, if they have moved.")] = None,
    workers: Workers = 2,
) -> None:
    """Write a page about a run: what was trained, how good it is, what it confuses. One HTML file, for any browser."""
    from benchmarks.run_report import report as write

    console, stderr = text_console(), text_console(stderr=True)
    path = write(
        run, out=out, scores=scores_file, compute=score, videos=videos, workers=workers, say=console.print,
        warn=stderr.print, bar=partial(bar, stderr),
    )  # fmt: skip
    console.print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)")
