"""Clips as a picture: a row a clip, its frames side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from loaders.atomic import replacing
from loaders.flow import REST, chart
from loaders.index import Clip
from loaders.spec import ClipSpec

if TYPE_CHECKING:
    from loaders.dataset import ClipDataset


def show(dataset: ClipDataset, *, batch: int = 0, out: str | Path | None = None, most: int = 16) -> Figure:
    """Draws one batch as a labeled grid: a row a clip, its frames side by side, flow as a color wheel.

    Args:
        dataset: whose batch.
        batch: its number.
        out: a PNG to write, if given.
        most: clips that are drawn, of the first input.

    Returns:
        The figure; a notebook shows it.
    """
    clips = dataset[batch][0]
    name, spec = next(iter(dataset.specs.items()))
    pixels = (clips[name] if isinstance(clips, dict) else clips)[:most]
    titles = [clip_title(clip) for clip in dataset.clips(batch)[:most]]
    return draw_clips(np.stack([readable(clip, spec) for clip in pixels]), titles, out)


def clip_title(clip: Clip) -> str:
    """What a person would call a clip: its class, classes or numbers; its file where it has none."""
    if clip.label is None:
        return Path(clip.file).name
    return clip.label if isinstance(clip.label, str) else ", ".join(map(str, clip.label))


def readable(clip: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """A clip as people can look at it: RGB or gray; of flow, the first field of each step as colors.

    Of `grouped`, red, green and blue are the three frames: gray is what stands still.

    Flow is stretched so that the fastest hundredth of its pixels is fully saturated.
    """
    if spec.modality == "flow":
        fields = clip[..., :2]
        speed = np.hypot(*np.moveaxis(fields.astype(np.float32) - REST, -1, 0))
        gain = 127 / max(4.0, float(np.percentile(speed, 99)))  # below 4 steps it is noise
        return np.stack([chart(field, gain) for field in fields])
    return clip[..., ::-1] if spec.colors and spec.color_order == "bgr" else clip


def spread(count: int, most: int) -> list[int]:
    """Positions of at most `most` of `count` frames, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def draw_clips(clips: np.ndarray, titles: Sequence[str], path: str | Path | None) -> Figure:
    """Draws clips as a grid.

    Args:
        clips: uint8 (rows, frames, height, width, channels), RGB or gray.
        titles: what stands beside each row.
        path: the PNG to write, if given.
    """
    rows, columns = clips.shape[:2]
    figure = Figure(figsize=(1.6 + 1.3 * columns, 0.2 + 1.3 * rows * clips.shape[2] / clips.shape[3]))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes_row, clip, title in zip(grid, clips, titles, strict=True):
        for axes, frame in zip(axes_row, clip, strict=True):
            axes.imshow(frame.squeeze(-1) if frame.shape[-1] == 1 else frame, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(title, rotation=0, ha="right", va="center", parse_math=False)
    figure.subplots_adjust(
        left=1.2 / figure.get_figwidth(), right=0.99, top=0.99, bottom=0.01, wspace=0.04, hspace=0.04
    )
    if path is not None:
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=110, facecolor="white")
    return figure
