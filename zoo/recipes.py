"""Recipes by name: what a model is made with and how it trains, from what is known before it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.check import near
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from zoo.model_infos import ModelInfo
from zoo.presets import called
from zoo.recipe import Recipe
from zoo.registry import input_specs, model_info
from zoo.saving import begins_from_weights, saved_specs
from zoo.splitting import settle_splits

RECURRENT = "zoo.recurrent:recurrent"
DRAWS = 4
# Steps of the optimizer. Behind frozen weights one costs a millisecond, and a small set needs as many as a large one.
HEAD_STEPS, WHOLE_STEPS = 1500, 700
# Frozen ImageNet weights behind a shift see channels of other frames: TSM's linear head needs longer to fit them.
SHIFTED, SHIFTED_STEPS = "zoo.tsm:tsm", 2250


@dataclass(frozen=True, kw_only=True)
class RecipeContext:
    """What a recipe is made for.

    Attributes:
        card: of the model; None where training goes on from a run.
        modality: of its inputs: `flow` where one of them is.
        weights: whether the model begins from weights.
        clips: to train on.
        gpu: whether the backend computes on one.
        refit: whether the validation clips may train in the end: the clips' list does not name them itself, and there
            are test clips to say how good the model is then.
        given: fields of the Recipe that are settled already.
    """

    card: ModelInfo | None = None
    modality: str = "rgb"
    weights: bool = False
    clips: int = 0
    gpu: bool = False
    refit: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NamedRecipe:
    """A recipe by name.

    Attributes:
        fields: RecipeContext -> fields of the Recipe.
        model: RecipeContext, of which clips and GPU are not known yet -> options of `create_model`, `spec` among them.
    """

    fields: Callable[[RecipeContext], dict[str, Any]]
    model: Callable[[RecipeContext], dict[str, Any]] = lambda case: {}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A model and its training, settled.

    Attributes:
        options: of `create_model`.
        recipe: how it trains.
        lines: what was chosen, for a person to read.
    """

    options: dict[str, Any]
    recipe: Recipe
    lines: tuple[str, ...]


def plan(
    model: str | None,
    index: ClipIndex,
    *,
    recipe: str = "auto",
    options: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    onward: Path | None = None,
) -> Plan:
    """Settles what a model is made with and how it trains: what is given, and the rest by a recipe's name.

    Args:
        model: a name of the zoo; None where training goes on from a run.
        index: the clips; how many of them train counts.
        recipe: one of `RECIPES`.
        options: of `create_model`; they go before the recipe's.
        fields: of the Recipe; likewise.
        onward: the run, file or preset to go on from, where there is no `model`.

    Raises:
        ClipzooError: no such model or recipe, a value out of its range, or clips that cannot be split.
    """
    from zoo.backend import has_gpu

    chosen, given = named(recipe), dict(fields or {})
    settled = model_options(model, recipe=recipe, options=options or {})
    specs = input_specs(model, **settled) if model is not None else saved_specs(onward or "")
    parts = Recipe.from_dict(
        {name: given[name] for name in ("validation", "test", "seed", "batch", "epochs") if name in given}
    )
    split, _ = settle_splits(index, parts)
    case = RecipeContext(
        card=model_info(model) if model is not None else None,
        modality="flow" if any(spec.modality == "flow" for spec in specs.values()) else "rgb",
        weights=bool(_begun(settled)) if model is not None else begins_from_weights(onward or ""),
        clips=split.counts()["train"],
        gpu=has_gpu(),
        refit=min(split.counts().values()) > 0 and not index.counts()["validation"],
        given=given,
    )
    made = Recipe.from_dict({**chosen.fields(case), **given})
    return Plan(options=settled, recipe=made, lines=_said(recipe, case, settled, made))


def model_options(model: str | None, *, recipe: str = "auto", options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model: what is given, the weights that it begins from, and the rest by a recipe's name.

    Raises:
        ClipzooError: no such model or recipe.
    """
    given = dict(options)
    if model is None:
        return given
    known = model_info(model)
    if known.weights is not None and not {"backbone_weights", "weights"} & set(given):
        given["backbone_weights"] = known.weights
    chosen = named(recipe).model(RecipeContext(card=known, weights=bool(_begun(given))))
    spec = {**chosen.pop("spec", {}), **(given.pop("spec", None) or {})}
    if "frames" in given:
        spec.pop("frames", None)
    return {**chosen, **given, **({"spec": spec} if spec else {})}


def _begun(options: Mapping[str, Any]) -> str | None:
    """The weights that options name."""
    return next(
        (str(options[n]) for n in ("backbone_weights", "weights") if options.get(n) not in (None, "none")), None
    )


def named(recipe: str) -> NamedRecipe:
    """A recipe by its name.

    Raises:
        ClipzooError: there is none; the message has the near names.
    """
    if recipe not in RECIPES:
        raise ClipzooError(f"no recipe {recipe!r}; {near(recipe, RECIPES)}")
    return RECIPES[recipe]


def _auto_model(case: RecipeContext) -> dict[str, Any]:
    assert case.card is not None
    if case.card.builder == RECURRENT and case.weights:
        return {
            "pooling": "average", "head": "joined", "units": 128,
            # ImageNet's pictures had their own shape: frames that are squeezed into a square tell the weights less.
            "spec": {"frames": 8, "sampling": "segments", "resize": "fit"},
        }  # fmt: skip
    return {}


def _auto(case: RecipeContext) -> dict[str, Any]:
    """Where training begins from weights: the head on a CPU, all of it on a GPU; from a layer on where one is named."""
    given = case.given
    if not case.weights or given.get("train_from") == "all" or given.get("draws") == 0:
        return {}
    batch = given.get("batch", Recipe.batch)
    steps = max(1, math.ceil(case.clips / batch))
    if case.gpu and "draws" not in given and given.get("train_from") != "head":
        epochs = given.get("epochs", _epochs(WHOLE_STEPS, steps, most=60))
        return {
            "epochs": epochs, "augmentation": "multiscale", "optimizer": "sgd", "precision": "mixed_bfloat16",
            "learning_rate": _cosine(1e-2, epochs * steps),
        }  # fmt: skip
    if given.get("train_from", "head") == "head":
        wanted = SHIFTED_STEPS if case.card is not None and case.card.builder == SHIFTED else HEAD_STEPS
        epochs, rate = given.get("epochs", _epochs(wanted, steps, most=100)), 1e-3
    else:  # layers that know something already
        epochs, rate = given.get("epochs", _epochs(WHOLE_STEPS, steps, most=60)), 2e-4
    return {
        "epochs": epochs, "train_from": "head", "draws": DRAWS,
        "optimizer": {"class_name": "AdamW", "config": {"weight_decay": 0.05}},
        "learning_rate": _cosine(rate, epochs * steps),
        "refit": case.refit and "learning_rate" not in given,
    }  # fmt: skip


def _epochs(wanted: int, steps: int, *, most: int) -> int:
    return min(most, max(20, math.ceil(wanted / steps)))


def _cosine(rate: float, steps: int) -> dict[str, Any]:
    return {"class_name": "CosineDecay", "config": {"initial_learning_rate": rate, "decay_steps": steps}}


def _said(recipe: str, case: RecipeContext, options: Mapping[str, Any], made: Recipe) -> tuple[str, ...]:
    begins = _begun(options)
    parts = [f"weights {begins}"] if begins else []
    parts += [f"{name} {options[name]}" for name in ("pooling", "units", "head") if name in options]
    fields = made.to_dict()
    rate = fields["learning_rate"]
    if isinstance(rate, Mapping):
        begin = rate.get("config", {}).get("initial_learning_rate")
        rate = f"{begin:g}, {rate['class_name']}" if begin else rate["class_name"]
    trains = "all of it" if made.train_from == "all" else made.train_from
    on = f" on {made.draws} draws of each clip" if made.draws else ""
    parts += [
        f"{fields['optimizer']['class_name']} at {rate}",
        f"{made.epochs} epoch{'s' if made.epochs > 1 else ''} of batches of {made.batch}",
    ]
    parts += [f"trains {trains}{on}", *(["then once more on validation clips too"] if made.refit else [])]
    lines = [f"recipe {recipe}: {', '.join(parts)}"]
    if begins:
        more = "; --set recipe.train_from=all trains all" if made.train_from != "all" else ""
        lines.append(f"others: --set backbone_weights=none begins from nothing{more}")
    return tuple(lines)


def _protocol(case: RecipeContext) -> dict[str, Any]:
    fields: dict[str, Any] = called("zoo.two_stream:protocol")(case.modality)
    return fields


RECIPES: Mapping[str, NamedRecipe] = {
    "auto": NamedRecipe(fields=_auto, model=_auto_model),
    "article": NamedRecipe(fields=lambda case: {}),
    "dtpp": NamedRecipe(fields=_protocol),
}
