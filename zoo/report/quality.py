"""How good a model is, in sentences and pictures, whatever its task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from loaders.tasks import TaskKind
from zoo.evaluation import Evaluation, LabelEvaluation, NumberEvaluation, wilson
from zoo.pictures import confusion_figure, plot_number, precision_figure
from zoo.report.figures import class_figure, panel, reliability_figure, svg
from zoo.run import figures_of
from zoo.run_scores import RunScores

_MATRIX = 60  # classes: more are no matrix that can be read
_BARS = 40  # classes
_PAIRS = 8  # confusions


@dataclass(frozen=True)
class Headline:
    """The figure that counts.

    Attributes:
        figure: such as `51.0%`.
        name: what it is, and of which clips.
        sentences: what it means.
        caution: a sentence that it must not be read without; empty where there is none.
    """

    figure: str
    name: str
    sentences: list[str]
    caution: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its text."""

    title: str
    figure: Markup | None
    sentences: list[str]
    wide: bool = False


@dataclass(frozen=True)
class ScoreSection:
    """What stands in the page of the scores.

    Attributes:
        headline: see there.
        pictures: in their order.
        confused: (true, said, how often, of how many), most often first.
        table: a heading, and a row for each label.
    """

    headline: Headline
    pictures: list[Picture] = field(default_factory=list)
    confused: list[tuple[str, str, int, int]] = field(default_factory=list)
    table: list[tuple[str, ...]] = field(default_factory=list)


def quality(held: RunScores) -> ScoreSection:
    """The figures of a run's scores."""
    result = held.scores.evaluate()
    caution = ""
    if held.split != "test":
        chose = {"validation": "chose the best epoch", "train": "were trained on"}[held.split]
        caution = f"These clips {chose}, so the figure is too good. There is no figure on test clips."
    clips = f"{result.clips} {held.split} {'clip' if result.clips == 1 else 'clips'}"
    if isinstance(result, Evaluation):
        return _classes(held, result, clips, caution)
    if isinstance(result, LabelEvaluation):
        return _labels(result, clips, caution)
    return _numbers(result, clips, caution)


def _classes(held: RunScores, result: Evaluation, clips: str, caution: str) -> ScoreSection:
    right, (low, high) = round(result.top1 * result.clips), result.interval
    chance = result.largest_share
    sentences = [
        f"The first answer is right for {right} of {clips}. The 95 % interval is {low:.1%} to {high:.1%}: another set "
        "of as many clips of the same kind may well give any figure in it.",
        f"Chance is {chance:.1%}: always answering {result.largest}, the largest class, gets that. "
        + _against_chance(low, high, chance),
        f"The mean of the accuracies of the classes is {result.mean_class_accuracy:.1%}.",
    ]
    confused = confusions(result)
    if confused:
        true, said, count, total = confused[0]
        sentences.append(f"What it confuses most often: {count} of {total} clips of {true} are taken for {said}.")
    headline = Headline(f"{result.top1:.1%}", f"top-1 on {clips}", sentences, caution)
    return ScoreSection(headline, _class_pictures(held, result), confused[:_PAIRS], result.table())


def _against_chance(low: float, high: float, chance: float) -> str:
    if low > chance:
        return "The model is better than chance."
    return (
        "The model is worse than chance." if high < chance else "The interval holds chance: the model may know nothing."
    )


def confusions(result: Evaluation) -> list[tuple[str, str, int, int]]:
    """(true, said, how often, clips of the true class), most often first."""
    counts = np.array(result.confusion)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = sorted(np.argwhere(counts).tolist(), key=lambda pair: (-counts[tuple(pair)], pair))
    return [
        (result.labels[true], result.labels[said], int(counts[true, said]), int(totals[true])) for true, said in order
    ]


def _class_pictures(held: RunScores, result: Evaluation) -> list[Picture]:
    many = len(result.labels)
    answers = held.scores.probabilities
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == held.scores.targets
    error, mean = result.calibration_error, float(confidence.mean())
    said = "more" if mean > result.top1 else "less"
    known = [label for label in result.labels if result.class_accuracy[label] is not None]
    order = sorted(known, key=lambda label: -(result.class_accuracy[label] or 0.0))
    shown = order if many <= _BARS else order[-_BARS:]
    only = "" if shown is order else f" Shown are the {_BARS} classes with the lowest share; the table has all."
    without = many - len(known)
    none = f" {without} of the {many} classes have no clip here." if without else ""
    matrix = Picture(
        "What it confuses",
        svg("confusion", "Confusion matrix", lambda: confusion_figure(result)) if many <= _MATRIX else None,
        [
            "A row is a true class, a column what the model said. Numbers are clips; the shade is the share of the "
            "row. A model without mistakes has shades on the diagonal alone."
            if many <= _MATRIX
            else f"A matrix of {many} classes cannot be read. The most frequent confusions:"
        ],
        wide=many > 8,
    )
    bars = Picture(
        "Each class",
        svg("classes", "Share right by class", lambda: class_figure(result, shown)),
        [f"The share of each class that is right, best first. The line is the 95 % interval (Wilson).{only}{none}"],
        wide=False,
    )
    reliability = Picture(
        "Can its confidence be trusted?",
        svg("reliability", "Reliability diagram", lambda: reliability_figure(confidence, right)),
        [
            "Clips are put together by the confidence of the answer. A dot shows how many of them are right; its size "
            "is their number, its line the 95 % interval. On the dotted line confidence is what it says.",
            f"The expected calibration error is {error:.1%}: how far confidence and the share that is right differ, on "
            f"average. The mean confidence is {mean:.1%}, the share that is right {result.top1:.1%}: the model is "
            f"{said} sure than it should be.",
        ],
    )
    return [matrix, bars, reliability]


def _labels(result: LabelEvaluation, clips: str, caution: str) -> ScoreSection:
    low, high = result.interval
    known = [share for share in result.share if share > 0]
    sentences = [
        "For each label, clips are ranked by its probability; average precision is 100% where all clips that have the "
        f"label come first. Guessing would get {sum(known) / max(1, len(known)):.1%}.",
        f"All labels of a clip are right for {result.all_right:.1%} of the clips, 95 % interval {low:.1%} to "
        f"{high:.1%}. A label counts as said from a probability of 50 % on.",
    ]
    headline = Headline(
        f"{result.mean_average_precision:.1%}", f"mean average precision on {clips}", sentences, caution
    )
    picture = Picture(
        "Each label",
        svg("labels", "Average precision by label", lambda: precision_figure(result)),
        ["The bar is the average precision of a label, the mark what guessing gets: the share of clips that have it."],
    )
    return ScoreSection(headline, [picture], table=result.table())


def _numbers(result: NumberEvaluation, clips: str, caution: str) -> ScoreSection:
    first = result.labels[0]
    sentences = []
    for label in result.labels:
        r2 = result.r2[label]
        told = "" if r2 is None else f" R2 is {r2:.3f}: 1 is perfect, 0 is what always answering the mean gets."
        sentences.append(f"The mean absolute error of {label} is {result.mean_absolute_error[label]:.4g}.{told}")
    headline = Headline(
        f"{result.mean_absolute_error[first]:.4g}", f"mean absolute error of {first} on {clips}", sentences, caution
    )
    pictures = [_number_picture(result, place) for place in range(len(result.labels))]
    return ScoreSection(headline, pictures, table=result.table())


def _number_picture(result: NumberEvaluation, place: int) -> Picture:
    label = result.labels[place]

    def draw() -> Figure:
        return panel(lambda axes: plot_number(axes, result, label), width=4.2, height=4.2)

    return Picture(
        f"Answers for {label}",
        svg(f"number{place}", f"Answers against the truth for {label}", draw),
        ["A dot is a clip. On the dotted line the answer is the truth."],
    )


def unscored(record: dict[str, Any], kind: TaskKind, clips: int) -> Headline:
    """What there is to say without scores: the figure of the validation clips."""
    value = figures_of(record).get(f"val_{kind.metric}")
    if value is None or not clips:
        return Headline("not measured", "no clip was scored", [])
    sentences = []
    if kind.name == "classification":
        low, high = wilson(round(value * clips), clips)
        sentences.append(f"The 95 % interval is {low:.1%} to {high:.1%}.")
    return Headline(
        kind.show(value).strip(),
        f"{kind.title} on {clips} validation clips",
        sentences,
        "The model was trained once more, on these clips too: the figure is of the training before. No test clip was "
        "scored."
        if record.get("refit")
        else "These clips chose the best epoch, so the figure is too good. No test clip was scored.",
    )
