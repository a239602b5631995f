"""`clipzoo models`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from loaders.errors import ClipzooError
from loaders.terminal import text_console
from zoo.presets import SOURCES, list_presets, preset
from zoo.registry import list_models, model_info

app = typer.Typer()


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern, such as 'mobilenet*'.")] = "*",
    presets: Annotated[bool, typer.Option("--presets", help="Whole models with weights, and weights by name.")] = False,
) -> None:
    """List the models: input, size, cost and origin; or the weights that there are for them."""
    if presets:
        _list_presets(pattern)
        return
    names = list_models(pattern)
    if not names:
        raise ClipzooError(f"no model fits {pattern!r}; there are {', '.join(list_models())}")
    table = Table(
        "model", "frames", "size", "parameters", "multiply-adds a clip", "what it is",
        caption="With 51 classes (HMDB51) and the default input.",
    )  # fmt: skip
    for name in names:
        c = model_info(name)
        size = f"{c.spec.height}x{c.spec.width}"
        parameters = f"{c.parameters / 1e6:.2f} M" if c.parameters else "not counted"
        cost = f"{c.multiply_adds / 1e9:.2f} G" if c.multiply_adds else "not counted"
        table.add_row(name, str(c.spec.frames), size, parameters, cost, c.summary)
    console = text_console()
    console.print(table)
    for source in sorted({model_info(name).source for name in names} - {""}):
        console.print(f"Source: {source}")


def _list_presets(pattern: str) -> None:
    chosen = list_presets(pattern)
    if not chosen:
        raise ClipzooError(f"no preset fits {pattern!r}; there are {', '.join(list_presets())}")
    console = text_console()
    whole = Table("preset", "model", "classes", "trained on", "accuracy as published", "weights by, license")
    for each in map(preset, chosen):
        held = each.source
        whole.add_row(
            each.name, each.model, str(len(each.classes())), held.data, held.accuracy, f"{held.author}, {held.license}"
        )
    console.print(whole)
    named = Table("network", "--set backbone_weights=", "trained on", "weights by, license", "comes from")
    for held in SOURCES:
        place = "Keras" if held.package == "keras" else f"{held.package} {held.version}, {held.size / 2**20:.0f} MiB"
        named.add_row(held.network, held.name, held.data, f"{held.author}, {held.license}", place)
    console.print(named)
    console.print(f"next: clipzoo export {chosen[0]} model.onnx && clipzoo predict model.onnx video.mp4")
