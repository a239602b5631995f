"""Recipes: any optimizer and schedule of Keras, tables of TOML and of runs, mirrors that the labels forbid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loaders import Augmentation, ClipSpec, ClipzooError
from zoo.recipe import Recipe, mirrored_labels
from zoo.registry import input_specs
from zoo.settings import read_settings

SPEC = {"video": ClipSpec(frames=2, height=8, width=8)}


@pytest.mark.keras
@pytest.mark.parametrize(
    ("fields", "kind", "rate"),
    [
        ({}, "Adam", 1e-3),
        ({"optimizer": "sgd"}, "SGD", 1e-2),
        ({"optimizer": "adamw", "learning_rate": 3e-4}, "AdamW", 3e-4),
        ({"optimizer": {"class_name": "AdamW", "config": {"weight_decay": 0.1}}}, "AdamW", 1e-3),
        ({"optimizer": {"class_name": "clipzoo>CaffeSGD", "config": {"l2": 0.1}}}, "CaffeSGD", 1e-2),
    ],
)  # fmt: skip
def test_any_optimizer_of_keras_trains_and_is_written_down(fields: dict[str, Any], kind: str, rate: float) -> None:
    recipe = Recipe(**fields, accumulate=3, clip_norm=2.0)
    made = recipe.make_optimizer()
    assert type(made).__name__ == kind
    assert float(made.learning_rate) == pytest.approx(rate)
    assert (made.gradient_accumulation_steps, made.global_clipnorm) == (3, 2.0)
    assert recipe.make_optimizer() is not made  # fresh each time
    written = json.loads(json.dumps(recipe.to_dict()))
    again = Recipe.from_dict(written)
    assert json.loads(json.dumps(again.to_dict())) == written
    assert {**again.make_optimizer().get_config(), "name": ""} == {**made.get_config(), "name": ""}
    assert written["learning_rate"] == rate


@pytest.mark.keras
def test_an_instance_and_a_schedule_are_taken() -> None:
    import keras

    given = keras.optimizers.Lion(1e-4, beta_1=0.8)
    made = Recipe(optimizer=given).make_optimizer()
    assert made is not given and made.beta_1 == 0.8
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    config = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 10}}
    for each in (schedule, config):
        recipe = Recipe(optimizer="sgd", learning_rate=each)
        made = recipe.make_optimizer()
        assert isinstance(made.get_config()["learning_rate"], dict)
        assert made.momentum == 0.9
        assert recipe.to_dict()["learning_rate"]["class_name"] == "CosineDecay"


@pytest.mark.keras
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimizer": "adamx"}, "optimizer 'adamx'.*Keras does not take it"),
        ({"optimizer": {"class_name": "AdamW", "config": {"wd": 1}}}, "wd"),
        ({"learning_rate": {"class_name": "Cosine", "config": {}}}, "no schedule 'Cosine'"),
    ],
)
def test_what_keras_does_not_take_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        Recipe(**fields).make_optimizer()


@pytest.mark.parametrize(
    ("labels", "pair"),
    [
        (("turn_left", "turn_right", "stand"), ("turn_left", "turn_right")),
        (("Turn Left", "turn right"), ("Turn Left", "turn right")),
        (("left hand over right", "right hand over left"), ("left hand over right", "right hand over left")),
        (("left", "up"), None),
        (("leftover", "rightover"), None),  # other words
        (("turn left", "turn_right"), None),  # not the same but for the word
        (("left2", "right2"), ("left2", "right2")),
    ],
)
def test_mirroring_is_off_exactly_where_it_turns_one_label_into_another(
    labels: tuple[str, ...], pair: tuple[str, str] | None
) -> None:
    assert mirrored_labels(labels) == pair
    for name, flips in (("all", True), ("noflip", False), ("multiscale", True)):
        augmentation = Recipe(augmentation=name).augmentation_for(SPEC, labels)  # type: ignore[arg-type]
        assert augmentation is not None and augmentation.flip is (flips and pair is None)
    assert Recipe(augmentation="none").augmentation_for(SPEC, labels) is None
    own = Recipe(augmentation=Augmentation(zoom=0.3)).augmentation_for(SPEC, labels)
    assert own is not None and own.zoom == 0.3


def test_flow_is_cropped_without_the_smallest_scale() -> None:
    flow = {"flow": ClipSpec(frames=2, height=8, width=8, modality="flow")}
    for specs, scales in ((SPEC, 4), (flow, 3)):
        augmentation = Recipe(augmentation="multiscale").augmentation_for(specs, ("a", "b"))
        assert augmentation is not None and len(augmentation.scales) == scales


def test_a_file_and_what_is_set_on_top_make_three_tables(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[model]\nname = "mobilenet_gru"\nalpha = 0.5\n[recipe]\nepochs = 3\naugmentation = {flip = false}\n'
        "[spec]\nsampling = 'dense'\nstride = 2\n"
    )
    pairs = ["units=128", "model.alpha=0.25", "recipe.learning_rate=3e-4", "spec.flow.method=tvl1", "spec.stride=4"]
    settings = read_settings(str(file), pairs)
    assert settings.model == {"name": "mobilenet_gru", "alpha": 0.25, "units": 128}
    assert settings.spec == {"sampling": "dense", "stride": 4, "flow": {"method": "tvl1"}}
    recipe = Recipe.from_dict(settings.recipe)
    assert (recipe.epochs, recipe.learning_rate) == (3, 3e-4)
    augmentation = recipe.augmentation_for(SPEC, ("a", "b"))
    assert augmentation is not None and not augmentation.flip and augmentation.zoom == 0.1
    assert read_settings(None, []).named == settings.named == "auto"
    paper = read_settings("dtpp", ["recipe.epochs=2"])
    assert (paper.named, paper.recipe) == ("dtpp", {"epochs": 2})


def test_a_file_that_holds_a_spec_is_taken(tmp_path: Path) -> None:
    spec = ClipSpec(frames=4, height=16, width=24, sampling="dense", stride=3)
    (tmp_path / "spec.json").write_text(spec.to_json())
    settings = read_settings(str(tmp_path / "spec.json"), ["spec.stride=2"])
    assert input_specs("convnet_gru", spec=settings.spec)["video"] == spec.replace(stride=2)


@pytest.mark.parametrize(
    ("recipe", "pairs", "said"),
    [
        ("artikle", [], "did you mean article"),
        ("two_stream", [], "is called dtpp now"),
        ("none.toml", [], r"none\.toml: cannot be read"),
        ("bad.toml", [], "is not TOML"),
        ("table.toml", [], "no table 'modle'; did you mean model"),
        ("plain.toml", [], "must be a table"),
        ("list.json", [], "is neither the record of a run nor a spec"),
        (None, ["alpha"], "KEY=VALUE"),
        (None, ["=3"], "KEY=VALUE"),
        (None, ["recipes.epochs=3"], "no table 'recipes'; did you mean recipe"),
        (None, ["recipe.epoch=3"], "no field 'epoch'; did you mean epochs"),
        (None, ["recipe.epochs=many"], r"epochs \('many'\) must be a whole number"),
        (None, ["recipe.augmentation.zom=1"], "no field 'zom'; did you mean zoom"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str | None, pairs: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[model\n")
    Path("table.toml").write_text("[modle]\n")
    Path("plain.toml").write_text("model = 3\n")
    Path("list.json").write_text("[]")
    with pytest.raises(ClipzooError, match=said):
        Recipe.from_dict(read_settings(recipe, pairs).recipe)


@pytest.mark.parametrize("flip", ["False", 0, None])
def test_mirroring_is_on_or_off(flip: object) -> None:
    with pytest.raises(ClipzooError, match=r"Augmentation flip \(.*\) must be true or false"):
        Augmentation(flip=flip)  # type: ignore[arg-type]


def test_a_function_is_one() -> None:
    with pytest.raises(ClipzooError, match=r"Augmentation function \('blur'\) must be a function"):
        Augmentation(function="blur")  # type: ignore[arg-type]
