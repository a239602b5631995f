"""A run's folder: made by one function, guarded, and never worse off for what goes wrong."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from filelock import FileLock

import zoo
from loaders import Clip, ClipDataset, ClipIndex, ClipzooError, VideoError
from loaders.compat import VideoFrameGenerator
from loaders.lists import write_csv
from tests.support.commands import invoke
from zoo.run import Run
from zoo.settings import read_settings

pytestmark = [pytest.mark.keras, pytest.mark.either, pytest.mark.usefixtures("stripes")]
SMALL: dict[str, Any] = {"frames": 3, "size": 16, "filters": 4, "dropout": 0.0}
QUICK = zoo.Recipe(epochs=1, batch=16, augmentation="none")


def train(index: ClipIndex, out: Path, recipe: zoo.Recipe = QUICK, **more: Any) -> Run:
    return zoo.train(index, "stripes_average", recipe, out=out, options=SMALL, **more)


class On(keras.callbacks.Callback):
    """Does something at a moment of training."""

    def __init__(self, **moments: Callable[[On], object]) -> None:
        super().__init__()
        self.moments = moments
        self.epoch = -1

    def on_train_begin(self, logs: Any = None) -> None:
        self.moments.get("begin", lambda _: None)(self)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.moments.get(f"epoch{epoch}", lambda _: None)(self)

    def on_test_begin(self, logs: Any = None) -> None:
        self.moments.get(f"test{self.epoch}", lambda _: None)(self)


def spoil(callback: On) -> None:
    """Weights that give no number."""
    layer = callback.model.get_layer("logits")
    layer.set_weights([weight * np.nan for weight in layer.get_weights()])


def fail(error: BaseException) -> Callable[[On], object]:
    def moment(_: On) -> None:
        raise error

    return moment


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Run(folder).files}


def test_one_function_makes_a_run_that_can_be_done_again(motion: ClipIndex, tmp_path: Path) -> None:
    said: list[str] = []
    run = train(motion, tmp_path / "run", say=said.append)
    assert said[0] == (
        "clips: 48 of 6 classes; 36 train, 6 validation, 6 test (split by seed 0, no groups known: clips of one source "
        "may stand in two splits)"
    )
    assert run.labels.read_text().split() == list(motion.labels)
    copied = shutil.copytree(motion.root, tmp_path / "copied")
    assert run.lies_in(motion.root) and run.lies_in(copied)
    listed = run.clips.read_text()
    run.clips.write_text(listed.replace(motion[0].file, str(motion.path(0))))
    assert not run.lies_in(copied)
    run.clips.write_text(listed)
    (copied / motion[0].file).unlink()
    assert not run.lies_in(copied) and not run.lies_in(tmp_path)
    with run.clips.open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "validation", "test"}
    record = run.read_record()
    assert record["options"] == SMALL
    assert record["best"] == run.read_history()[0]
    # The record is a recipe: the same weights come of it.
    settings = read_settings(str(run.record), [])
    options = {name: value for name, value in settings.model.items() if name != "name"}
    planned = zoo.plan(
        settings.model["name"], motion, recipe=settings.named, options={**options, "spec": settings.spec},
        fields=settings.recipe,
    )  # fmt: skip
    again = zoo.train(motion, settings.model["name"], planned.recipe, out=tmp_path / "again", options=planned.options)
    assert again.read_history()[0]["loss"] == pytest.approx(run.read_history()[0]["loss"], rel=1e-4)
    assert again.read_record()["specs"] == record["specs"]


def test_without_validation_clips_all_train_and_the_last_epoch_is_the_model(motion: ClipIndex, tmp_path: Path) -> None:
    listed = motion.split(test=0.25, validation=0, seed=0)
    command = ["train", motion.root, "--list", tmp_path / "list.csv", "--model", "stripes_average", "--epochs", 3]
    command += ["--out", tmp_path / "run", "--recipe", "article", "--set", "recipe.validation=0"]
    command += ["--set", "recipe.learning_rate=0.3"]  # the loss goes up and down
    write_csv(listed, tmp_path / "list.csv")
    done = invoke(*command, *(part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")))
    assert done.returncode == 0, done.stderr
    assert "36 train, 0 validation, 12 test (as listed, none to validate on)" in done.stdout
    assert "note: no validation clips; the last epoch is the model" in done.stdout
    assert "model: epoch 3, training top-1" in done.stdout
    run = Run(tmp_path / "run")
    history = run.read_history()
    assert not any(name.startswith("val_") for name in history[0]) and run.read_record()["best"] == history[-1]
    assert min(history, key=lambda row: row["loss"])["epoch"] < 2  # else any rule would do
    assert run.model.read_bytes() == run.last.read_bytes()


@pytest.mark.parametrize("file", ["model.keras", "history.csv", "run.json", "split.csv"])
def test_any_file_of_a_run_guards_its_folder(motion: ClipIndex, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("precious")
    with pytest.raises(ClipzooError, match=rf"holds a run already \({file}\).*--overwrite"):
        train(motion, tmp_path)
    assert contents(tmp_path) == {file: b"precious"}


def test_overwriting_keeps_the_old_run_until_there_is_a_new_one(motion: ClipIndex, tmp_path: Path) -> None:
    train(motion, tmp_path)
    (tmp_path / "confusion.png").write_bytes(b"of the old run")
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ClipzooError, match=r"the loss is nan in epoch 1.*no epoch was finished, what was there before"):
        train(motion, tmp_path, overwrite=True, callbacks=[On(epoch0=spoil)])
    assert contents(tmp_path) == before
    other = zoo.Recipe(epochs=1, augmentation="none", seed=7)
    train(motion, tmp_path, other, overwrite=True)
    after = contents(tmp_path)
    assert json.loads(after["run.json"])["recipe"]["seed"] == 7
    assert set(after) == set(before) - {"confusion.png"} and after["model.keras"] != before["model.keras"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_replacement_that_was_cut_short_is_ended_by_whoever_looks(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(motion, tmp_path)
    before = contents(tmp_path)
    moves, replace = [], Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.parent.name == ".new" and not self.name.startswith("."):
            moves.append(self.name)
            if len(moves) == 3:
                raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        train(motion, tmp_path, zoo.Recipe(epochs=1, augmentation="none", seed=7), overwrite=True)
    monkeypatch.undo()
    after = contents(tmp_path)
    assert set(after) == {*before, "checkpoint.keras"}  # the new training goes on from that
    assert json.loads(after["run.json"])["recipe"]["seed"] == 7
    assert all(after[name] != before[name] for name in ("model.keras", "split.csv", "history.csv"))
    assert not (tmp_path / ".new").exists()


def test_what_a_kill_left_before_the_first_epoch_does_not_block_the_folder(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new" / "model.keras").write_bytes(b"half")
    (tmp_path / ".lock").touch()
    assert zoo.load_model(train(motion, tmp_path).folder).name == "stripes_average"
    assert not (tmp_path / ".new").exists()


def test_a_second_training_into_a_folder_is_refused(motion: ClipIndex, tmp_path: Path) -> None:
    def second(_: On) -> None:
        with pytest.raises(ClipzooError, match="another training writes into it now"):
            train(motion, tmp_path, overwrite=True)

    run = train(motion, tmp_path, callbacks=[On(begin=second)])
    assert len(run.read_history()) == 1
    with FileLock(tmp_path / ".lock", timeout=0):  # it let go of the folder
        pass


def test_a_validation_loss_that_is_no_number_stops_and_the_last_good_model_stays(
    motion: ClipIndex, tmp_path: Path
) -> None:
    recipe = zoo.Recipe(epochs=3, augmentation="none")
    with pytest.raises(ClipzooError, match=r"the validation loss is nan in epoch 2.*best of 1 epochs is kept in"):
        train(motion, tmp_path, recipe, callbacks=[On(test1=spoil)])
    assert [row["epoch"] for row in Run(tmp_path).read_history()] == [0]
    assert math.isfinite(Run(tmp_path).read_record()["best"]["val_loss"])
    zoo.load_model(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "x/model.keras"), "x/model.keras: No space left on device"),
        (MemoryError(), "the memory does not suffice for batches of 16 clips: give a smaller recipe.batch"),
    ],
)
def test_a_full_disk_and_too_little_memory_are_one_sentence(
    motion: ClipIndex, tmp_path: Path, error: Exception, said: str
) -> None:
    with pytest.raises(ClipzooError) as caught:
        train(motion, tmp_path, zoo.Recipe(epochs=2, augmentation="none"), callbacks=[On(epoch1=fail(error))])
    assert said in str(caught.value) and "best of 1 epochs is kept" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_clip_that_cannot_be_read_in_the_middle_of_training_is_one_sentence(
    motion: ClipIndex, tmp_path: Path, split: str
) -> None:
    index = motion.split(validation=0.25)
    (tmp_path / "broken.avi").write_bytes(b"no video")
    broken = Clip(str(tmp_path / "broken.avi"), "up", split)  # absolute: joined to the root it stays so
    index = ClipIndex(index.root, (*index.clips, broken), index.labels)
    with pytest.raises(VideoError) as caught:
        train(index, tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'broken.avi'}: is not a video that OpenCV can open; no epoch was finished"
    )
    assert not Run(tmp_path / "run").files


class Floats(keras.utils.PyDataset):
    """Clips scaled to 0..1, as many datasets give them."""

    num_batches = 2

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((2, 3, 16, 16, 3), 0.5, np.float32), np.eye(2, dtype=np.float32)


def test_clips_that_are_scaled_already_are_refused() -> None:
    model = zoo.create_model("stripes_average", classes=2, **SMALL)
    whole = ClipzooError, "the clips are float32, and models of the zoo take uint8"
    with pytest.raises(whole[0], match=whole[1]):
        zoo.fit(model, Floats(), recipe=QUICK)


@pytest.mark.slow
def test_a_peer_s_generator_feeds_a_model_of_the_zoo_its_pixels(motion: ClipIndex) -> None:
    """By `fit` unscaled; by plain `model.fit` only with rescale=None: floats of 0 to 1 become zeros there."""
    pattern = str(motion.root / "{classname}" / "*.avi")
    common: dict[str, Any] = {"glob_pattern": pattern, "nb_frames": 3, "target_shape": (16, 16), "shuffle": False}
    generator = VideoFrameGenerator(**common, batch_size=48)
    model = zoo.create_model("stripes_average", classes=motion.labels, **SMALL)
    still = zoo.Recipe(epochs=1, learning_rate=1e-12)
    history = zoo.fit(model, generator, generator, recipe=still)
    dataset = ClipDataset(motion, zoo.specs(model), batch_size=48)
    pixels = VideoFrameGenerator(**common, batch_size=48, rescale=None)
    for each in (dataset, pixels):
        loss = model.evaluate(each, verbose=0, return_dict=True)["loss"]
        assert history[0]["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert model.predict(generator[0][0], verbose=0) == pytest.approx(
        np.repeat(model.predict(np.zeros((1, 3, 16, 16, 3), np.uint8), verbose=0), 48, axis=0), abs=1e-5
    ), "plain Keras casts 0..1 to zeros; the docstring of loaders.compat says so"


def numbers(motion: ClipIndex) -> ClipIndex:
    """Numbers far from 0, of very different size: metres above the sea, and a share."""
    labels = {label: (1000.0 + 50 * place, 0.01 * place) for place, label in enumerate(motion.labels)}
    clips = tuple(clip._replace(label=labels[str(clip.label)]) for clip in motion)
    return ClipIndex(motion.root, clips, ("height", "share"), "regression")


@pytest.mark.slow
def test_numbers_are_scaled_inside_and_given_back(motion: ClipIndex, tmp_path: Path) -> None:
    index, said = numbers(motion), list[str]()
    recipe = zoo.Recipe(epochs=2, augmentation="none")
    run = train(index, tmp_path, recipe, say=said.append)
    assert "48 of 2 numbers" in said[0]
    history = run.read_history()
    # In the targets' own scale the loss begins near 1, and the mean error is in their unit from the first epoch.
    assert 0.1 < history[0]["loss"] < 10
    assert history[0]["val_mean_absolute_error"] < 150
    model = zoo.load_model(run.last)
    answers = model.predict(ClipDataset(index, zoo.specs(model), batch_size=48), verbose=0)
    assert np.abs(answers[:, 0] - 1125).max() < 500 and np.abs(answers[:, 1]).max() < 0.5
    # Going on from it keeps its scale; a new head for other numbers gets its own.
    before = model.get_layer("values").get_weights()
    zoo.fit(model, ClipDataset(index, zoo.specs(model)), recipe=zoo.Recipe(epochs=1, learning_rate=1e-9))
    np.testing.assert_array_equal(before, model.get_layer("values").get_weights())


def test_two_processes_that_end_a_replacement_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "confusion.png").write_text("of the run before")
    with monkeypatch.context() as patched, Run(tmp_path).replacing_all() as new:
        for path in (new.model, new.last, new.record):
            path.write_text("new")
        patched.setattr(Run, "_move_in", lambda run: None)  # killed before it
    real, moved = Path.replace, list[str]()

    def after_the_other(path: Path, target: Path) -> Path:
        moved.append(path.name)
        if len(moved) % 2:
            real(path, target)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", after_the_other)
    Run(tmp_path)
    assert sorted(moved) == ["last.keras", "model.keras", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(moved)
