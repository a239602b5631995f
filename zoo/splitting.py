"""Every clip in a split before training begins."""

from __future__ import annotations

import dataclasses

from loaders.index import ClipIndex
from zoo.recipe import Recipe


def settle_splits(index: ClipIndex, recipe: Recipe) -> tuple[ClipIndex, str]:
    """Every clip in a split, as `train` takes them, and how it got there.

    Raises:
        ClipzooError: a class without a clip to train on, or no clip to validate on though the recipe wants some.
    """
    how = "as listed"
    if not index.is_split:
        grouped = (
            "groups kept whole" if index.has_groups else "no groups known: clips of one source may stand in two splits"
        )
        index = index.split(validation=recipe.validation, test=recipe.test, seed=recipe.seed)
        how = f"split by seed {recipe.seed}, {grouped}"
    index = dataclasses.replace(index, clips=tuple(clip for clip in index if clip.split))
    index.require_every_class("train")
    counts = index.counts()
    if not counts["validation"] and not recipe.validation:
        how += ", none to validate on"
    elif not counts["validation"]:
        inner = iter(index.only("train").split(validation=recipe.validation, seed=recipe.seed))
        clips = tuple(next(inner) if clip.split == "train" else clip for clip in index)
        index = dataclasses.replace(index, clips=clips)
        how += f", validation taken from train by seed {recipe.seed}"
        if not index.counts()["validation"]:
            index.require_every_class("validation")
    return index, how
