"""The benchmarks' pictures, PNG on an opaque ground, so that they read on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, nan
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from benchmarks.harness.records import MATRIX, OURS, Results, Row, times_as_fast
from benchmarks.harness.tables import PEERS, peer_of
from benchmarks.harness.trainers import TrainingVariant
from loaders.atomic import replacing

# Okabe and Ito's colors, told apart by the color-blind too; markers say it again.
STYLES = (
    ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#D55E00", "v"), ("#56B4E9", "P"),
    ("#000000", "X"), ("#8C8C8C", "*"),
)  # fmt: skip

CURVE = 3  # batch sizes; fewer are a table's business


def draw(files: Sequence[Results]) -> list[Path]:
    """Draws the pictures of the result files of a folder, all of one kind, beside them, and returns their paths."""
    if not files:
        return []
    every = [row for results in files for row in results.rows if row.runner != MATRIX]
    rows = [row for row in every if row.measured]
    setup, folder = files[-1].setup, files[-1].path.parent
    title, figures = f"{setup.device}, {setup.cores} cores, {setup.started[:10]}", dict[str, Figure]()
    titles: dict[str, str] = {}
    if setup.kind == "inference" and any(row.runner == OURS for row in rows):
        figures["peers"] = _peers(every)
        curves = [row for row in rows if len({each.batch for each in rows if each.model == row.model}) >= CURVE]
        if curves:
            figures |= {"throughput": _curves(curves, latency=False), "latency": _curves(curves, latency=True)}
    elif setup.kind == "training" and rows:
        figures["training"] = _training(every)
    elif setup.kind == "devices" and rows:
        figures["devices"] = _devices(rows)
    elif setup.kind == "serving" and any("share" in row.facts for row in rows):
        figures["serving"] = _serving([row for row in rows if "share" in row.facts])
    elif setup.kind == "real":
        confused = [row for row in every if "confusion" in row.facts]
        if best := max(confused, key=lambda row: (len(row.facts["labels"]), row.facts["top1"]), default=None):
            figures["confusion"] = _confusion(best)
            titles["confusion"] = f"{best.model}, {best.name}"
        article = [row for row in every if row.settings.get("recipe") == "article"]
        # A history of before there was a best epoch has fewer columns.
        if learnt := [row for row in article if "best" in row.facts.get("history", [{}])[0]]:
            figures["article"] = _learnt(learnt)
            titles["article"] = f"{learnt[-1].settings['clips']}, recipe article"
    drawn: list[Path] = []
    for name, figure in figures.items():
        figure.suptitle(titles.get(name, title), fontsize=9)
        path = folder / f"{name}.png"
        with replacing(path) as partial:
            figure.savefig(partial, dpi=110, facecolor="white")
        drawn.append(path)
    return drawn


def _peers(rows: Sequence[Row]) -> Figure:
    """How many times as fast ONNX Runtime is as each peer, as the table says it: every model, batch 1 and the largest.
    On the line at 1 both are as fast.

    Where there is no figure, it says why.
    """
    ours = list(dict.fromkeys(row.name for row in rows if row.runner == OURS and row.measured))
    sizes = sorted({row.batch for row in rows if row.runner == OURS and row.measured})
    batches = sorted({sizes[0], sizes[-1]})
    models = list(dict.fromkeys(row.model for row in rows))
    peers = [peer for peer in PEERS if any(row.measured and _is(row, *peer) for row in rows)]
    pairs = list(product(ours, peers))
    figure = Figure(figsize=(5.2 * len(batches), 0.9 + 0.95 * len(models)), layout="constrained")
    panels: Any = figure.subplots(1, len(batches), sharey=True, squeeze=False)
    for axes, batch in zip(panels[0], batches, strict=True):
        there = {row.model for row in rows if row.runner == OURS and row.measured and row.batch == batch}
        for line, model in enumerate(models):
            if model not in there:
                _say(axes, line, "not measured")
        for place, (name, peer) in enumerate(pairs):
            color, _ = STYLES[place % len(STYLES)]
            spots, speeds = [], []
            for model, spot in zip(models, _spots(len(models), place, len(pairs)), strict=True):
                own = next((r for r in rows if (r.model, r.name, r.batch) == (model, name, batch) and r.measured), None)
                other = peer_of(own, rows, *peer) if own else None
                if own is None or other is None:
                    continue
                if other.measured:
                    spots.append(spot)
                    speeds.append(times_as_fast(own, other).value - 1)
                else:
                    _say(axes, spot, other.status)
            label = ", ".join(
                filter(None, (name if len(ours) > 1 else "", _peer(peer, rows) if len(peers) > 1 else ""))
            )
            axes.barh(spots, speeds, height=0.8 / len(pairs), left=1, color=color, label=label or _peer(peer, rows))
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        beside = _peer(peers[0], rows) if len(peers) == 1 else "each peer"
        axes.set(title=f"batch {batch}", xlabel=f"ONNX Runtime: times as fast as {beside}", yticks=range(len(models)))
        axes.set_yticklabels(models)
        axes.grid(alpha=0.3, axis="x")
    panels[0][0].set_ylim(len(models) - 0.5, -0.5)  # for all of them: they share it
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _is(row: Row, runner: str, precision: str) -> bool:
    return row.runner == runner and precision in ("", row.settings.get("precision"))


def _peer(peer: tuple[str, str], rows: Sequence[Row]) -> str:
    """Its name, with the precision that was found in use where the settings leave the choice to the runtime."""
    row = next(row for row in rows if row.measured and _is(row, *peer))
    return _label(row) if peer[1] else peer[0]


def _confusion(row: Row) -> Figure:
    """Which classes a trained model takes for which."""
    from zoo.evaluation import Evaluation
    from zoo.pictures import confusion_figure

    facts = row.facts
    return confusion_figure(
        Evaluation(
            clips=facts["test_clips"], top1=facts["top1"], interval=facts["interval"],
            mean_class_accuracy=facts["mean_class_accuracy"], calibration_error=nan, class_accuracy={},
            confusion=facts["confusion"], largest="", largest_share=nan, labels=tuple(facts["labels"]),
        )
    )  # fmt: skip


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
    plain = tuple(TrainingVariant().settings.values())
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


def _devices(rows: Sequence[Row]) -> Figure:
    """Losses of each way to train, a panel each, and in it a line for each number of devices, the first one broad."""
    panels = list(dict.fromkeys((row.runner, row.settings["way"]) for row in rows))
    figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained")
    row_of_axes: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (runner, way) in zip(row_of_axes, panels, strict=True):
        found = [row for row in rows if (row.runner, row.settings["way"]) == (runner, way)]
        for row, width, color in zip(found, (7, 3.5, 1.2), ("#BFD7EA", "#E69F00", "#000000"), strict=False):
            history = row.facts["history"]
            epochs = [each["epoch"] + 1 for each in history]
            label = f"{row.settings['devices']} device{'s' if row.settings['devices'] != '1' else ''}"
            axes.plot(epochs, [each["loss"] for each in history], color=color, linewidth=width, label=label)
            axes.plot(epochs, [each["val_loss"] for each in history], color=color, linewidth=width, linestyle="--")
        axes.set(title=f"{runner}: {way}", xlabel="epoch", ylabel="loss (dashed: validation)")
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _learnt(rows: Sequence[Row]) -> Figure:
    """Loss and top-1 by epoch, a column for each training."""
    from zoo.pictures import plot_curve

    figure = Figure(figsize=(3.4 * len(rows), 5.4), layout="constrained")
    panels: Any = figure.subplots(2, len(rows), sharex="col", sharey="row", squeeze=False)
    for place, row in enumerate(rows):
        for axes, name in zip(panels[:, place], ("loss", "accuracy"), strict=True):
            plot_curve(axes, row.facts["history"], name, legend=not place and name == "accuracy")
            axes.set(ylabel="" if place else axes.get_title(), title="")
            axes.label_outer()
        panels[0, place].set_title(f"{row.model}, {row.runner.removeprefix('Keras ')}", fontsize=9)
    return figure


def _serving(rows: Sequence[Row]) -> Figure:
    """Latency against offered load, median and p95, a color for each model."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes: Any = figure.subplots()
    for (color, marker), model in zip(STYLES * 3, dict.fromkeys(row.model for row in rows), strict=False):
        found = sorted((row for row in rows if row.model == model), key=lambda row: row.facts["share"])
        shares, marks = [row.facts["share"] for row in found], [row.summary() for row in found]
        style = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.2}
        axes.plot(shares, [each["p50_ms"] for each in marks], **style, label=f"{model}, median")
        most = [each["p95_ms"] if len(row.latencies) >= 20 else nan for row, each in zip(found, marks, strict=True)]
        axes.plot(shares, most, **style, linestyle="--", label=f"{model}, p95")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yscale("log")
    _plain(axes.yaxis)
    axes.set(xlabel="requests a second, of what a closed loop answers", ylabel="from arrival to answer, ms")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _spots(models: int, place: int, of: int) -> list[float]:
    """Where the marks of one of several runners stand, model by model."""
    return [model + 0.8 * (place + 0.5) / of - 0.4 for model in range(models)]


def _say(axes: Any, spot: float, status: str) -> None:
    """Writes at the left edge why there is no figure."""
    axes.text(
        0.01, spot, status, transform=axes.get_yaxis_transform(), va="center", fontsize=6, style="italic",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


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
