"""`clipzoo features`: what a model gives before its head."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from export.cli import ProviderOption, Verify, Workers, choose_clips, of_split
from loaders.errors import ClipzooError
from loaders.split import Split
from loaders.terminal import (
    LabelColumns,
    ListFile,
    OnErrorChoice,
    RayAddress,
    RayWorkers,
    bar,
    check_ray,
    index_videos,
    text_console,
)

app = typer.Typer()


@app.command()
def features(
    model: Annotated[
        Path, typer.Argument(help="A run, a .keras file, a preset, or an .onnx file of `clipzoo export --features`.")
    ],
    videos: Annotated[Path, typer.Argument(help="Folder of clips, with or without a sub-folder per action.")],
    out: Annotated[Path, typer.Option(help="The file to write, .npz or .parquet.")],
    list_file: ListFile = None,
    label: LabelColumns = [],  # noqa: B006  Typer copies it
    split: Annotated[Split | None, typer.Option(help="Which clips; all, if left out.")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Whose output, of a model of Keras; what the head is given, if left out.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Workers = 2,
    provider: ProviderOption = "cpu",
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
    verify: Verify = True,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
) -> None:
    """Write what a model gives for each clip before its head: one vector a clip, for search, clusters, other heads."""
    from export.corpus import extract_corpus
    from export.features import extract_features, open_extractor, require_suffix

    console, stderr = text_console(), text_console(stderr=True)
    require_suffix(out)
    check_ray(ray, ray_workers)
    if ray and model.suffix != ".onnx":
        raise ClipzooError(
            f"--ray {ray}: its workers run .onnx files; clipzoo export {model} FILE.onnx --features first"
        )
    if model.suffix != ".onnx":
        from zoo.backend import start_backend
        from zoo.saving import require_model

        require_model(model)
        console.print(start_backend())
    opened = open_extractor(model, layer=layer, provider=provider, verify=verify)
    index, own = choose_clips(
        model, videos, list_file, label=label or None, labels=opened.labels, task=opened.task, labeled=False
    )
    if own is not None:
        console.print(f"clips: {f'the split {split}' if split else 'all'} of {own}")
    if own is not None and split is None:  # and what has come into the folder since
        known = {clip.file for clip in index}
        others = tuple(clip for clip in index_videos(videos, None, labeled=False) if clip.file not in known)
        if others:
            console.print(f"clips: {len(others)} more of {videos}, which are of no split")
            index = replace(index, clips=(*index, *others))
    index = of_split(index, split, model) if split else index
    # What a file has answered is kept and found again; to stop at a broken clip is to keep nothing.
    onward = model.suffix == ".onnx" and on_error == OnErrorChoice.SKIP and find_spec("pyarrow") is not None
    with bar(stderr, "computing features", len(index)) as advance:
        if ray or onward:
            found = extract_corpus(
                model, index, out, ray=ray, ray_workers=ray_workers, batch=batch, workers=workers, provider=provider,
                verify=verify, on_error=on_error.value, extractor=opened, advance=advance,
            )  # fmt: skip
        else:
            found = extract_features(
                opened, index, batch=batch, workers=workers, on_error=on_error.value, advance=advance
            )
            found.save(out)
    for error in found.left_out:
        stderr.print(f"left out: {error}")
    clips, numbers = found.features.shape
    console.print(f"wrote {out}: {clips} clips, {numbers} features each, of layer {found.layer!r}")
