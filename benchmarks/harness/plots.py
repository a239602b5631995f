"""The benchmarks' pictures, PNG on an opaque ground, so that they read on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from benchmarks.harness.records import MATRIX, OURS, Results, Row, of_batch, times_as_fast
from benchmarks.harness.trainers import Way
from loaders.atomic import replacing

# Okabe and Ito's colours, told apart by the colour-blind too; markers say it again.
STYLES = (
    ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#D55E00", "v"), ("#56B4E9", "P"),
    ("#000000", "X"), ("#8C8C8C", "*"),
)  # fmt: skip

CURVE = 3  # batch sizes; fewer are a table's business


def draw(files: Sequence[Results]) -> list[Path]:
    """Draws the pictures of the result files of a folder, all of one kind, beside them, and returns their paths."""
    every = [row for results in files for row in results.rows if row.runner != MATRIX]
    rows = [row for row in every if row.measured]
    if not rows:
        return []
    setup, folder = files[-1].setup, files[-1].path.parent
    kind = setup.kind
    if kind == "inference" and any(row.runner == OURS for row in rows):
        figures = {"peers": _peers(every)}
        if len({row.batch for row in rows}) >= CURVE:
            figures |= {"throughput": _curves(rows, latency=False), "latency": _curves(rows, latency=True)}
    elif kind == "training":
        figures = {"training": _training(every)}
    else:
        return []
    drawn: list[Path] = []
    for name, figure in figures.items():
        figure.suptitle(f"{setup.device}, {setup.cores} cores, {setup.started[:10]}", fontsize=9)
        path = folder / f"{name}.png"
        with replacing(path) as partial:
            figure.savefig(partial, dpi=110, facecolor="white")
        drawn.append(path)
    return drawn


def _peers(rows: Sequence[Row]) -> Figure:
    """How fast each runner is beside ONNX Runtime, which is the line at 1: every model, batch 1 and the largest.

    Where there is no figure, it says why.
    """
    sizes = sorted({row.batch for row in rows if row.runner == OURS and row.measured})
    batches = sorted({sizes[0], sizes[-1]})
    models = list(dict.fromkeys(row.model for row in rows))
    first = next(row for row in rows if row.runner == OURS and row.measured)
    peers = list({row.name: row for row in rows if row.measured and row.name != first.name}.values())
    figure = Figure(figsize=(5.2 * len(batches), 0.9 + 0.95 * len(models)), layout="constrained")
    panels: Any = figure.subplots(1, len(batches), sharey=True, squeeze=False)
    for axes, batch in zip(panels[0], batches, strict=True):
        for place, peer in enumerate(peers):
            color, _ = STYLES[(place + 1) % len(STYLES)]  # the colours of the other pictures, where `first` has one too
            spots, speeds = [], []
            for model, spot in zip(models, _spots(len(models), place, len(peers)), strict=True):
                of_model = [row for row in rows if row.model == model]
                own, row = (of_batch((r for r in of_model if _alike(r, which)), batch) for which in (first, peer))
                if own is None or row is None or not own.measured:
                    continue
                if row.measured:
                    spots.append(spot)
                    speeds.append(times_as_fast(row, own).value - 1)
                else:
                    _say(axes, spot, row.status)
            axes.barh(spots, speeds, height=0.8 / len(peers), left=1, color=color, label=_label(peer))
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set(title=f"batch {batch}", xlabel=f"times as fast as {first.name}", yticks=range(len(models)))
        axes.set_yticklabels(models)
        axes.grid(alpha=0.3, axis="x")
    panels[0][0].set_ylim(len(models) - 0.5, -0.5)  # for all of them: they share it
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _curves(rows: Sequence[Row], *, latency: bool) -> Figure:
    """A panel for each model, a line for each runner: clips/s against the batch, or p90 against clips/s.

    Rows have 10 rounds at the least: enough for a p90, not for a p95.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    names = {row.name: _label(row) for row in rows}
    across = min(5, len(models))
    down = ceil(len(models) / across)
    figure = Figure(figsize=(2.7 * across, 0.9 + 2.5 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, model in zip(panels, models, strict=False):
        for (color, marker), (name, label) in zip(STYLES * 3, names.items(), strict=False):
            found = sorted((r for r in rows if r.model == model and r.name == name), key=lambda row: row.batch)
            if latency:
                xs, ys = [r.clips_per_second for r in found], [r.summary()["p90_ms"] for r in found]
            else:
                xs, ys = [float(r.batch) for r in found], [r.clips_per_second for r in found]
            axes.plot(xs, ys, color=color, marker=marker, markersize=5, linewidth=1.2, label=label)
        axes.set_title(model, fontsize=9)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("clips/s" if latency else "batch", fontsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            _plain(axis)
        if not latency:
            axes.xaxis.set_major_locator(FixedLocator(sorted({row.batch for row in rows})))
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    figure.supylabel("p90 latency, ms" if latency else "clips/s", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _training(rows: Sequence[Row]) -> Figure:
    """Clips/s of every way to train, a panel for each backend; where there is no figure, why."""
    runners = list(dict.fromkeys(row.runner for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    ways = list(dict.fromkeys(tuple(row.settings.values()) for row in rows))
    plain = tuple(Way().settings.values())
    figure = Figure(figsize=(5.2 * len(runners), 0.9 + 0.8 * len(models)), layout="constrained")
    panels: Any = figure.subplots(1, len(runners), sharex=True, sharey=True, squeeze=False)
    for axes, runner in zip(panels[0], runners, strict=True):
        for place, way in enumerate(ways):
            found = []
            for model, spot in zip(models, _spots(len(models), place, len(ways)), strict=True):
                same = (r for r in rows if (r.model, r.runner, tuple(r.settings.values())) == (model, runner, way))
                row = next(same, None)
                if row is not None and row.measured:
                    found.append((spot, row.clips_per_second))
                elif row is not None:
                    _say(axes, spot, row.status)
            named = "folded, float32, from memory" if way == plain else ", ".join(set_apart(way, plain))
            spots, rates = zip(*found, strict=True) if found else ((), ())
            color, marker = STYLES[place % len(STYLES)]  # no bars: on a scale without zero their length says nothing
            axes.plot(rates, spots, marker, color=color, markersize=5, label=named)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set(title=runner, xlabel="clips/s of training", yticks=range(len(models)))
        axes.set_yticklabels([f"{m}\nbatch {next(r.batch for r in rows if r.model == m)}" for m in models])
        axes.grid(alpha=0.3, axis="x")
    panels[0][0].set_ylim(len(models) - 0.5, -0.5)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _spots(models: int, place: int, of: int) -> list[float]:
    """Where the marks of one of several runners stand, model by model."""
    return [model + 0.8 * (place + 0.5) / of - 0.4 for model in range(models)]


def _say(axes: Any, spot: float, status: str) -> None:
    """Writes at the left edge why there is no figure."""
    axes.text(0.01, spot, status, transform=axes.get_yaxis_transform(), va="center", fontsize=6, style="italic")


def _alike(row: Row, kind: Row) -> bool:
    """Whether a row is of this kind; one that failed before anything ran may lack a setting."""
    return row.runner == kind.runner and row.settings.items() <= kind.settings.items()


def _label(row: Row) -> str:
    """With the precision that was found in use where the settings leave the choice to the runtime."""
    used = row.facts.get("precision_in_use", "").removeprefix("<Type: '").removesuffix("'>")
    return f"{row.name} ({used})" if row.settings.get("precision") == "default" and used else row.name


def set_apart(way: tuple[str, ...], plain: tuple[str, ...]) -> list[str]:
    """What a way has that the plain one has not."""
    return [value for value, usual in zip(way, plain, strict=True) if value != usual]


def _plain(axis: Any) -> None:
    """0.5, 1, 2 in the place of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
