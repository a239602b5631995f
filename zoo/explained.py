"""Heat for people: the labels of a clip that are worth a look, a strip of frames (PNG), and a film (AVI)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from loaders.atomic import replacing
from loaders.motion_jpeg import write_motion_jpeg
from loaders.pictures import readable, spread
from zoo.explanation import GradCam

if TYPE_CHECKING:
    import keras

_MOST = 8  # frames of a strip
_SIDE = 1.35  # inches, of a frame in a strip
_TALL = 224  # pixels of a film's frame, at least
_RATES = 1.0, 60.0  # frames a second of a film, at least and at most
_HEAT = "inferno"
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
_THICK = 0.75  # of the hottest place's color; the frame shows through


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One input of a clip, and its heat.

    Attributes:
        frames: uint8 (T, H, W, 3 or 1), RGB or gray, as people can look at them.
        heat: float32 (T, H, W), 0 to 1.
        seconds: where in its file each step begins; None where that is not known.
    """

    frames: np.ndarray
    heat: np.ndarray
    seconds: np.ndarray | None = None

    @property
    def overlay(self) -> np.ndarray:
        """The frames in gray with the heat laid over, uint8 (T, H, W, 3), RGB: all color in them is heat."""
        gray = self.frames @ _LUMA if self.frames.shape[-1] == 3 else self.frames[..., 0]
        thick = _THICK * self.heat[..., None]
        colors = colormaps[_HEAT](self.heat)[..., :3] * 255
        return np.round(gray[..., None] * (1 - thick) + colors * thick).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What speaks for one label in one clip.

    Attributes:
        label: which.
        title: label and probability, or number; and the answer, if that is another label.
        panels: input name -> frames and heat.
    """

    label: str
    title: str
    panels: Mapping[str, Panel]

    @property
    def cold(self) -> bool:
        """Whether nothing in the clip speaks for the label."""
        return not any(panel.heat.any() for panel in self.panels.values())


def explain_clip(
    model: keras.Model,
    clips: Mapping[str, np.ndarray],
    *,
    label: str | None = None,
    seconds: Mapping[str, np.ndarray] | None = None,
) -> list[Explained]:
    """Explains one clip by Grad-CAM; see `zoo.explain`.

    Args:
        model: as `zoo.explain` takes it.
        clips: input name -> uint8 (T, H, W, C), as `loaders.read_inputs` gives them.
        label: which to explain. Left out: the top class; all labels of probability 0.5 and more, or the highest; or
            all numbers.
        seconds: input name -> where in its file each step begins; see `loaders.clip.step_seconds`.

    Raises:
        ClipzooError: as `zoo.explain`.
    """
    cam = GradCam(model)
    place = None if label is None else cam.place(label)
    seen = cam.look({name: clip[None] for name, clip in clips.items()})
    answer = seen.answer[0]
    said = [int(answer.argmax())]
    if not cam.kind.classes:
        said = list(range(len(cam.labels)))
    elif cam.kind.decide(answer).any():
        said = np.flatnonzero(cam.kind.decide(answer)).tolist()

    def words(place: int) -> str:
        return (
            f"{cam.labels[place]} {answer[place]:.1%}"
            if cam.kind.classes
            else f"{cam.labels[place]} {answer[place]:.4g}"
        )

    found = []
    for chosen in said if place is None else [place]:
        heat = cam.heat(seen, [chosen])
        panels = {
            name: Panel(frames=readable(clips[name], spec), heat=heat[name][0], seconds=(seconds or {}).get(name))
            for name, spec in cam.specs.items()
        }
        title = words(chosen)
        if chosen not in said:
            title += f"; the answer is {', '.join(words(each) for each in said)}"
        found.append(Explained(label=cam.labels[chosen], title=title, panels=panels))
    return found


def draw_strip(explained: Explained, path: str | Path) -> None:
    """Draws frames evenly spread over the clip, 8 at most: input by input as they are, and with the heat laid over.

    Args:
        explained: what to draw.
        path: the PNG to write.
    """
    rows = [
        (name, panel, pictures)
        for name, panel in explained.panels.items()
        for pictures in (panel.frames, panel.overlay)
    ]
    columns = max(len(spread(len(panel.frames), _MOST)) for panel in explained.panels.values())
    tall = [_SIDE * pictures.shape[1] / pictures.shape[2] for _, _, pictures in rows]
    width = 0.3 + _SIDE * max(columns, 3) + 0.6
    title = textwrap.wrap(explained.title, int(11 * width))  # about so many letters an inch
    above = 0.15 + 0.2 * len(title)
    height = above + sum(tall) + 0.1
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=tall)
    for axes_row, (name, panel, pictures) in zip(grid, rows, strict=True):
        heated = pictures is not panel.frames
        for axes, place in zip_longest(axes_row, spread(len(panel.frames), _MOST)):
            axes.set(xticks=[], yticks=[])
            if place is None:
                axes.set_visible(False)
                continue
            picture = pictures[place]
            axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255)
            if not heated:
                where = f"step {place + 1}" if panel.seconds is None else f"{panel.seconds[place]:.2f} s"
                box = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.5}
                axes.text(0.03, 0.04, where, transform=axes.transAxes, color="white", fontsize=7, bbox=box)
        axes_row[0].set_ylabel("heat" if heated else name if len(explained.panels) > 1 else "frames", fontsize=9)
    bottom, top, right = 0.1 / height, 1 - above / height, 1 - 0.6 / width
    figure.subplots_adjust(left=0.3 / width, right=right, top=top, bottom=bottom, wspace=0.04, hspace=0.04)
    scale = figure.add_axes((right + 0.1 / width, bottom, 0.12 / width, top - bottom))
    figure.colorbar(ScalarMappable(cmap=_HEAT), cax=scale, ticks=[0, 1])
    figure.text(0.3 / width, 1 - 0.08 / height, "\n".join(title), fontsize=11, ha="left", va="top", parse_math=False)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="white")


def write_film(explained: Explained, path: str | Path) -> None:
    """Writes a film of all steps, as fast as they are in their file: the frames on the left, with heat on the right.

    Inputs stand one below the other. Frames of few pixels are enlarged.

    Args:
        explained: what to show.
        path: the AVI to write, Motion JPEG.
    """
    panels = list(explained.panels.values())
    count = max(len(panel.frames) for panel in panels)
    rows = []
    for panel in panels:
        both = np.concatenate([np.broadcast_to(panel.frames, panel.overlay.shape), panel.overlay], axis=2)
        zoom = -(-_TALL // both.shape[1])
        both = both.repeat(zoom, axis=1).repeat(zoom, axis=2)
        rows.append(both[np.arange(count) * len(both) // count])
    wide = max(row.shape[2] for row in rows)
    film = np.concatenate([np.pad(row, ((0, 0), (0, 0), (0, wide - row.shape[2]), (0, 0))) for row in rows], axis=1)
    film = np.pad(film, ((0, 0), (0, film.shape[1] % 2), (0, film.shape[2] % 2), (0, 0)))  # OpenCV drops an odd row
    with replacing(path) as partial:
        write_motion_jpeg(partial, list(film[..., ::-1]), _rate(panels[0]), named=path)


def _rate(panel: Panel) -> float:
    """Frames a second, so that a film lasts as long as what it shows."""
    slow, fast = _RATES
    if panel.seconds is None or len(panel.seconds) < 2 or panel.seconds[-1] <= panel.seconds[0]:
        return 5.0
    return float(np.clip((len(panel.seconds) - 1) / (panel.seconds[-1] - panel.seconds[0]), slow, fast))
