"""`clipzoo card`, `triton`, `serve`, `web`: a model where others find it, and where a server or a browser runs it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from export.cli import ProviderOption, ProviderOptions, Verify, parse_provider_options
from export.triton import Kind
from loaders.terminal import text_console

app = typer.Typer()


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    repo: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="What it will be on the Hub; stands in the card's commands.")
    ] = "USER/NAME",
    dataset: Annotated[
        str | None, typer.Option(help="Name of the clips, for the card; that of their folder if left out.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Of the model, as the Hub names it: apache-2.0, mit, cc-by-4.0, other ...")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the card's files in a folder that is not empty.")
    ] = False,
) -> None:
    """Make a folder for the Hugging Face Hub of a run: the model card, config.json, the ONNX files, the pictures."""
    from export.card import write_card

    console = text_console()
    with console.status("writing") if console.is_terminal else nullcontext():
        made = write_card(run, out, repo=repo, dataset=dataset, license=license, overwrite=overwrite)
    for line in made.evaluation or ("the run keeps no scores, so the card has no figure",):
        console.print(line)
    console.print("wrote " + ", ".join(str(out / file) for file in made.files))
    console.print(f"to upload: {made.upload}")


@app.command()
def triton(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    repository: Annotated[Path, typer.Argument(help="The model repository, a folder; made if need be.")],
    name: Annotated[str | None, typer.Option(help="Of the model; the file's if left out.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips that go through the network together, at most.")] = 8,
    preferred: Annotated[
        list[int], typer.Option(help="A batch size to aim at; several times for more. As many as wait, if left out.")
    ] = [],  # noqa: B006  Typer copies it
    queue_delay: Annotated[int, typer.Option(help="Microseconds that a request waits for others.")] = 0,
    instances: Annotated[int, typer.Option(help="Copies of the model, on each GPU or on the CPU.")] = 1,
    kind: Annotated[
        Kind | None, typer.Option(help="Where they run; gpu with --tensorrt, else cpu, if left out.")
    ] = None,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="Have TensorRT compute it, from 1 to --batch.")] = False,
    warm_up: Annotated[bool, typer.Option(help="Answer random clips before the model is ready.")] = True,
    streams: Annotated[int, typer.Option(help="Of a file of `export --stream`: streams followed at once.")] = 64,
    idle: Annotated[float, typer.Option(help="Seconds after which a stream without frames is forgotten.")] = 5.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a configuration that is there and differs.")
    ] = False,
    verify: Verify = True,
) -> None:
    """Put an ONNX file into a model repository of Triton; a model that is there gets the next version."""
    from export.triton import TritonOptions, write_triton_model

    console = text_console()
    options = TritonOptions(
        max_batch_size=batch, preferred_batch_sizes=tuple(preferred), queue_delay=queue_delay, instances=instances,
        kind=kind, tensorrt=tensorrt, warm_up=warm_up, streams=streams, idle=idle,
    )  # fmt: skip
    file = write_triton_model(model, repository, options, name=name, overwrite=overwrite, verify=verify)
    config, version = file.parents[1] / "config.pbtxt", file.parent.name
    console.print(f"wrote {file}, with {config}" if version == "1" else f"wrote {file}: version {version}, by {config}")


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    root: Annotated[
        Path | None, typer.Option(help="A folder whose videos may be asked for by path; uploads alone, if left out.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Clips that go through the network together, at most.")] = 8,
    workers: Annotated[int, typer.Option(help="Processes that read and compute, each with the model.")] = 2,
    max_bytes: Annotated[int, typer.Option(help="Of a video.")] = 2**26,
    max_seconds: Annotated[float, typer.Option(help="Of a video.")] = 60.0,
    max_pixels: Annotated[int, typer.Option(help="Of a frame; 8K if left out.")] = 7680 * 4320,
    timeout: Annotated[float, typer.Option(help="Seconds from a request to its answer.")] = 30.0,
    queue: Annotated[int, typer.Option(help="Requests in hand, at most.")] = 64,
    provider: ProviderOption = "cpu",
    provider_option: ProviderOptions = [],  # noqa: B006  Typer copies it
    verify: Verify = True,
) -> None:
    """Answer videos over HTTP: POST one to /predict. SIGTERM and Ctrl-C end it when what is in hand is answered."""
    from export.serve_options import ServeOptions
    from export.serving import serve

    console = text_console()
    options = ServeOptions(
        root=root, batch=batch, workers=workers, max_bytes=max_bytes, max_seconds=max_seconds, max_pixels=max_pixels,
        timeout=timeout, queue=queue, provider=provider, provider_options=parse_provider_options(provider_option),
        verify=verify,
    )  # fmt: skip
    serve(model, options, host=host, port=port, ready=lambda at: console.print(f"{model} answers at {at}/predict"))


@app.command()
def web(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    runtime_web: Annotated[
        Path | None, typer.Option(help="Folder of an unpacked onnxruntime-web; `npm pack` gets it if left out.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page; the model's name if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    verify: Verify = True,
) -> None:
    """Make a static page that runs an ONNX file in the browser, on videos and on the camera."""
    from export.web import write_web_page

    console = text_console()
    with console.status("writing") if console.is_terminal else nullcontext():
        made = write_web_page(model, out, runtime=runtime_web, title=title, overwrite=overwrite, verify=verify)
    size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file()) / 1e6
    console.print(f"wrote {made}, {size:.0f} MB; any web server can serve it: python -m http.server --directory {made}")
