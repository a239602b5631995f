"""A training that was stopped, wherever it was, ends as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from loaders import ClipIndex, ClipzooError, VideoError
from tests.support.commands import clipzoo, invoke, refused
from zoo.checkpoint import State
from zoo.run import Run

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("stripes")]
OPTIONS: dict[str, Any] = {"frames": 3, "size": 16, "filters": 4, "dropout": 0.3}
COSINE = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 1e-2, "decay_steps": 8}}
# A rate that falls at once, by either of two callbacks or by a schedule; 36 clips are three steps.
RECIPES: dict[str, dict[str, Any]] = {
    "clips": {"patience": 1, "learning_rate": 0.3, "clip_norm": 1.0},
    "schedule": {"learning_rate": COSINE, "optimizer": "sgd", "accumulate": 2, "mixup": 0.2, "class_weights": True},
    "averages": {"optimizer": {"class_name": "Adam", "config": {"use_ema": True}}, "monitor": "class_accuracy"},
    "features": {"train_from": "head", "draws": 3, "patience": 1},
}


def recipe(name: str) -> zoo.Recipe:
    return zoo.Recipe(**{"epochs": 3, "batch": 12, "augmentation": "noflip", **RECIPES[name]})


class At(keras.callbacks.Callback):
    """Does something at a moment: `(epoch, "train" or "test", batch)`, when the checkpoint of it is written."""

    def __init__(self, moment: tuple[int, str, int], what: Callable[[keras.Model], object]) -> None:
        super().__init__()
        self.moment, self.what, self.epoch = moment, what, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, "train", batch) == self.moment:
            self.what(self.model)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, "test", batch) == self.moment:
            self.what(self.model)


def stop(_: object) -> None:
    raise KeyboardInterrupt


def train(motion: ClipIndex, out: Path, name: str = "clips", **more: Any) -> Run:
    given = {"cache": out.parent / "features"} if name == "features" else {}
    return zoo.train(
        motion, "stripes_average", recipe(name), out=out, options=OPTIONS, **{"checkpoint_minutes": 0, **given, **more}
    )


@pytest.fixture(scope="module")
def stopped(motion: ClipIndex, tmp_path_factory: pytest.TempPathFactory, stripes: str) -> Path:
    """A run that was stopped in the middle of its second epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(motion, out, callbacks=[At((1, "train", 1), stop)])
    return out


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(stopped, tmp_path / "run")))


@pytest.fixture(scope="module")
def whole(motion: ClipIndex, tmp_path_factory: pytest.TempPathFactory, stripes: str) -> Callable[[str], Run]:
    """Runs that nothing stopped."""
    runs: dict[str, Run] = {}

    def made(name: str) -> Run:
        if name not in runs:
            runs[name] = train(motion, tmp_path_factory.mktemp(name) / "run", name)
        return runs[name]

    return made


def figures(run: Run) -> list[dict[str, float]]:
    return [
        {name: row[name] for name in row if name not in ("seconds", "data_wait", "clips_per_second")}
        for row in run.read_history()
    ]


def weights(file: Path) -> list[np.ndarray]:
    return list(zoo.load_model(file).get_weights())


def assert_same(run: Run, wanted: Run) -> None:
    assert figures(run) == figures(wanted)
    for mine, other in ((run.last, wanted.last), (run.model, wanted.model)):
        for value, expected in zip(weights(mine), weights(other), strict=True):
            np.testing.assert_array_equal(value, expected)
    best = run.read_record()["best"], wanted.read_record()["best"]
    assert best[0]["epoch"] == best[1]["epoch"]
    assert {path.name for path in run.files} == {path.name for path in wanted.files}


STOPS = [  # the command is stopped once below, in the quick suite
    ("clips", [(0, "train", 1), (0, "train", 2), (1, "train", 0), (2, "test", 0)]),
    ("schedule", [(0, "test", 0), (1, "train", 1), (2, "train", 2)]),
    ("averages", [(1, "train", 2), (2, "train", 0)]),
    ("features", [(0, "train", 2), (1, "train", 1), (1, "test", 0), (2, "train", 0), (2, "train", 2)]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "moments"), STOPS)
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(
    motion: ClipIndex, tmp_path: Path, whole: Callable[[str], Run], name: str, moments: list[tuple[int, str, int]]
) -> None:
    run, begun = Run(tmp_path / "run"), 0
    for moment in moments:
        # The rest of an epoch is counted from 0 again.
        epoch, phase, batch = moment
        at = At((epoch, phase, batch - begun % 10 if begun // 10 == epoch and phase == "train" else batch), stop)
        with pytest.raises(KeyboardInterrupt):
            if run.checkpoint.exists():
                zoo.resume(run.folder, checkpoint_minutes=0, callbacks=[at])
            else:
                train(motion, run.folder, name, callbacks=[at])
        begun = 10 * epoch + (batch if phase == "train" else 0)
    assert_same(zoo.resume(run.folder, workers=1), whole(name))
    assert [(again["epoch"], again["batch"]) for again in run.read_record()["resumed"]] == [
        (epoch, batch if phase == "train" else 0) for epoch, phase, batch in moments
    ]


@pytest.mark.slow
def test_a_state_that_is_lost_changes_the_weights(
    motion: ClipIndex, copied: Run, whole: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: each part of what is kept counts."""
    from zoo.training import Restore

    put = Restore._put
    for lost in ("optimizer", "seeds", "metrics"):
        run = Run(Path(shutil.copytree(copied.folder, copied.folder.parent / lost)))
        monkeypatch.setattr(
            Restore, "_put", lambda self, there, name, lost=lost: None if name == lost else put(self, there, name)
        )
        zoo.resume(run.folder)
        with pytest.raises(AssertionError):
            assert_same(run, whole("clips"))


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2])
def test_what_a_kill_left_out_of_an_epoch_s_files_is_written(
    motion: ClipIndex, tmp_path: Path, whole: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    import zoo.writing

    write, seen = zoo.writing.write_text, []

    def killed(path: Path, text: str) -> None:
        if path.name == "history.csv":
            seen.append(path)
            if len(seen) == epochs:
                raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(zoo.writing, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        train(motion, tmp_path / "run")
    monkeypatch.undo()
    assert len(Run(tmp_path / "run").read_history()) == epochs - 1
    run = zoo.resume(tmp_path / "run")
    assert run.read_record()["resumed"][0]["epoch"] == epochs
    assert_same(run, whole("clips"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ends", "status"), [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)]
)
def test_a_signal_ends_a_training_after_its_step(
    motion: ClipIndex, tmp_path: Path, whole: Callable[[str], Run], number: int, ends: Any, status: int | None
) -> None:
    said: list[str] = []
    before = signal.getsignal(number)
    ask = At((1, "train", 1), lambda _: os.kill(os.getpid(), number))
    with pytest.raises(ends) as ended:
        train(motion, tmp_path / "run", checkpoint_minutes=99, callbacks=[ask], say=said.append)
    assert getattr(ended.value, "code", None) == status
    assert said[-1] == (
        f"interrupted; the best of 1 epochs is kept in {tmp_path}/run/model.keras; "
        f"to go on: clipzoo train --resume {tmp_path}/run"
    )
    assert signal.getsignal(number) == before
    assert_same(zoo.resume(tmp_path / "run", say=said.append), whole("clips"))
    assert "model: stripes_average; goes on at step 3 of epoch 2 of 3" in said


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_the_command_stops_in_validation_and_goes_on(
    copied: Run, whole: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    from zoo.progress import RichProgress

    def kill(self: RichProgress, logs: Any = None) -> None:
        os.kill(os.getpid(), number)

    refused(invoke("train", "--resume", copied.folder, "--epochs", 9), "--epochs does not go with --resume")
    with monkeypatch.context() as patched:
        patched.setattr(RichProgress, "on_test_begin", kill)
        done = invoke("train", "--resume", copied.folder)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "goes on at step 2 of epoch 2 of 3" in done.stdout
    assert f"to go on: clipzoo train --resume {copied.folder}" in done.stdout
    done = invoke("train", "--resume", copied.folder)
    assert done.returncode == 0, done.stderr
    assert "goes on at the validation of epoch 2 of 3" in done.stdout and "best: epoch" in done.stdout
    assert_same(copied, whole("clips"))
    refused(invoke("train", "--resume", copied.folder), "its training is finished, all 3 epochs; `clipzoo train VIDEOS")


@pytest.mark.slow
def test_clips_that_moved_vanished_or_changed(motion: ClipIndex, tmp_path: Path) -> None:
    root = Path(shutil.copytree(motion.root, tmp_path / "clips"))
    index = ClipIndex(root, motion.clips).split(seed=0)
    gone = next(index.root / clip.file for clip in index if clip.split == "train")
    out = tmp_path / "run"
    with pytest.raises(VideoError, match=rf"{gone.name}: .*best of 1 epochs is kept.*clipzoo train --resume {out}"):
        train(index, out, callbacks=[At((1, "train", 0), lambda _: gone.rename(tmp_path / "gone"))])
    with pytest.raises(ClipzooError, match=rf"{gone}: no such file; 1 of the 42 clips that .* are gone"):
        zoo.resume(out)
    gone.write_bytes(b"other")
    with pytest.raises(
        ClipzooError, match=rf"{gone}: has 5 bytes, and had \d+ when {out} was begun; put the clip back"
    ):
        zoo.resume(out)
    (tmp_path / "gone").rename(gone)
    root.rename(tmp_path / "moved")
    with pytest.raises(ClipzooError, match=rf"{root}: no such folder of clips; `clipzoo train FOLDER --resume {out}`"):
        zoo.resume(out)
    run = zoo.resume(out, videos=tmp_path / "moved")
    assert len(run.read_history()) == 3
    assert run.index().root == tmp_path / "moved"


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_checkpoint_before(
    motion: ClipIndex, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = copied.checkpoint.read_bytes()

    def full(self: State, file: Path, clips: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(State, "write", full)
    with pytest.raises(ClipzooError, match=r"checkpoint.keras: cannot be written \(No space left.*train --resume"):
        zoo.resume(copied.folder)
    assert copied.checkpoint.read_bytes() == before
    monkeypatch.undo()
    (copied.folder / ".checkpoint-abcd1234.keras").write_bytes(b"half of one")
    assert len(zoo.resume(copied.folder).read_history()) == 3
    assert not list(copied.folder.glob(".checkpoint*"))


@pytest.mark.either
def test_weights_that_are_no_numbers_are_never_kept(motion: ClipIndex, copied: Run) -> None:
    def spoil(model: keras.Model) -> None:
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        kernel = model.get_layer("logits").kernel
        kernel.assign(kernel * np.nan)

    before = copied.checkpoint.read_bytes()
    with pytest.raises(ClipzooError) as caught:
        zoo.resume(copied.folder, checkpoint_minutes=0, callbacks=[At((1, "train", 0), spoil)])
    assert str(caught.value) == (
        "the loss is nan in epoch 2, step 2, at a learning rate of 0.3: a smaller recipe.learning_rate, "
        f"recipe.clip_norm=1, or broken weights?; the best of 1 epochs is kept in {copied.model}"
    )
    assert copied.checkpoint.read_bytes() == before


@pytest.mark.either
def test_what_cannot_be_gone_on_with_is_one_sentence(stopped: Path, copied: Run, motion: ClipIndex) -> None:
    refused(invoke("train", "--resume", motion.root), f"{motion.root}: is no run; give the folder that --out")
    refused(invoke("train", "--resume", motion.root / "none"), "is no run")
    refused(invoke("train"), "give VIDEOS, a folder of clips with one sub-folder per action; or --resume RUN")
    refused(
        invoke("train", motion.root, "--model", "convnet_gru", "--out", stopped),
        "holds a run already", f"--overwrite, or --resume {stopped}",
    )  # fmt: skip
    whole = copied.checkpoint.read_bytes()
    copied.checkpoint.write_bytes(whole[: len(whole) // 2])
    refused(invoke("train", "--resume", copied.folder), "checkpoint.keras: cannot be read as a checkpoint (")
    copied.checkpoint.unlink()
    refused(invoke("train", "--resume", copied.folder), "has no checkpoint: its training ended after 1 epochs, or an")
    with zipfile.ZipFile(stopped / "checkpoint.keras") as old, zipfile.ZipFile(copied.checkpoint, "w") as new:
        for name in old.namelist():
            held = old.read(name)
            if name == "state.json":
                held = json.dumps({**json.loads(held), "format": 99}).encode()
            new.writestr(name, held)
    refused(invoke("train", "--resume", copied.folder), "is a checkpoint of format 99, written by clipzoo")


@pytest.mark.slow
def test_a_training_goes_on_on_the_other_backend(motion: ClipIndex, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("tensorflow")
    index, out = motion.split(seed=0), tmp_path / "run"
    options = {"frames": 4, "size": 16, "width": 0.125}
    with pytest.raises(KeyboardInterrupt):
        zoo.train(
            index, "convnet_gru", recipe("clips"), out=out, options=options, checkpoint_minutes=0,
            callbacks=[At((1, "train", 1), stop)],
        )  # fmt: skip
    other = {"jax": "tensorflow", "tensorflow": "jax"}[keras.config.backend()]
    done = clipzoo("train", "--resume", out, KERAS_BACKEND=other)
    assert done.returncode == 0, done.stderr
    assert f"note: begun on {keras.config.backend()}, goes on on {other}" in done.stdout
    assert len(Run(out).read_history()) == 3
