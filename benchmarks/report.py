"""The tables and pictures of all pages, from the cards and the result files alone: `python -m benchmarks.report`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import accuracy_tables, tables
from benchmarks.harness.machine import in_checkout
from benchmarks.harness.records import FOLDER, KINDS, Kind, newest, side_by_side
from benchmarks.harness.render import Cells, markdown, per_machine, setting, together
from benchmarks.harness.script import run_script
from loaders.atomic import write_text
from loaders.errors import ClipzooError
from zoo.model_infos import MODEL_INFOS
from zoo.run import Run

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md", "loaders/README.md", "zoo/README.md", "zoo/CLUSTER.md", "export/README.md", "benchmarks/README.md",
    "benchmarks/GPU.md", "CONTRIBUTING.md",
)  # fmt: skip
CHOSEN = (  # one of each kind, for the front page
    "convnet_gru", "mobilenet_gru", "efficientnet_lite0_gru", "efficientnet_lite0_average", "tsm_mobilenetv2", "dtpp",
    "i3d",
)  # fmt: skip


def models() -> str:
    """The models of the zoo, of their cards."""
    rows = [("model", "input", "parameters", "multiply-adds", "what it is")]
    for each in MODEL_INFOS:
        parameters = f"{each.parameters / 1e6:.2f} M" if each.parameters else "not counted"
        cost = f"{each.multiply_adds / 1e9:.2f} G" if each.multiply_adds else "not counted"
        size = f"{each.spec.frames} x {each.spec.height}x{each.spec.width}"
        rows.append((f"`{each.name}`", size, parameters, cost, each.summary))
    return markdown(rows)


def zoo() -> str:
    """The models to start with: what each is, its accuracy and its speed."""
    device, rates = tables.speeds(CHOSEN)
    shares = accuracy_tables.shares("hmdb21", [row for results in newest("real") for row in results.rows])
    rows = [("model", "what it is", "top-1, HMDB21", f"clips/s on {device or 'a CPU'} (frames of a clip)")]
    for each in (card for card in MODEL_INFOS if card.name in CHOSEN):
        share = f"{shares[each.name]:.1%}" if each.name in shares else "not measured"
        row = rates.get(each.name)
        rate = f"{row.clips_per_second:.1f} ({row.frames})" if row else "not measured"
        rows.append((f"`{each.name}`", each.summary, share, rate))
    return markdown(rows)


def runs() -> str:
    """Epochs of each run that lies beside the result files, with its settings."""
    lines: list[Cells] = [("epoch", "seconds", "of them waiting for clips", "validation top-1")]
    for path in sorted(FOLDER.glob("*/*/history.csv")):
        for each in Run(path.parent).read_history():
            figures = (f"{each['seconds']:.1f}", f"{each['data_wait']:.0%}", f"{each['val_accuracy']:.1%}")
            lines.append((f"{each['epoch'] + 1:.0f}", *figures))
    return markdown(lines)


BY_MACHINE: tuple[Kind, ...] = (
    "inference", "training", "pipeline", "correctness", "accuracy", "loading", "export", "serving",
)  # fmt: skip
TABLES: dict[str, Callable[[], str]] = {
    "zoo": zoo,
    "models": models,
    "i3d_whole": runs,
    **{kind: partial(per_machine, kind, tables.KINDS[kind]) for kind in BY_MACHINE},
    "start_up": partial(per_machine, "inference", tables.start_up),
    "devices": partial(together, "devices", accuracy_tables.devices),
    "real": partial(together, "real", accuracy_tables.real),
    "pairs": partial(together, "real", accuracy_tables.pairs),
    "limits": partial(together, "real", accuracy_tables.limits),
    "halves": partial(together, "real", accuracy_tables.halves),
    "timeline": partial(together, "timeline", accuracy_tables.timeline),
    "techniques": partial(together, "techniques", accuracy_tables.techniques),
    "motion": partial(together, "two_stream", accuracy_tables.motion),
    "ablation": partial(together, "two_stream", accuracy_tables.ablation),
    "fights": partial(together, "two_stream", accuracy_tables.fights),
}


def render(pages: Mapping[str, str]) -> dict[str, str]:
    """The same pages with every table between `<!-- name -->` and `<!-- end -->` made anew.

    Args:
        pages: name of the page -> its text.

    Raises:
        ClipzooError: a table that is not empty has no place on any page, or a result file cannot be read.
    """
    made = dict(pages)
    for name, make in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        body = make()
        if body and not any(map(place.search, made.values())):
            raise ClipzooError(f"no page has a place for the table {name!r}: <!-- {name} --> and <!-- end -->")
        for page, text in made.items():
            made[page] = place.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)  # type: ignore[misc]
    return made


def read_pages() -> dict[str, str]:
    """Name -> text of every page of the checkout."""
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}


def main(
    results: Annotated[
        Path | None, typer.Option(help="A folder of KIND-TIME.jsonl: print their tables, draw beside them, no more.")
    ] = None,
) -> None:
    """Write the tables of every page and the pictures beside the result files anew."""
    from benchmarks.harness.plots import draw

    if results is not None:
        by_kind = {kind: side_by_side(kind, results) for kind in KINDS}
        if not any(by_kind.values()):
            raise ClipzooError(f"{results}: is no folder with result files, named KIND-TIME.jsonl ({', '.join(KINDS)})")
        for kind, found in by_kind.items():
            for file in found:
                typer.echo(f"{setting(file)}\n\n{markdown(tables.KINDS[kind](file.rows))}\n")
            for picture in draw(found):
                typer.echo(f"wrote {picture}")
        return
    if not in_checkout():
        raise ClipzooError("only a checkout has pages to write; give --results FOLDER for tables and pictures")
    pages = read_pages()
    for name, text in render(pages).items():
        if text != pages[name]:
            write_text(ROOT / name, text)
            typer.echo(f"wrote {ROOT / name}")
    for kind in KINDS:
        for _, files in groupby(newest(kind), key=lambda results: results.path.parent):
            for picture in draw(list(files)):
                typer.echo(f"wrote {picture}")


if __name__ == "__main__":
    run_script(main)
