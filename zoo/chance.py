"""Has a training learnt anything that holds for clips it was not trained on?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from loaders.tasks import TASKS
from zoo.evaluation import wilson
from zoo.run import Run, figures_of


def learnt_nothing(run: Run) -> str | None:
    """What to try where the best epoch is no better than always answering the most frequent class; None where it is.

    The bound is the lower end of Wilson's 95 % interval of the validation's top-1, so that a few clips that are right
    by luck are no success.
    """
    record = run.read_record()
    if record.get("task") != TASKS["classification"].name:
        return None
    again = record.get("refit") or {}  # then no clip is left for validation
    labels = again.get("validation_labels") or Counter(c.label for c in run.index() if c.split == "validation")
    if not labels:
        return None
    clips, last = sum(labels.values()), run.read_history()[-1]
    chance = max(labels.values()) / clips
    right = figures_of(record)["val_accuracy"]
    if wilson(round(right * clips), clips)[0] > chance:
        return None
    said = f"{right:.0%} of {clips} validation clips may be luck: the most frequent class alone gives {chance:.0%}"
    if right >= (chance + last["accuracy"]) / 2 > chance:
        return f"{said}. So few clips cannot tell; more of them would (--set recipe.validation=0.3), or a test"
    if last["accuracy"] <= 1.5 * chance:
        return f"{said}, and of the training clips it answers {last['accuracy']:.0%}. It has not learnt yet: " + (
            f"train longer (--epochs), at another rate (--set recipe.learning_rate=1e-4), or {_more(record)}"
        )
    of_videos = record["model"] in ("i3d", "i3d_flow")
    other = "" if of_videos else ", or a model that begins from weights of videos (--model i3d),"
    return (
        f"{said}. It knows its training clips ({last['accuracy']:.0%}) and no others: more clips{other} would help; "
        "are the labels right?"
    )


def _more(record: Mapping[str, Any]) -> str:
    """What else to try where a model does not learn."""
    if not record.get("origins"):
        return "begin from weights (--model i3d)"
    whole = record["recipe"].get("train_from") == "all"
    return "take another model (clipzoo models)" if whole else "train more of it (--set recipe.train_from=all)"
