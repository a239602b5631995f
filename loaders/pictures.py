"""Clips as a picture: a row a clip, its frames side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from loaders.atomic import replacing


def draw_clips(clips: np.ndarray, titles: Sequence[str], path: str | Path) -> None:
    """Draws clips as a grid.

    Args:
        clips: uint8 (rows, frames, height, width, channels), RGB or grey.
        titles: what stands beside each row.
        path: the PNG to write.
    """
    rows, columns = clips.shape[:2]
    figure = Figure(figsize=(1.6 + 1.3 * columns, 0.2 + 1.3 * rows * clips.shape[2] / clips.shape[3]))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes_row, clip, title in zip(grid, clips, titles, strict=True):
        for axes, frame in zip(axes_row, clip, strict=True):
            axes.imshow(frame.squeeze(-1) if frame.shape[-1] == 1 else frame, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(title, rotation=0, ha="right", va="center")
    figure.subplots_adjust(
        left=1.2 / figure.get_figwidth(), right=0.99, top=0.99, bottom=0.01, wspace=0.04, hspace=0.04
    )
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="white")
