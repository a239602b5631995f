"""The front door: the `clipzoo` command. It puts the packages' own commands together and imports each when called."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from typing import Any

import typer
from typer.core import TyperGroup

from loaders.errors import ClipzooError
from loaders.terminal import text_console

COMMANDS = {
    "demo": "benchmarks.cli",
    "scan": "loaders.cli",
    "show": "loaders.cli",
    "cache": "loaders.cli",
    "models": "zoo.cli_models",
    "train": "zoo.cli",
    "fuse": "zoo.cli_streams",
    "sweep": "zoo.cli_streams",
    "evaluate": "export.cli",
    "export": "export.cli",
    "predict": "export.cli_predict",
    "features": "export.cli_features",
    "watch": "export.cli_watch",
    "card": "export.cli_deploy",
    "triton": "export.cli_deploy",
    "serve": "export.cli_deploy",
    "web": "export.cli_deploy",
    "bench": "benchmarks.cli",
    "explain": "zoo.cli_explain",
    "report": "benchmarks.cli",
}
# What an installation to run files alone does not have.
EXTRAS = {
    "keras": '"clipzoo[tensorflow]" or "clipzoo[jax]"',
    "huggingface_hub": '"clipzoo[hub]"',
    "matplotlib": '"clipzoo[train]"',
    "jinja2": '"clipzoo[train]"',
    "pebble": '"clipzoo[train]"',
    "litserve": '"clipzoo[serve]"',
    "prometheus_client": '"clipzoo[serve]"',
}


class LazyGroup(TyperGroup):
    """A group whose commands live in the packages' `cli.py` files."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        group: Any = typer.main.get_group(import_module(COMMANDS[cmd_name]).app)
        return group.commands[cmd_name]


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipzoo {version('clipzoo')}")
        raise typer.Exit


@app.callback()
def clipzoo(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Train video models on JAX or TensorFlow (KERAS_BACKEND chooses), get one ONNX file, run it anywhere."""


def _end_output(error: OSError) -> str:
    """What to say of output that cannot be written; Python would say it again at its end, with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return f"standard output cannot be written ({error.strerror})"


def main() -> None:
    """Runs the command. A user's mistake is one sentence on stderr and exit status 2, never a traceback."""
    stderr = text_console(stderr=True)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        stderr.print(f"warning: {message}")

    warnings.showwarning = show
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal lacks a letter, its number is shown
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except ClipzooError as error:
        stderr.print(f"error: {error}")
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRAS:
            raise
        stderr.print(f"error: this needs {package}, which is not installed: pip install {EXTRAS[package]}")
        sys.exit(2)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # wherever a file of that name is looked for
            stderr.print(f"error: {error.filename}: no file has so long a name")
            sys.exit(2)
        # Files that cannot be written are ClipzooErrors: what has no name is the output.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        stderr.print(f"error: {_end_output(error)}")
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
