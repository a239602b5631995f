"""The files that benchmarks run, for a host without TensorFlow: `python -m benchmarks.models FOLDER [NAME ...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness.prepared import prepare, write_matrices
from benchmarks.harness.script import run_script
from loaders.terminal import OptionPairs, parse_options, text_console
from zoo.registry import list_models


def main(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    names: Annotated[list[str] | None, typer.Argument(help="Models of the zoo; all if left out.")] = None,
    half: Annotated[bool, typer.Option("--float16", help="A float16 export of each too.")] = False,
    keras_export: Annotated[bool, typer.Option(help="Keras's own export of each too.")] = True,
    set_: OptionPairs = [],  # noqa: B006  Typer copies it
) -> None:
    """Make the files that the benchmarks run, for a host without TensorFlow."""
    console = text_console()
    write_matrices(folder)
    for name in names or list_models():
        prepare(name, folder, half=half, keras_export=keras_export, options=parse_options(set_))
        console.print(f"{name}: done")


if __name__ == "__main__":
    run_script(main)
