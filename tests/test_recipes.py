"""Recipes by name: what is chosen for a model, a set of clips and a machine; and whether it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from export.scoring import score
from loaders import ClipIndex, ClipzooError
from tests.support.commands import invoke
from zoo.chance import learnt_nothing
from zoo.layers import TemporalStatistics
from zoo.recipes import RECIPES, model_options, plan

pytestmark = pytest.mark.keras
TINY: dict[str, Any] = {"frames": 6, "size": 32, "width": 0.125}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights to begin from."""
    file = tmp_path_factory.mktemp("weights") / "backbone.keras"
    zoo.create_model("convnet_gru", classes=2, **TINY).get_layer("frames").layer.save(file)
    return file


def test_behind_weights_the_head_trains_on_a_cpu_and_all_of_it_on_a_gpu(
    motion: ClipIndex, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**TINY, "backbone_weights": backbone}
    planned = plan("convnet_gru", motion, options=options)
    assert planned.options["head"] == "joined" and planned.options["frames"] == 6
    assert planned.options["spec"] == {"sampling": "segments", "resize": "fit"}  # 6 frames were asked for
    assert (planned.recipe.train_from, planned.recipe.draws) == ("head", 4)
    schedule = planned.recipe.make_optimizer().get_config()["learning_rate"]
    steps = -(-zoo_train_clips(motion) // planned.recipe.batch)
    assert schedule["config"]["decay_steps"] == steps * planned.recipe.epochs  # the rate ends at 0
    assert "trains head on 4 draws" in planned.lines[0] and "joined" in planned.lines[0]

    layer = plan("convnet_gru", motion, options=options, fields={"train_from": "conv_7"}).recipe
    assert (layer.train_from, layer.draws) == ("conv_7", 4)
    rates = [recipe.learning_rate["config"]["initial_learning_rate"] for recipe in (planned.recipe, layer)]  # type: ignore[index]
    assert rates[1] < rates[0]  # it knows something already

    monkeypatch.setattr("zoo.backend.has_gpu", lambda: True)
    for fields, draws in (({}, 0), ({"train_from": "conv_7"}, 0), ({"train_from": "head"}, 4)):
        found = plan("convnet_gru", motion, options=options, fields=fields).recipe
        assert (found.train_from, found.draws) == (fields.get("train_from", "all"), draws)
        assert found.precision == (None if draws else "mixed_bfloat16")


@pytest.mark.either
def test_behind_a_shift_the_head_trains_longer(motion: ClipIndex) -> None:
    epochs = {
        name: plan(name, motion, fields={"batch": 1}).recipe.epochs
        for name in ("mobilenetv2_average", "tsm_mobilenetv2")
    }
    steps = zoo_train_clips(motion)
    assert epochs == {"mobilenetv2_average": -(-1500 // steps), "tsm_mobilenetv2": -(-2250 // steps)}


def test_a_run_that_began_from_weights_goes_on_behind_them(motion: ClipIndex, backbone: Path, tmp_path: Path) -> None:
    for name, options, wanted in (("a", {"backbone_weights": backbone}, "head"), ("b", {}, "all")):
        model = zoo.create_model("convnet_gru", classes=2, **TINY, **options)
        model.save(tmp_path / f"{name}.keras")
        planned = plan(None, motion, onward=tmp_path / f"{name}.keras")
        assert (planned.recipe.train_from, planned.options) == (wanted, {})


def zoo_train_clips(index: ClipIndex) -> int:
    from zoo.splitting import settle_splits

    return settle_splits(index, zoo.Recipe())[0].counts()["train"]


def test_what_is_given_goes_before_the_recipe(motion: ClipIndex, backbone: Path) -> None:
    options = {**TINY, "backbone_weights": backbone, "head": "article", "units": 8, "spec": {"sampling": "uniform"}}
    planned = plan("convnet_gru", motion, options=options, fields={"epochs": 7, "optimizer": "sgd", "batch": 8})
    assert (planned.options["head"], planned.options["units"]) == ("article", 8)
    assert planned.options["spec"] == {"sampling": "uniform", "resize": "fit"}
    assert (planned.recipe.epochs, planned.recipe.optimizer, planned.recipe.batch) == (7, "sgd", 8)
    assert plan("convnet_gru", motion, options=options, fields={"draws": 1}).recipe.train_from == "head"
    mixing = plan("convnet_gru", motion, options=options, fields={"mixup": 0.2}).recipe
    assert (mixing.train_from, mixing.mixup) == ("head", 0.2)
    for fields in ({"train_from": "all"}, {"draws": 0}):
        assert plan("convnet_gru", motion, options=options, fields=fields).recipe == zoo.Recipe(**fields)


def test_from_nothing_and_by_the_article_it_is_the_article(motion: ClipIndex, backbone: Path) -> None:
    assert plan("convnet_gru", motion, options=TINY).recipe == zoo.Recipe()
    planned = plan("convnet_gru", motion, recipe="article", options={**TINY, "backbone_weights": backbone})
    assert planned.recipe == zoo.Recipe() and "head" not in planned.options
    assert model_options("mobilenet_gru", options={"backbone_weights": "none"}) == {"backbone_weights": "none"}
    paper = plan("dtpp_flow", motion, recipe="dtpp")
    assert (paper.recipe.learning_rate, paper.recipe.accumulate) == (1e-3, 32)
    assert sorted(RECIPES) == ["article", "auto", "dtpp"]
    with pytest.raises(ClipzooError, match="no recipe 'artikle'; did you mean article"):
        plan("convnet_gru", motion, recipe="artikle")


def test_statistics_are_mean_change_and_trend() -> None:
    steps = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    mean, change, trend = np.split(np.asarray(TemporalStatistics()(steps)), 3, axis=-1)
    np.testing.assert_allclose(mean, steps.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(change, np.abs(np.diff(steps, axis=1)).mean(axis=1), atol=1e-6)
    wave = -np.cos(np.pi * np.array([1, 3, 5, 7, 9]) / 10) * np.sqrt(2)
    np.testing.assert_allclose(trend, np.einsum("bnc,n->bc", steps, wave) / 5, atol=1e-6)
    pair = np.asarray(TemporalStatistics()(steps[:, :2]))[:, 8:]
    np.testing.assert_allclose(pair, (steps[:, 1] - steps[:, 0]) / 2, atol=1e-6)
    still = np.asarray(TemporalStatistics()(steps[:, :1]))
    np.testing.assert_allclose(still, np.pad(steps[:, 0], ((0, 0), (0, 8))), atol=1e-6)


def test_joined_keeps_the_statistics_beside_the_recurrent_layer() -> None:
    model = zoo.create_model("convnet_gru", classes=3, **TINY, head="joined", pooling="average", units=8)
    width = model.get_layer("frames").output.shape[-1]
    assert model.get_layer("joined").output.shape == (None, 3 * width + 8)
    for options, said in (({"head": "linear"}, "head"), ({"pooling": "mean"}, "pooling")):
        with pytest.raises(ClipzooError, match=f"^{said} "):
            zoo.create_model("convnet_gru", classes=3, **TINY, **options)


@pytest.mark.slow
@pytest.mark.either
def test_the_command_says_what_was_chosen_and_tells_learning_from_luck(motion: ClipIndex, tmp_path: Path) -> None:
    tiny = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    done = invoke("train", motion.root, "--model", "convnet_gru", *tiny, "--epochs", 1, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "recipe auto: " in done.stdout and "1 epoch of batches of 16" in done.stdout
    assert "note: " in done.stdout and "may be luck" in done.stdout

    run = zoo.Run(tmp_path / "run")
    record = run.read_record()
    names, last = (line.split(",") for line in run.history.read_text().splitlines())
    last[names.index("accuracy")] = "1.0"
    run.history.write_text(f"{','.join(names)}\n{','.join(last)}\n")
    for right, said in ((0.0, "knows its training clips (100%)"), (1.0, "None")):
        run.write_record({**record, "best": {**record["best"], "val_accuracy": right}})
        assert said in str(learnt_nothing(run))
    few = {**record["best"], "val_accuracy": 0.8}
    run.write_record({**record, "best": few, "refit": {"validation_labels": {"a": 2, "b": 2, "c": 1}}})
    assert "80% of 5 validation clips may be luck" in str(learnt_nothing(run))
    assert "So few clips cannot tell" in str(learnt_nothing(run))


@pytest.mark.slow
def test_what_auto_trains_answers_its_own_clips(motion: ClipIndex, backbone: Path, tmp_path: Path) -> None:
    # The features of a network that was never trained do not outlive shifts, in place or in time.
    options = {**TINY, "backbone_weights": backbone, "spec": {"sampling": "uniform"}}
    planned = plan("convnet_gru", motion, options=options, fields={"augmentation": "none", "learning_rate": 1e-2})
    run = zoo.train(motion, "convnet_gru", planned.recipe, out=tmp_path / "run", options=planned.options)
    result: Any = score(zoo.load_model(run.last), run.index().only("train"), batch=8).evaluate()
    assert result.top1 >= 0.95, keras.config.backend()
