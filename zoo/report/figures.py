"""Pictures as SVG that stands in a page: text is text, and takes the page's color, on light and on dark."""

from __future__ import annotations

import io
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zoo.calibration import calibration_bins
from zoo.evaluation import Evaluation, wilson
from zoo.pictures import TRAIN, VALIDATION

_INK = "#010203"  # stands for the page's color until the picture is written
_STYLE: Any = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "legend.framealpha": 0.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "clipzoo",  # the same picture has the same bytes
    "text.parse_math": False,  # a dollar in a label is a dollar
}
_NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(name: str, says: str, draw: Callable[[], Figure]) -> Markup:
    """A picture as an `<svg>` element, without references to anything outside.

    Args:
        name: no other picture of the page has it.
        says: what the picture shows, for those who cannot see it.
        draw: makes the figure; what it draws in matplotlib's default color gets that of the page.
    """
    written = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's font has it, not the one measured with
        figure = draw()
        figure.savefig(written, format="svg", metadata=_NOTHING)
    root = ET.fromstring(written.getvalue())
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _value(key, value, name) for key, value in element.attrib.items()}
        if element.tag == "style":
            element.text = (element.text or "").replace(_INK, "currentColor")
    width = root.attrib.pop("width")  # the page may draw it smaller; `viewBox` has its shape
    del root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": says, "style": f"max-width: {width}"}
    return Markup(ET.tostring(root, encoding="unicode"))


def _local(name: str) -> str:
    """A name without its namespace, as HTML has it."""
    return name.rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    """An attribute's value; what is named in several pictures has a name of its own in each."""
    key = _local(key)
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return value.replace("url(#", f"url(#{name}-").replace(_INK, "currentColor")


def panel(plot: Callable[[Axes], object], *, width: float = 5.2, height: float = 3.6) -> Figure:
    """A figure of one plot; `width` and `height` are inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    plot(figure.subplots())
    return figure


def class_figure(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """The share that is right of each of these classes, in their order, with its 95 % interval."""

    def plot(axes: Axes) -> None:
        places = {label: place for place, label in enumerate(evaluation.labels)}
        totals = [sum(evaluation.confusion[places[label]]) for label in labels]
        rights = [evaluation.confusion[places[label]][places[label]] for label in labels]
        shares = np.array([right / total for right, total in zip(rights, totals, strict=True)])
        ends = np.array([wilson(right, total) for right, total in zip(rights, totals, strict=True)]).T
        rows = np.arange(len(labels))
        error = np.abs(ends - shares)
        axes.barh(rows, shares, xerr=error, color=TRAIN, height=0.6, ecolor=_INK, capsize=3, error_kw={"alpha": 0.7})
        axes.axvline(evaluation.top1, color=VALIDATION, linestyle=":", label="all clips")
        for row, right, total in zip(rows, rights, totals, strict=True):
            axes.text(1.03, float(row), f"{right} of {total}", va="center", fontsize=9)
        axes.set_yticks(rows, labels)
        axes.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6), xlabel="right, with 95 % interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)

    return panel(plot, width=5.6, height=1.4 + 0.32 * len(labels))


def reliability_figure(confidence: np.ndarray, right: np.ndarray) -> Figure:
    """The share that is right by confidence (arXiv 1706.04599), with 95 % intervals; see `calibration_bins`."""

    def plot(axes: Axes) -> None:
        held = calibration_bins(confidence, right)
        shares = np.array([each.right / each.clips for each in held])
        error = np.abs(np.array([wilson(each.right, each.clips) for each in held]).T - shares)
        means = [each.confidence for each in held]
        axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="as right as it says")
        axes.errorbar(means, shares, yerr=error, fmt="none", ecolor=_INK, capsize=3, alpha=0.5)
        sizes = [20 + 380 * each.clips / len(confidence) for each in held]
        axes.scatter(means, shares, s=sizes, color=TRAIN, alpha=0.8, zorder=3)
        axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="confidence", ylabel="right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")

    return panel(plot, height=4.2)
