"""What is in a model's frozen features: a linear probe, which is a logistic regression on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.processor import cores
from zoo.scores import Scores
from zoo.settings import Overrides

STRENGTHS = tuple(10.0**power for power in range(-5, 2))  # C of scikit-learn: the smaller, the more regularized
FOLDS = 3


def linear_probe(
    index: ClipIndex, model: str, given: Overrides, *, seed: int, say: Callable[[str], object] = print
) -> tuple[Scores, Scores, dict[str, Any]]:
    """Fits a logistic regression to what the head of a model begins with, averaged over frames and places.

    A model that learns less than this throws away what its backbone knows. The regularization is chosen on folds of
    the training clips, by source.

    Args:
        index: with a test split; all other clips are fitted to, without augmentation.
        model: a name in the zoo.
        given: fields of the recipe, and options of the model, which begins from weights.
        seed: of the folds, and of the plan.
        say: called with lines of progress.

    Returns:
        Scores of the test clips and of all others; `strength`, the C that was chosen, and `seconds` of the fit.

    Raises:
        ClipzooError: the model begins from no weights, or scikit-learn is not installed.
        VideoError: a clip cannot be read.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ClipzooError('a linear probe needs scikit-learn: pip install "clipzoo[bench]"') from error

    known = replace(index, clips=tuple(clip for clip in index if clip.split != "test"))
    test = index.only("test")
    seen, unseen = features_of([known, test], model, given, seed=seed, say=say)
    began = time.monotonic()
    groups = [clip.group or clip.file for clip in known]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": STRENGTHS},
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed),
    ).fit(seen, known.targets, groups=groups)

    def scores(clips: ClipIndex, features: np.ndarray) -> Scores:
        logits = search.predict_log_proba(features)
        return Scores(logits, clips.targets, clips.labels, clips.task, tuple(clip.file for clip in clips))

    chosen = {"strength": search.best_params_["logisticregression__C"], "seconds": time.monotonic() - began}
    return scores(test, unseen), scores(known, seen), chosen


def features_of(
    parts: list[ClipIndex], model: str, given: Overrides, *, seed: int, say: Callable[[str], object] = print
) -> list[np.ndarray]:
    """Of each index float32 (clips, channels): computed once and kept on disk, as those of a training are."""
    from zoo.contract import specs
    from zoo.features import FeatureDataset
    from zoo.frozen import HEAD, cut, freeze
    from zoo.recipes import plan
    from zoo.registry import create_model
    from zoo.training_sets import kept_features

    planned = plan(model, parts[0], recipe=given.named, options=given.options, fields={**given.recipe, "seed": seed})
    if not planned.recipe.draws:
        raise ClipzooError(f"{model}: begins from no weights, or trains whole; a probe is of frozen features")
    network = create_model(model, classes=parts[0].labels, **planned.options)
    freeze(network, HEAD)
    frozen, cache = cut(network, HEAD).frozen, kept_features(None, say)
    found = []
    for part in parts:
        clips = FeatureDataset(
            frozen, specs(network), part, cache=cache, batch_size=len(part), workers=cores(), say=say
        )
        features, _ = clips[0]
        if not isinstance(features, np.ndarray):
            raise ClipzooError(f"{model}: has a backbone for each stream; a probe is of one")
        found.append(features.mean(axis=tuple(range(1, features.ndim - 1))))
    return found
