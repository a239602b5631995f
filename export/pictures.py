"""A timeline as a picture: frames of the video, segments as bars, probabilities as curves; white, so that it reads on
light and dark pages."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, PercentFormatter

from export.segments import smooth
from loaders.atomic import replacing
from loaders.decode import read_frames
from loaders.opening import open_video, require_file
from loaders.printable import printable_name

if TYPE_CHECKING:
    from export.timeline import Timeline

# Okabe and Ito's colors, which color-blind people tell apart, then shades of them; yellow is too light on white.
COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#004466", "#803800", "#005c43", "#7a4863",
)  # fmt: skip
_LIGHT = ("#cc79a7", "#e69f00", "#56b4e9")  # on which white is hard to read
WIDTH, RIGHT, DPI = 12.0, 0.3, 110  # inches, inches, pixels an inch
ROW, CURVES, TILE, GAP = 0.34, 1.7, 1.0, 0.1  # inches: a bar, the curves, a frame of the strip (about), between them
MOST = len(COLORS)  # labels; of more, those that are there the longest
LONGEST = 28  # letters of a label
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Draws a timeline. Where nothing reached a segment, the curves are those of the labels that came nearest.

    Args:
        timeline: what to draw; frames are read from its file.
        path: the PNG to write.

    Raises:
        VideoError: the file cannot be read any more.
    """
    shown, there = _shown(timeline)
    names = [_short(timeline.labels[place]) for place in shown]
    colors = dict(zip(shown, COLORS, strict=False))
    left = 0.25 + 0.072 * max(8, *map(len, names))  # inches: as wide as the longest label
    room = WIDTH - left - RIGHT
    strip, tall = _strip(timeline.file, room)
    bars = ROW * max(1, there)
    height = 0.4 + tall + GAP + bars + GAP + CURVES + 0.35
    figure = Figure(figsize=(WIDTH, height))

    def panel(top: float, inches: float) -> Axes:
        return figure.add_axes((left / WIDTH, 1 - (top + inches) / height, room / WIDTH, inches / height))

    film = panel(0.4, tall)
    film.imshow(strip, extent=(0, timeline.seconds, 0, 1), aspect="auto", interpolation="antialiased")
    film.set(xticks=[], yticks=[])
    _draw_bars(panel(0.4 + tall + GAP, bars), timeline, shown[:there], names, colors, room)
    curves = panel(0.4 + tall + GAP + bars + GAP, CURVES)
    _draw_curves(curves, timeline, shown, names, colors, legend=not there)
    left_out = len({segment.label for segment in timeline.segments}) - there
    count = len(timeline.segments)
    more = f", {left_out} more labels" if left_out else ""
    figure.text(
        left / WIDTH, 1 - 0.13 / height, _short(Path(timeline.file).name, 60), va="top", fontsize=11, weight="bold",
        parse_math=False,
    )  # fmt: skip
    figure.text(
        1 - RIGHT / WIDTH, 1 - 0.15 / height,
        f"{count} segment{'' if count == 1 else 's'}{more}; windows of {timeline.window:.3g} s "
        f"every {timeline.hop:.3g} s",
        va="top", ha="right", fontsize=9, color="#555555",
    )  # fmt: skip
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, facecolor="white")


def _shown(timeline: Timeline) -> tuple[list[int], int]:
    """Places of the labels to draw, and how many of them have segments: all, else three that came nearest."""
    seconds: dict[str, float] = {}
    for start, end, label, _ in timeline.segments:  # by start: rows are in the order in which labels come
        seconds[label] = seconds.get(label, 0.0) + end - start
    if seconds:
        longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:MOST]
        return [timeline.labels.index(label) for label in seconds if label in longest], len(longest)
    return np.argsort(-timeline.probabilities.max(axis=0), kind="stable")[:3].tolist(), 0


def _draw_bars(
    axes: Axes, timeline: Timeline, shown: list[int], names: list[str], colors: dict[int, str], room: float
) -> None:
    """A row a label, a bar a segment, with its confidence where there is room for it."""
    rows = {timeline.labels[place]: row for row, place in enumerate(shown)}
    for start, end, label, confidence in timeline.segments:
        if label not in rows:
            continue
        row = rows[label]
        axes.barh(row, end - start, left=start, height=0.72, color=colors[shown[row]], edgecolor="white", linewidth=0.5)
        if (end - start) / timeline.seconds * room > 0.42:  # inches
            axes.text(
                (start + end) / 2, row, f"{confidence:.0%}", ha="center", va="center", fontsize=8, weight="bold",
                color="black" if colors[shown[row]] in _LIGHT else "white",
            )  # fmt: skip
    axes.set(xlim=(0, timeline.seconds), ylim=(max(1, len(shown)) - 0.5, -0.5))
    axes.set_yticks(range(len(shown)), names[: len(shown)], fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    _time_axis(axes, timeline.seconds, words=False)
    if not shown:
        axes.text(
            timeline.seconds / 2, 0, timeline.nothing, ha="center",
            va="center", fontsize=9, color="#555555",
        )  # fmt: skip


def _draw_curves(
    axes: Axes, timeline: Timeline, shown: list[int], names: list[str], colors: dict[int, str], *, legend: bool
) -> None:
    """The smoothed probabilities that segments are made of, and the two thresholds."""
    edges, curve = smooth(timeline.spans, timeline.probabilities)
    line = 1.4 if len(curve) < 500 else 0.7
    for threshold, word in ((timeline.on, "on"), (timeline.off, "off")):
        axes.axhline(threshold, color="#777777", linestyle=(0, (4, 3)), linewidth=0.8)
        axes.annotate(
            word, (1, threshold), xycoords=("axes fraction", "data"), xytext=(-3, 1), textcoords="offset points",
            ha="right", va="bottom", fontsize=7, color="#555555", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    for place, name in zip(shown, names, strict=True):
        axes.stairs(curve[:, place], edges, baseline=None, color=colors[place], linewidth=line, label=name)
    axes.set(xlim=(0, timeline.seconds), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.tick_params(labelsize=8)
    axes.set_ylabel("probability", fontsize=9)
    _time_axis(axes, timeline.seconds, words=True)
    if legend:
        for text in axes.legend(loc="upper left", fontsize=8, framealpha=0.9).get_texts():
            text.set_parse_math(False)


def _time_axis(axes: Axes, seconds: float, *, words: bool) -> None:
    """At most eleven marks, at round times."""
    step = next((step for step in _STEPS if seconds / step <= 10), seconds / 10)
    places = np.arange(0, seconds + step / 1000, step)
    decimals = 0 if step >= 1 else 1 if seconds >= _STEPS[0] else 3
    axes.xaxis.set_major_locator(FixedLocator(places.tolist() if seconds >= _STEPS[0] else [0, seconds]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at, decimals=decimals)))
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelbottom=words, length=3 if words else 0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def clock(seconds: float, *, decimals: int = 0) -> str:
    """A time as people write it: 0:05, 12:30, 1:02:03; with decimals 0:05.5."""
    whole, rest = divmod(round(10**decimals * seconds), 10**decimals)
    minutes, second = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
    return f"{text}.{rest:0{decimals}}" if decimals else text


class _Film:
    """Visits frames at even times, and keeps each as small as it is drawn."""

    def __init__(self, count: int, tiles: int, size: tuple[int, int]) -> None:
        self.numbers = [int((tile + 0.5) * count / tiles) for tile in range(tiles)]
        self.wanted: Collection[int] = set(self.numbers)
        self.size = size  # (width, height), pixels
        self.frames: dict[int, np.ndarray] = {}

    def visit(self, number: int, frame: np.ndarray) -> None:
        small = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        self.frames[number] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def _strip(path: str, room: float) -> tuple[np.ndarray, float]:
    """Frames at even times side by side, uint8 (height, width, 3), RGB; and how tall that is, inches.

    They are sought where the file allows it: windows are read before anybody asks for a picture.
    """
    require_file(path)
    capture = open_video(path)
    wide, tall = (capture.get(side) or 1.0 for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    tiles = min(24, max(3, round(room / (TILE * wide / tall))))
    inches = min(2 * TILE, room / tiles * tall / wide)
    size = max(1, round(2 * DPI * room / tiles)), max(1, round(2 * DPI * inches))  # sharp where it is enlarged, too
    film = read_frames(path, lambda count, _: _Film(count, tiles, size))
    between = np.full((size[1], 4, 3), 255, np.uint8)
    parts = [part for number in film.numbers for part in (between, film.frames[number])]
    return np.hstack(parts[1:]), inches


def _short(name: str, most: int = LONGEST) -> str:
    """A name on one line, and not longer than there is room for."""
    name = printable_name(name)
    return name if len(name) <= most else name[: most - 1] + "…"
