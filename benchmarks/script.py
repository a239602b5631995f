"""How a benchmark's command ends: a user's mistake is a sentence and exit status 2, Ctrl-C keeps what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from loaders.errors import ClipzooError
from loaders.terminal import text_console


def run_script(command: Callable[..., object]) -> None:
    """Runs a function as a command of its own."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(command)
    try:
        app()
    except ClipzooError as error:
        text_console(stderr=True).print(f"error: {error}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        text_console(stderr=True).print("interrupted; what was measured is kept")
        sys.exit(130)
