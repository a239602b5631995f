"""`clipzoo fuse` and `clipzoo sweep`: two models put together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from loaders.errors import ClipzooError
from loaders.terminal import JsonFile, text_console, write_json

app = typer.Typer()


@app.command()
def fuse(
    first: Annotated[Path, typer.Argument(help="A run, or a .keras file.")],
    second: Annotated[Path, typer.Argument(help="Likewise, of the same classes and another modality.")],
    out: Annotated[Path, typer.Option(help="The .keras file to write.")],
    weight: Annotated[float, typer.Option(min=0, max=1, help="Of the first model's logits.")] = 0.4,
) -> None:
    """Put two trained models of different modalities together, without training again."""
    from zoo.backend import start_backend

    console = text_console()
    if out.suffix != ".keras":
        raise ClipzooError(f"--out {out} must end in .keras")
    console.print(start_backend())
    from zoo.saving import load_model, save_model
    from zoo.two_stream import fuse as join

    model = join(load_model(first), load_model(second), weight=weight)
    save_model(model, out)
    shares = f"{weight:g} of {first}, {1 - weight:g} of {second}"
    console.print(f"wrote {out}: {shares}; {model.count_params():,} parameters")
    console.print(f"next: clipzoo export {shlex.quote(str(out))} model.onnx")


@app.command()
def sweep(
    validation: Annotated[tuple[Path, Path], typer.Option(help="Scores of both streams on the validation clips.")],
    test: Annotated[tuple[Path, Path], typer.Option(help="Their scores on the test clips.")],
    picture: Annotated[Path, typer.Option(help="Accuracy by weight, PNG.")] = Path("sweep.png"),
    json_file: JsonFile = None,
) -> None:
    """Choose the weight of two streams on the validation clips, and report it on the test clips."""
    from zoo.fusion import sweep as weigh
    from zoo.pictures import draw_sweep
    from zoo.scores import Scores

    console = text_console()
    found = weigh(
        (Scores.load(validation[0]), Scores.load(validation[1])), (Scores.load(test[0]), Scores.load(test[1]))
    )
    table = Table("weight of the first", "validation: mean per-class", "top-1", "test: mean per-class", "top-1")
    for row, (weight, checked, tested) in enumerate(zip(found.weights, found.validation, found.test, strict=True)):
        cells = [f"{e:.1%}" for each in (checked, tested) for e in (each.mean_class_accuracy, each.top1)]
        table.add_row(f"{weight:g}", *cells, style="bold" if found.weights[row] == found.chosen else None)
    console.print(table)
    console.print(f"chosen on the validation clips: {found.chosen:g}")
    for line in found.result.lines():
        console.print(f"test: {line}")
    draw_sweep(found, picture)
    console.print(f"wrote {picture}")
    if json_file:
        figures = {
            "chosen": found.chosen,
            "weights": list(found.weights),
            "validation": [e.mean_class_accuracy for e in found.validation],
            "test": [e.mean_class_accuracy for e in found.test],
            "result": found.result.to_dict(),
        }
        write_json(json_file, figures, console)
