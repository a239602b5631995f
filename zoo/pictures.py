"""Learning curves and confusion matrices, as PNG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from loaders.atomic import replacing
from loaders.tasks import shown_in
from zoo.evaluation import Evaluation, LabelEvaluation, NumberEvaluation, Result
from zoo.fusion import Sweep

TRAIN, VALIDATION = "#1f77b4", "#d95f02"
SHADES = LinearSegmentedColormap.from_list("shades", [f"{TRAIN}00", f"{TRAIN}ff"])


def draw_curves(history: Sequence[dict[str, float]], path: str | Path) -> None:
    """Draws the loss and the task's metric by epoch, training and validation, and marks the best epoch.

    Args:
        history: what `zoo.training.fit` returns, at least one epoch.
        path: the PNG to write.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, metric = figure.subplots(1, 2)
    plot_curve(loss, history, "loss", legend=False)
    plot_curve(metric, history, shown_in(history[0]).metric)
    _save(figure, path)


def plot_curve(axes: Axes, history: Sequence[dict[str, float]], name: str, *, legend: bool = True) -> None:
    """Plots one column of a history, `loss` or the task's metric, by epoch."""
    kind = shown_in(history[0])
    epochs = [row["epoch"] + 1 for row in history]
    axes.plot(epochs, [row[name] for row in history], color=TRAIN, marker=".", label="training")
    if f"val_{name}" in history[0]:
        axes.plot(epochs, [row[f"val_{name}"] for row in history], color=VALIDATION, marker=".", label="validation")
    best = [row for row in history if row["best"]][-1]
    axes.axvline(best["epoch"] + 1, color="gray", linestyle=":", label="best epoch")
    axes.set(title=(kind.title if name == kind.metric else name).capitalize(), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    share = kind.share and name == kind.metric
    if share:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if legend:
        axes.legend(loc="lower right" if share else "upper right")


def draw_result(result: Result, path: str | Path) -> None:
    """Draws the figures of any task: confusion matrix, precision by label, or predicted against true numbers."""
    if isinstance(result, Evaluation):
        draw_confusion(result, path)
    elif isinstance(result, LabelEvaluation):
        draw_precision(result, path)
    else:
        draw_numbers(result, path)


def draw_precision(result: LabelEvaluation, path: str | Path) -> None:
    """Draws the average precision of each label as a bar, and the share of clips that have it as a mark."""
    _save(precision_figure(result), path)


def precision_figure(result: LabelEvaluation) -> Figure:
    """What `draw_precision` draws."""
    figure = Figure(figsize=(7, 1.6 + 0.35 * len(result.labels)), layout="constrained")
    axes = figure.subplots()
    heights = [result.average_precision[label] or 0.0 for label in result.labels]
    axes.barh(range(len(heights)), heights, color=TRAIN, label="average precision")
    axes.plot(
        result.share, range(len(heights)), "|", color=VALIDATION, markersize=14, markeredgewidth=3, label="by chance"
    )
    axes.set_yticks(range(len(heights)), result.labels, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), title=f"mean average precision {result.mean_average_precision:.1%}, {result.clips} clips")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_numbers(result: NumberEvaluation, path: str | Path) -> None:
    """Draws predicted against true values, one panel a number; on the line they are equal."""
    count = len(result.labels)
    figure = Figure(figsize=(4 * count, 4), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, label in zip(panels, result.labels, strict=True):
        plot_number(axes, result, label)
    _save(figure, path)


def plot_number(axes: Axes, result: NumberEvaluation, label: str) -> None:
    """Plots predicted against true values of one number."""
    place = result.labels.index(label)
    truth, found = (np.asarray(rows)[:, place] for rows in (result.truth, result.predicted))
    ends = [min(truth.min(), found.min()), max(truth.max(), found.max())]
    axes.plot(ends, ends, color="gray", linestyle=":")
    axes.plot(truth, found, ".", color=TRAIN)
    axes.set(xlabel="true", ylabel="predicted")
    axes.set_title(f"{label}: mean error {result.mean_absolute_error[label]:.3g}", parse_math=False)
    axes.grid(alpha=0.3)


def draw_sweep(found: Sweep, path: str | Path) -> None:
    """Draws mean per-class accuracy by the weight of the first stream, and marks the weight that validation chose."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for evaluations, color, label in ((found.validation, VALIDATION, "validation"), (found.test, TRAIN, "test")):
        axes.plot(found.weights, [e.mean_class_accuracy for e in evaluations], color=color, marker=".", label=label)
    axes.axvline(found.chosen, color="gray", linestyle=":", label="chosen on validation")
    axes.set(xlabel="weight of the first stream", ylabel="mean per-class accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def draw_confusion(evaluation: Evaluation, path: str | Path) -> None:
    """Draws the confusion matrix: rows are true classes, columns predicted ones, shades the share of the row.

    Args:
        evaluation: what `zoo.evaluation.evaluate` returns.
        path: the PNG to write.
    """
    _save(confusion_figure(evaluation), path)


def confusion_figure(evaluation: Evaluation) -> Figure:
    """What `draw_confusion` draws. Shades are of one color, more or less opaque, so that it fits any background."""
    counts = np.asarray(evaluation.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    classes = len(evaluation.labels)
    side = min(24.0, max(4.2, 1.8 + 0.42 * classes))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.pcolormesh(np.ma.masked_equal(shares, 0), cmap=SHADES, vmin=0, vmax=1)
    middles = np.arange(classes) + 0.5
    axes.set_xticks(
        middles, evaluation.labels, rotation=90 if classes > 8 else 30, ha="center" if classes > 8 else "right",
        parse_math=False,
    )  # fmt: skip
    axes.set_yticks(middles, evaluation.labels, parse_math=False)
    low, high = evaluation.interval
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"top-1 {evaluation.top1:.1%} ({low:.1%} to {high:.1%}), {evaluation.clips} clips",
        aspect="equal",
    )
    axes.invert_yaxis()
    if classes <= 30:
        for row, column in np.argwhere(counts > 0):
            axes.text(column + 0.5, row + 0.5, str(counts[row, column]), ha="center", va="center", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class", format=PercentFormatter(1))
    return figure


def _save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="white")
