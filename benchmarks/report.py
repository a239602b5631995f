"""The tables and pictures of all pages, from the cards and the result files alone: `python -m benchmarks.report`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from benchmarks import real
from benchmarks.harness import tables
from benchmarks.harness.machine import in_checkout
from benchmarks.harness.records import KINDS, newest, side_by_side
from benchmarks.harness.render import markdown, per_machine, setting
from benchmarks.harness.script import run_script
from loaders.atomic import write_text
from loaders.errors import ClipzooError
from zoo.cards import CARDS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    "README.md", "loaders/README.md", "zoo/README.md", "export/README.md", "benchmarks/README.md", "benchmarks/GPU.md",
    "CONTRIBUTING.md",
)  # fmt: skip
CHOSEN = (  # one of each kind, for the front page
    "convnet_gru", "mobilenet_gru", "mobilenetv2_gru", "efficientnet_lite0_average", "tsm_mobilenetv2", "dtpp", "i3d",
)  # fmt: skip
_ACCURACY = ("| {} | test top-1 | 95 % interval |", "|---|---|---|")


def models() -> str:
    """The models of the zoo, of their cards."""
    rows = [("model", "input", "parameters", "multiply-adds", "what it is")]
    for each in CARDS:
        parameters = f"{each.parameters / 1e6:.2f} M" if each.parameters else "not counted"
        cost = f"{each.multiply_adds / 1e9:.2f} G" if each.multiply_adds else "not counted"
        size = f"{each.spec.frames} x {each.spec.height}x{each.spec.width}"
        rows.append((f"`{each.name}`", size, parameters, cost, each.summary))
    return markdown(rows)


def zoo() -> str:
    """The models to start with: what each is, its accuracy and its speed."""
    device, rates = tables.speeds()
    shares = real.shares("hmdb21")
    rows = [("model", "what it is", "top-1, HMDB21", f"clips/s on {device or 'a CPU'}")]
    for each in (card for card in CARDS if card.name in CHOSEN):
        share = f"{shares[each.name]:.1%}" if each.name in shares else "not measured"
        rate = f"{rates[each.name]:.1f}" if each.name in rates else "not measured"
        rows.append((f"`{each.name}`", each.summary, share, rate))
    return markdown(rows)


def real_clips() -> str:
    """`mobilenet_gru` on the fights set: every backend and seed, and their mean."""
    rows = ["| trained on | seed | top-1 | 95 % interval | mean per-class accuracy |", "|---|---|---|---|---|"]
    found = []
    for file in sorted((RESULTS / "fights").glob("*-onnx.json")):
        backend, seed, _ = file.stem.split("-")
        each = _read(f"fights/{file.name}")
        low, high = each["interval"]
        figures = f"{each['top1']:.1%} | {low:.1%} to {high:.1%} | {each['mean_class_accuracy']:.1%}"
        rows.append(f"| {backend} | {seed} | {figures} |")
        found.append(each)
    if not found:
        return ""
    mean, by_class = (fmean(each[name] for each in found) for name in ("top1", "mean_class_accuracy"))
    return "\n".join((*rows, f"| mean of {len(found)} | | {mean:.1%} | | {by_class:.1%} |"))


def i3d_whole() -> str:
    """Epochs of I3D, trained whole on a GPU."""
    path = RESULTS / "nvidia-h200" / "i3d-whole" / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            epochs = list(csv.DictReader(file))
    except OSError as error:
        raise ClipzooError(f"{path}: cannot be read as a result ({error.strerror})") from None
    rows = ["| epoch | seconds | of them waiting for clips | validation top-1 |", "|---|---|---|---|"]
    for each in epochs:
        seconds, wait, share = (float(each[name]) for name in ("seconds", "data_wait", "val_accuracy"))
        rows.append(f"| {int(each['epoch']) + 1} | {seconds:.1f} | {wait:.0%} | {share:.1%} |")
    return "\n".join(rows)


def loading() -> str:
    """How fast clips are read, of `benchmarks.loading`."""
    found = _read("loading/fights-2-workers.json")
    cold, warm, sparse, flow, memory = (found[name] for name in ("cold", "warm", "sparse", "flow", "memory"))
    rows = ["| what | measured |", "|---|---|"]
    for name, rate in cold["clips_per_second"].items():
        ratio = "" if name == "clipzoo" else f"; clipzoo is {cold['times_as_fast'][name]:.2f} times as fast"
        rows.append(f"| cold, 5 frames of 112x112, {name} | {rate:.1f} clips/s{ratio} |")
    for name, rate in warm["clips_per_second"].items():
        rows.append(f"| cached, from {name} | {rate:.0f} clips/s, {warm['times_as_fast'][name]:.0f} times decoding |")
    exact = "bit for bit a full decode's" if sparse["equal_to_full_decode"] else "NOT those of a full decode"
    rows.append(f"| 5 of {sparse['frames']:,} frames | {sparse['cost_over_decord']:.2f} times decord's cost; {exact} |")
    rates = f"Farneback {flow['farneback']:.1f}, DIS {flow['dis']:.1f} clips/s"
    rows.append(f"| flow, 25 stacks of 5 at 224x224, one thread | {rates} |")
    rows.append(f"| memory after epochs 1, 2, 3 | {', '.join(f'{mib:.0f}' for mib in memory['epochs_mib'])} MiB |")
    cost = f"{memory['index_seconds']:.1f} s, {memory['index_mib']:.0f} MiB"
    rows.append(f"| index of {memory['index_clips']:,} clips from CSV | {cost} |")
    return "\n".join(rows)


def motion() -> str:
    """The two-stream model on drawn motion clips, on both backends."""
    found = [_read(f"two_stream/motion-{backend}.json") for backend in ("jax", "tensorflow")]
    rows = [_accuracy(f"{name}, {f['backend']}", row) for f in found for name, row in f["rows"].items()]
    return "\n".join((_ACCURACY[0].format("drawn motion clips, chance 16.7%"), _ACCURACY[1], *rows))


def ablation() -> str:
    """Levels and pooling of the pyramid, in the form of the paper's table."""
    found = _read("two_stream/ablation-tensorflow.json")["rows"]
    settings = dict.fromkeys(name.rpartition(", ")[0] for name in found)
    rows = []
    for each in settings:
        shares = [f"{found[f'{each}, {stream}']['top1']:.1%}" for stream in ("rgb", "flow", "fused")]
        rows.append(f"| {each} | {' | '.join(shares)} |")
    return "\n".join(("| pyramid, drawn motion clips | RGB | flow | fused |", "|---|---|---|---|", *rows))


def fights() -> str:
    """The two-stream model on real clips, every seed."""
    files = sorted((RESULTS / "two_stream").glob("fights-*.json"))
    rows = []
    for found in (_read(f"two_stream/{file.name}") for file in files):
        for name, row in found["rows"].items():
            cost = f", trained in {row['seconds']:.0f} s" if row["seconds"] else ""
            rows.append(_accuracy(f"{name}, seed {found['seed']}{cost}", row))
    return "\n".join((_ACCURACY[0].format("fights, grouped split, 60 test clips"), _ACCURACY[1], *rows))


TABLES: dict[str, Callable[[], str]] = {
    "zoo": zoo,
    "models": models,
    "real": real.table,
    "real_clips": real_clips,
    "i3d_whole": i3d_whole,
    "loading": loading,
    "motion": motion,
    "ablation": ablation,
    "fights": fights,
    **{kind: partial(per_machine, kind, lines) for kind, lines in tables.KINDS.items()},
    "start_up": partial(per_machine, "inference", tables.start_up),
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


def _accuracy(name: str, row: dict[str, Any]) -> str:
    low, high = row["interval"]
    note = f" (RGB weighs {row['rgb_weight']:g})" if "rgb_weight" in row else ""
    return f"| {name}{note} | {row['top1']:.1%} | {low:.1%} to {high:.1%} |"


def _read(name: str) -> Any:
    path = RESULTS / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClipzooError(f"{path}: cannot be read as a result ({error})") from None


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
