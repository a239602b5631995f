"""The one way from cells to a table, for a console and for a page; and the tables of result files for the pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Column, Table

from benchmarks.harness.records import FOLDER, MATRIX, Kind, Results, Row, newest

Cells = Sequence[str]
Lines = Callable[[Sequence[Row]], Iterable[Cells]]  # of rows of one kind; the first line has the heads
_WIDE = 100_000  # characters: nothing is folded on a page


def table(lines: Iterable[Cells], *, title: str | None = None, caption: str | None = None) -> Table:
    """A table of these cells, the heads first, without the columns that have no cell filled."""
    heads, *body = lines
    filled = [place for place in range(len(heads)) if not body or any(line[place] for line in body)]
    made = Table(*(Column(heads[place], overflow="fold") for place in filled), title=title, caption=caption)
    for line in body:
        made.add_row(*(line[place] for place in filled))
    return made


def markdown(lines: Iterable[Cells]) -> str:
    """The same for a page, every column kept; empty where there is no line but the heads."""
    heads, *body = lines
    if not body:
        return ""
    made = Table(*heads, box=box.MARKDOWN)
    for line in body:
        made.add_row(*line)
    written = StringIO()
    Console(file=written, width=_WIDE, markup=False, emoji=False, highlight=False).print(made)
    narrow = re.sub(r"(?<=\| ) +(?=\|)|(?<=[^| ]) +(?=\|)", " ", written.getvalue())  # what lines columns up
    return "\n".join(re.sub(r"(?<=\|)-+(?=\|)", "---", line.strip()) for line in narrow.strip().splitlines())


def setting(results: Results) -> str:
    """What was measured on, in one line; nothing where it was not recorded."""
    found = results.setup
    if found.load is None:
        return ""
    names = ("onnxruntime", "onnxruntime-gpu", "openvino", "keras", "tensorflow", "jax", "numpy")
    versions = ", ".join(f"{name} {found.versions[name]}" for name in names if name in found.versions)
    driver = f", driver {found.driver}" if found.driver else ""
    where = results.path.relative_to(FOLDER.parent.parent) if results.path.is_relative_to(FOLDER) else results.path
    products = [row for row in results.rows if row.runner == MATRIX and row.measured]
    rates = sorted(row.facts["floating_point_operations"] / row.round_seconds.value / 1e9 for row in products)
    matrix = f"; during it, the matrix product ran at {rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s" if rates else ""
    return (
        f"{found.device}{driver}, {found.cores} cores, {found.started[:10]}, commit {found.commit}; {versions}. "
        f"Before the run, {found.load:g} cores were busy{matrix}. `{Path(where).as_posix()}`"
    )


def per_machine(kind: Kind, lines: Lines, folder: Path = FOLDER) -> str:
    """One table for each machine, of all its files that fill the same columns, under what was measured on. What a row
    is held against is of its own file: of two providers, each has its peers beside it."""
    parts: list[str] = []
    for _, found in groupby(newest(kind, folder), key=lambda results: results.path.parent):
        bodies: dict[Cells, list[list[Cells]]] = {}
        for results in found:
            parts.append(setting(results))
            heads, *body = lines(results.rows)
            bodies.setdefault(tuple(heads), []).append(body)
        for heads, of_files in bodies.items():
            body = [line for each in of_files for line in each]
            parts.append(markdown([heads, *(sorted(body, key=_order) if len(of_files) > 1 else body)]))
    return "\n\n".join(filter(None, parts))


def together(kind: Kind, lines: Lines, folder: Path = FOLDER) -> str:
    """One table of the rows of all files: for figures that do not hang on the machine."""
    return markdown(lines([row for results in newest(kind, folder) for row in results.rows]))


def _order(line: Cells) -> tuple[str, int]:
    """Of lines from several files: by model, then by batch where that comes next."""
    model, second, *_ = line
    return model, int(second) if second.isdigit() else 0
