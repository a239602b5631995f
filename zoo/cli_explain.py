"""`clipzoo explain`: where a model looks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from loaders.atomic import require_writable
from loaders.errors import ClipzooError
from loaders.terminal import text_console

app = typer.Typer()


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="A run, a .keras file, or a preset.")],
    video: Annotated[Path, typer.Argument(help="The clip.")],
    label: Annotated[
        str | None, typer.Option(help="Which label to explain; what the model answers, if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("explained"),
) -> None:
    """Show which places of a clip's frames speak for an answer (Grad-CAM): a strip of frames and a film."""
    from loaders.clip import read_inputs, step_seconds
    from zoo.backend import start_backend
    from zoo.saving import load_model, saved_specs

    console, stderr = text_console(), text_console(stderr=True)
    if model.suffix.lower() == ".onnx":
        raise ClipzooError(f"{model}: holds no gradients; give the run, or the .keras file, that it was exported from")
    specs = saved_specs(model)
    if out.exists() and not out.is_dir():
        raise ClipzooError(f"--out {out}: is a file; give a folder")
    require_writable(out / f"{video.stem}.png")
    clips = read_inputs(video, specs)  # a file that cannot be read is said before Keras starts, which takes seconds
    console.print(start_backend())
    from zoo.explained import draw_strip, explain_clip, write_film

    taken: set[str] = set()
    for found in explain_clip(load_model(model), clips, label=label, seconds=step_seconds(video, specs)):
        console.print(found.title)
        if found.cold:
            stderr.print(f"note: nothing in these frames speaks for {found.label}: its heat is 0 everywhere")
        name = f"{video.stem}-" + re.sub(r"[^\w-]+", "_", found.label)
        while name in taken:  # by `a b`, where there is `a/b` too
            name += "_"
        taken.add(name)
        strip, film = out / f"{name}.png", out / f"{name}.avi"
        draw_strip(found, strip)
        write_film(found, film)
        console.print(f"wrote {strip}, {film}")
