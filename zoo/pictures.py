"""Learning curves and confusion matrices, as PNG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from loaders.atomic import replacing
from zoo.evaluation import Evaluation

TRAIN, VALIDATION = "#1f77b4", "#d95f02"


def draw_curves(history: Sequence[dict[str, float]], path: str | Path) -> None:
    """Draws loss and top-1 accuracy by epoch, training and validation, and marks the best epoch.

    Args:
        history: what `zoo.training.fit` returns, at least one epoch.
        path: the PNG to write.
    """
    epochs = [row["epoch"] + 1 for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Top-1 accuracy")):
        axes.plot(epochs, [row[name] for row in history], color=TRAIN, marker=".", label="training")
        if f"val_{name}" in history[0]:
            axes.plot(epochs, [row[f"val_{name}"] for row in history], color=VALIDATION, marker=".", label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    monitor = "val_loss" if "val_loss" in history[0] else "loss"
    best = min(history, key=lambda row: row[monitor])
    for axes in (loss, accuracy):
        axes.axvline(
            best["epoch"] + 1, color="gray", linestyle=":", label=f"best {monitor.replace('val_', 'validation ')}"
        )
    accuracy.set_ylim(0, 1.02)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    accuracy.legend(loc="lower right")
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
