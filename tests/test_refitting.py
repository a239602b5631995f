"""A model that trains once more, on validation clips too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
import zoo.refitting
from loaders import ClipIndex, ClipzooError, write_csv
from tests.support.commands import invoke, refused
from zoo.chance import learnt_nothing
from zoo.progress import RunTensorBoard
from zoo.recipes import plan
from zoo.refitting import epochs_again, merged
from zoo.report import write_report
from zoo.report.facts import recipe_facts
from zoo.report.quality import unscored
from zoo.run import Run, figures_of
from zoo.splitting import settle_splits

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("stripes")]
COSINE = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 1e-2, "decay_steps": 12}}
OPTIONS: dict[str, Any] = {"frames": 3, "size": 16, "filters": 4, "dropout": 0.3}


def recipe(**fields: Any) -> zoo.Recipe:
    given = {"epochs": 3, "batch": 8, "augmentation": "none", "learning_rate": COSINE, "train_from": "head", "draws": 2}
    return zoo.Recipe(**{**given, "refit": True, **fields})


def train(index: ClipIndex, out: Path, given: zoo.Recipe | None = None, **more: Any) -> Run:
    options = {**OPTIONS, "dropout": more.pop("dropout", 0.3)}
    given = given or recipe()
    return zoo.train(index, "stripes_average", given, out=out, options=options, cache=out.parent / "features", **more)


def weights(file: Path) -> list[np.ndarray]:
    return list(zoo.load_model(file).get_weights())


class StopAgain(keras.callbacks.Callback):
    """Stops the second training, before a step of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self.moment, self.trainings, self.epoch = (epoch, batch), 0, -1

    def on_train_begin(self, logs: Any = None) -> None:
        self.trainings += 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.trainings == 2 and (self.epoch, batch) == self.moment:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(motion: ClipIndex, tmp_path_factory: pytest.TempPathFactory, stripes: str) -> Run:
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(motion, out, callbacks=[RunTensorBoard(out)])


@pytest.mark.either
def test_it_is_the_training_on_all_clips_for_as_many_steps(motion: ClipIndex, tmp_path: Path) -> None:
    index, _ = settle_splits(motion, recipe())
    run = train(index, tmp_path / "run", dropout=0.0)
    before, after = index.counts()["train"], merged(index).counts()["train"]
    epochs = epochs_again(3, 8, before, after)
    alone = recipe(refit=False, validation=0.0, epochs=epochs)
    wanted = train(merged(index), tmp_path / "wanted", alone, dropout=0.0)
    for mine, other in zip(weights(run.model), weights(wanted.last), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert after == before + index.counts()["validation"] and epochs < 3
    assert epochs * -(-after // 8) == pytest.approx(3 * -(-before // 8), abs=-(-after // 8) / 2)


@pytest.mark.either
def test_the_run_says_what_its_model_was_trained_on(whole: Run) -> None:
    record, rows = whole.read_record(), whole.read_history()
    assert whole.index().counts()["validation"] == 0  # nothing can score it on clips that it was trained on
    assert record["refit"]["clips"] == whole.index().counts()["train"] == sum(
        record["clips"][split] for split in ("train", "validation")
    )  # fmt: skip
    assert len(rows) == 3 and all("val_accuracy" in row for row in rows)
    assert figures_of(record)["val_accuracy"] == rows[-1]["val_accuracy"]
    assert sum(record["refit"]["validation_labels"].values()) == record["clips"]["validation"]
    assert (nothing := learnt_nothing(whole)) is None or "validation clips" in nothing
    assert not list(whole.folder.glob(".refit-*")) and not whole.checkpoint.exists()
    for mine, other in zip(weights(whole.model), weights(whole.last), strict=True):
        np.testing.assert_array_equal(mine, other)
    for curves in ("train", "validation", "refit/train"):  # the second training takes no figures of the first away
        assert list((whole.folder / "tensorboard" / curves).iterdir())
    facts = dict(recipe_facts(record, 3))
    assert f"on {record['refit']['clips']} clips" in facts["epochs"] and "best by" not in facts
    assert "trained once more" in str(unscored(record, whole.index().kind, record["clips"]["validation"]))


@pytest.mark.either
@pytest.mark.parametrize("moment", [(0, 2), pytest.param((1, 0), marks=pytest.mark.slow)])
def test_the_second_training_goes_on_where_it_was_stopped(
    motion: ClipIndex, tmp_path: Path, whole: Run, moment: tuple[int, int]
) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(motion, out, callbacks=[StopAgain(*moment)], checkpoint_minutes=0, say=said.append)
    assert said[-1].startswith("interrupted; the model that has not seen the validation clips is kept in")
    assert said[-1].endswith(f"clipzoo train --resume {out}")
    run = Run(out)
    assert run.index().counts()["validation"] and "refit" not in run.read_record() and run.checkpoint.is_file()
    stopped = "The training was stopped"
    assert stopped in write_report(run).read_text() and stopped not in write_report(whole).read_text()
    first = weights(run.last)
    zoo.resume(run.folder)
    for mine, other in zip(weights(run.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert any((mine != before).any() for mine, before in zip(weights(run.model), first, strict=True))
    assert {path.name for path in run.files} == {path.name for path in whole.files} - {"report.html"}
    assert not list(run.folder.glob(".refit-*"))


@pytest.mark.either
def test_a_stop_between_the_two_trainings_is_told_of(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> int:
        raise KeyboardInterrupt

    said: list[str] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("zoo.refitting.epochs_again", stop)
        train(motion, tmp_path / "run", say=said.append)
    assert said[-1].startswith("interrupted; the best of ")
    assert said[-1].endswith(f"clipzoo train --resume {tmp_path / 'run'}")
    zoo.resume(tmp_path / "run", say=said.append)
    assert any(line.endswith("goes on at the second training") for line in said)
    assert "refit" in Run(tmp_path / "run").read_record()


@pytest.mark.slow
def test_a_kill_while_the_model_takes_its_place_leaves_one_to_go_on_from(
    motion: ClipIndex, tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zoo.refitting, "write_csv", killed)
        with pytest.raises(KeyboardInterrupt):
            train(motion, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert "refit" not in run.read_record() and weights(run.model)
    zoo.resume(run.folder)
    for mine, other in zip(weights(run.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_a_kill_at_the_very_end_leaves_a_run_that_is_finished(
    motion: ClipIndex, tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed to go on goes after the checkpoint that leads to it."""
    remove = shutil.rmtree

    def killed(path: Path, **options: Any) -> None:
        if list(Path(path).glob("first.keras")):
            raise KeyboardInterrupt
        remove(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            train(motion, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert "refit" in run.read_record() and list(run.folder.glob(".refit-*"))
    for mine, other in zip(weights(run.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(ClipzooError, match="its training is finished"):
        zoo.resume(run.folder)
    train(motion, run.folder, recipe(refit=False), overwrite=True)
    assert not list(run.folder.glob(".refit-*"))


def test_a_mistake_leaves_no_folder_behind(motion: ClipIndex, tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match="train_from 'nowhere'"):
        train(motion, tmp_path / "run", recipe(train_from="nowhere"))
    assert not (tmp_path / "run").exists()


@pytest.mark.either
def test_the_command_takes_it_and_leaves_the_rate_to_auto(motion: ClipIndex, tmp_path: Path) -> None:
    """Without weights `auto` has no schedule, with them it has: that is known when the recipe is made, not before."""
    listed, _ = settle_splits(motion, zoo.Recipe())  # by the list's own validation clips, which `auto` would keep
    write_csv(listed, tmp_path / "list.csv")
    tiny = [word for each in ("frames=3", "size=32", "width=0.125") for word in ("--set", each)]
    command = ("train", motion.root, "--list", tmp_path / "list.csv", "--model", "convnet_gru", *tiny)
    more = ("--out", tmp_path / "run", "--set", "recipe.refit=true", "--epochs", 1)
    refused(invoke(*command, *more), "refit needs a schedule as learning_rate")
    assert not (tmp_path / "run").exists()
    network = zoo.create_model("convnet_gru", classes=2, frames=3, size=32, width=0.125)
    network.get_layer("frames").layer.save(tmp_path / "backbone.keras")
    done = invoke(*command, *more, "--set", f"backbone_weights={tmp_path / 'backbone.keras'}")
    assert done.returncode == 0, done.stderr
    counts = listed.counts()
    both = counts["train"] + counts["validation"]
    assert f"on all {both} training and validation clips: 1 epoch\n" in done.stdout
    assert f"model: trained on {both} clips; on {counts['train']} of them alone, validation top-1" in done.stdout


def test_auto_does_it_where_a_test_part_is_left_and_the_list_names_no_validation(motion: ClipIndex) -> None:
    weights_of = {"backbone_weights": __file__, "frames": 6, "size": 32, "width": 0.125}  # its name is enough to plan
    planned = plan("convnet_gru", motion, options=weights_of)
    assert planned.recipe.refit and "once more" in planned.lines[0]
    listed = settle_splits(motion, planned.recipe)[0]
    no_test = replace(motion, clips=tuple(clip._replace(split="train") for clip in motion))
    for index, fields in (
        (listed, {}),
        (no_test, {}),
        (motion, {"learning_rate": 1e-3}),
        (motion, {"refit": False}),
        (motion, {"validation": 0}),
    ):
        assert not plan("convnet_gru", index, options=weights_of, fields=fields).recipe.refit


def test_a_rate_that_needs_validation_clips_is_refused() -> None:
    for rate in (None, 1e-3):
        with pytest.raises(ClipzooError, match="refit needs a schedule as learning_rate"):
            recipe(learning_rate=rate)
    with pytest.raises(ClipzooError, match=r"Recipe refit .* must be true or false"):
        recipe(refit="yes")
