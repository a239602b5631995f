"""Learning curves and confusion matrices, as PNG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from loaders.atomic import replacing
from loaders.tasks import shown_in
from zoo.evaluation import Evaluation, LabelEvaluation, NumberEvaluation, Result
from zoo.fusion import Sweep

TRAIN, VALIDATION = "#1f77b4", "#d95f02"


def draw_curves(history: Sequence[dict[str, float]], path: str | Path) -> None:
    """Draws the loss and the task's metric by epoch, training and validation, and marks the best epoch.

    Args:
        history: what `zoo.training.fit` returns, at least one epoch.
        path: the PNG to write.
    """
    epochs = [row["epoch"] + 1 for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, metric = figure.subplots(1, 2)
    kind = shown_in(history[0])
    for axes, name, title in ((loss, "loss", "Loss"), (metric, kind.metric, kind.title.capitalize())):
        axes.plot(epochs, [row[name] for row in history], color=TRAIN, marker=".", label="training")
        if f"val_{name}" in history[0]:
            axes.plot(epochs, [row[f"val_{name}"] for row in history], color=VALIDATION, marker=".", label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    best = [row for row in history if row["best"]][-1]
    for axes in (loss, metric):
        axes.axvline(best["epoch"] + 1, color="gray", linestyle=":", label="best epoch")
    if kind.share:
        metric.set_ylim(0, 1.02)
        metric.yaxis.set_major_formatter(PercentFormatter(1))
    metric.legend(loc="lower right" if kind.share else "upper right")
    _save(figure, path)


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
    figure = Figure(figsize=(7, 1.6 + 0.35 * len(result.labels)), layout="constrained")
    axes = figure.subplots()
    heights = [result.average_precision[label] or 0.0 for label in result.labels]
    axes.barh(range(len(heights)), heights, color=TRAIN, label="average precision")
    axes.plot(
        result.share, range(len(heights)), "|", color=VALIDATION, markersize=14, markeredgewidth=3, label="by chance"
    )
    axes.set_yticks(range(len(heights)), result.labels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), title=f"mean average precision {result.mean_average_precision:.1%}, {result.clips} clips")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2)
    _save(figure, path)


def draw_numbers(result: NumberEvaluation, path: str | Path) -> None:
    """Draws predicted against true values, one panel a number; on the line they are equal."""
    count = len(result.labels)
    figure = Figure(figsize=(4 * count, 4), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for place, (axes, label) in enumerate(zip(panels, result.labels, strict=True)):
        truth, found = (np.asarray(rows)[:, place] for rows in (result.truth, result.predicted))
        ends = [min(truth.min(), found.min()), max(truth.max(), found.max())]
        axes.plot(ends, ends, color="gray", linestyle=":")
        axes.plot(truth, found, ".", color=TRAIN)
        axes.set(
            xlabel="true", ylabel="predicted", title=f"{label}: mean error {result.mean_absolute_error[label]:.3g}"
        )
        axes.grid(alpha=0.3)
    _save(figure, path)


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
    counts = np.asarray(evaluation.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    classes = len(evaluation.labels)
    side = min(24.0, max(4.2, 1.8 + 0.42 * classes))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(classes), evaluation.labels, rotation=90 if classes > 8 else 30, ha="center" if classes > 8 else "right"
    )
    axes.set_yticks(range(classes), evaluation.labels)
    low, high = evaluation.interval
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"top-1 {evaluation.top1:.1%} ({low:.1%} to {high:.1%}), {evaluation.clips} clips",
    )
    if classes <= 30:
        for row, column in np.argwhere(counts > 0):
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=9,
                color="white" if shares[row, column] > 0.55 else "black",
            )  # fmt: skip
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class", format=PercentFormatter(1))
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="white")
