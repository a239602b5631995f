"""How a benchmark's command ends: a user's mistake is a sentence and status 2, Ctrl-C keeps what was measured."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.harness.machine import default_path, setup
from benchmarks.harness.records import Kind, Results, Setup, newest, require_new, side_by_side
from benchmarks.harness.render import setting, table
from benchmarks.harness.tables import KINDS
from loaders.errors import ClipzooError
from loaders.terminal import echo_json, text_console


def _new(path: Path | None) -> Path | None:
    """Before anything is measured."""
    if path is not None:
        require_new(path)
    return path


ResultFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        callback=_new,
        help="The result file; in benchmarks/results/MACHINE/ of a checkout, or results/MACHINE/ here, if left out.",
    ),
]
Quick = Annotated[bool, typer.Option(help="Few models, a second or less each: a look, not a result.")]
PreparedFolder = Annotated[Path | None, typer.Option(help="What `benchmarks.models` wrote; made anew if left out.")]

WATCH = 5.0  # seconds before a result: how quiet is the machine?


def run_script(command: Callable[..., object]) -> None:
    """Runs a function as a command of its own."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(command)
    run_group(app)


def run_group(app: typer.Typer) -> None:
    """Runs commands that share a script."""
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "200")  # a log file has room for whole tables
    try:
        app()
    except ClipzooError as error:
        text_console(stderr=True).print(f"error: {error}")
        sys.exit(error.exit_status)


@contextmanager
def measuring(
    kind: Kind,
    path: Path | None,
    console: Console,
    *,
    on_gpu: bool = False,
    threads: int | None = None,
    quick: bool = False,
    try_out: bool = False,
) -> Iterator[Results]:
    """A result file to add rows to, whose table is printed at the end, also of what Ctrl-C left.

    Args:
        kind: of the benchmark.
        path: the file; where `default_path` says, if None.
        console: where to print.
        on_gpu: whether the GPU computes.
        threads: of each runner, where they were asked for.
        quick: a look, no result: nobody waits to see how quiet the machine is.
        try_out: of another model, nearly: it is kept where looks are.
    """
    found = setup(kind, on_gpu=on_gpu, threads=threads, watch=0 if quick else WATCH)
    console.print(f"{found.device}, {found.cores} cores; {found.load:g} cores were busy before")
    with recording(path or default_path(found, quick=quick or try_out), found, console) as results:
        try:
            yield results
        finally:
            if results.rows:
                console.print(table(KINDS[kind](results.rows)))
                console.print(setting(results))


@contextmanager
def recording(path: Path, setup: Setup, console: Console) -> Iterator[Results]:
    """A result file to add rows to. Ctrl-C keeps what was measured; where nothing was, no file is left."""
    if str(path) == "-":
        with tempfile.TemporaryDirectory() as folder, recording(Path(folder) / "stdout.jsonl", setup, console) as held:
            try:
                yield held
            finally:
                echo_json(held.path.read_text(encoding="utf-8").removesuffix("\n"))
        return
    results = Results.start(path, setup)
    try:
        yield results
    except KeyboardInterrupt:
        console.print("interrupted; what was measured is kept")
        raise
    finally:
        kept = Results.load(path).rows  # the file decides: Ctrl-C may come between a line and its row
        if kept:
            console.print(f"wrote {path}: {len(kept)} row{'s' if len(kept) != 1 else ''}")
        else:
            path.unlink(missing_ok=True)


def keys_of(kind: Kind, folder: Path | None) -> set[tuple[str, str, str, int]]:
    """The keys of the rows that are there already: in the files of a folder, or, with None, of every machine."""
    found = newest(kind) if folder is None else side_by_side(kind, folder)
    return {row.key for results in found for row in results.rows}
