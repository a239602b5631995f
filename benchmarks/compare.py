"""Do two result files differ? `python -m benchmarks.compare A B`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness.records import Results, Row
from benchmarks.harness.render import table
from benchmarks.harness.script import run_script
from benchmarks.harness.statistics import LEVEL, Interval, unpaired_ratio
from loaders.errors import ClipzooError
from loaders.terminal import text_console


@dataclass(frozen=True)
class Difference:
    """One row of both files.

    Attributes:
        row: of the first.
        ratio: how many times as fast the second is, with its interval.
        differs: whether the interval leaves 1 out.
    """

    row: Row
    ratio: Interval

    @property
    def differs(self) -> bool:
        return self.ratio.excludes_one


def compare(first: Results, second: Results) -> list[Difference]:
    """The rows that both files measured.

    The intervals hold for all rows together (Bonferroni): in a comparison of two runs of the same thing, the chance
    that any row is said to differ is 5 %, as far as the runs themselves were alike. Two runs were not measured side by
    side: whatever slowed one whole run down, such as a busy neighbor, slows all its rows, and is in the ratios.

    Args:
        first: the older, as a rule.
        second: the newer.

    Raises:
        ClipzooError: they are of two kinds of benchmark, or have no row in common.
    """
    if first.setup.kind != second.setup.kind:
        raise ClipzooError(
            f"{first.path} is of {first.setup.kind}, {second.path} of {second.setup.kind}: nothing to compare"
        )
    others = {row.key: row for row in second.rows if row.measured}
    pairs = [(row, others[row.key]) for row in first.rows if row.measured and row.key in others]
    if not pairs:
        raise ClipzooError(f"{first.path} and {second.path} have no measured row in common")
    level = 1 - (1 - LEVEL) / len(pairs)
    return [Difference(row, unpaired_ratio(other.turn_seconds, row.turn_seconds, level=level)) for row, other in pairs]


def show(
    first: Annotated[Path, typer.Argument(metavar="A", help="A result file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Say how many times as fast B is as A, row by row, and which rows really differ."""
    console = text_console()
    a, b = Results.load(first), Results.load(second)
    found = compare(a, b)
    lines = [("model", "batch", "runner", "B is", "interval", "")]
    for difference in found:
        row, ratio = difference.row, difference.ratio
        said = ("faster" if ratio.value > 1 else "slower") if difference.differs else "no difference shown"
        said = said if ratio.high < inf else "too few turns to tell"
        interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
        lines.append((row.model, str(row.batch), row.name, f"{ratio.value:.2f} times as fast", interval, said))
    console.print(table(lines))
    for name in ("device", "driver", "cores", "threads", "commit", "load"):
        old, new = getattr(a.setup, name), getattr(b.setup, name)
        if old != new:
            console.print(f"{name}: {old} in A, {new} in B")
    changed = sorted(
        name
        for name in a.setup.versions.keys() | b.setup.versions.keys()
        if a.setup.versions.get(name) != b.setup.versions.get(name)
    )
    for name in changed:
        console.print(f"{name}: {a.setup.versions.get(name)} in A, {b.setup.versions.get(name)} in B")
    measured = sum(row.measured for row in (*a.rows, *b.rows))
    console.print(
        f"{sum(d.differs for d in found)} of {len(found)} rows differ (95 % for all rows together); "
        f"{measured - 2 * len(found)} rows are in one file only"
    )


if __name__ == "__main__":
    run_script(show)
