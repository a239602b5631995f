"""Behind a frozen part an epoch takes less than its files: they are written every few seconds, and nothing is lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import zoo
import zoo.writing
from loaders import ClipIndex
from tests.test_resuming import OPTIONS, assert_same, weights
from zoo.checkpoint import read_state
from zoo.run import Run
from zoo.saving import save_model

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("stripes")]
RECIPE = zoo.Recipe(epochs=6, batch=12, augmentation="noflip", train_from="head", draws=2, learning_rate=0.01)


class Spoils(keras.callbacks.Callback):
    """Three epochs learn; a rate that is far too high undoes it from the fourth on. May stop within the fifth."""

    def __init__(self, stops: bool = False) -> None:
        super().__init__()
        self.stops, self.epoch = stops, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.model.optimizer.learning_rate = 0.01 if epoch < 3 else 50.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.stops and (self.epoch, batch) == (4, 0):
            raise KeyboardInterrupt


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of models that are written."""
    files: list[Path] = []

    def save(model: keras.Model, file: Path) -> None:
        files.append(file)
        save_model(model, file)

    monkeypatch.setattr(zoo.writing, "save_model", save)
    return files


@pytest.fixture
def train(motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    def made(name: str, every: float, callback: keras.callbacks.Callback) -> Run:
        monkeypatch.setattr(zoo.writing, "BETWEEN", every)
        return zoo.train(
            motion, "stripes_average", RECIPE, out=tmp_path / name, options=OPTIONS, callbacks=[callback],
            cache=tmp_path / "features",
        )  # fmt: skip

    return made


@pytest.mark.either
def test_files_that_are_written_rarely_are_those_that_are_written_each_epoch(
    train: Callable[..., Run], saves: list[Path]
) -> None:
    often = train("often", 0.0, Spoils())
    assert len(saves) == 6
    assert often.read_record()["best"]["epoch"] in (1, 2)
    saves.clear()
    rarely = train("rarely", 1e9, Spoils())
    assert_same(rarely, often)
    assert [file.name for file in saves] == ["last.keras", "last.keras", "model.keras"]  # the first, the last, the best


@pytest.mark.slow
def test_a_stop_writes_what_is_in_memory_and_resumes(train: Callable[..., Run], motion: ClipIndex) -> None:
    whole = train("whole", 0.0, Spoils())
    for name, every in (("often", 0.0), ("rarely", 1e9)):
        with pytest.raises(KeyboardInterrupt):
            train(name, every, Spoils(stops=True))
    often, rarely = (Run(whole.folder.parent / name) for name in ("often", "rarely"))
    assert [row["epoch"] for row in rarely.read_history()] == [0, 1, 2, 3]
    assert rarely.read_record()["best"]["epoch"] == often.read_record()["best"]["epoch"] in (1, 2)
    for mine, other in ((rarely.model, often.model), (rarely.last, often.last)):
        assert all((a == b).all() for a, b in zip(weights(mine), weights(other), strict=True))
    assert read_state(rarely).epoch == read_state(often).epoch == 4  # nothing of four epochs is trained again
    assert_same(zoo.resume(rarely.folder, callbacks=[Spoils()]), whole)


@pytest.mark.slow
def test_a_kill_before_the_best_is_in_its_file_loses_nothing(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(model: keras.Model, file: Path) -> None:
        if file.name == "model.keras":
            raise KeyboardInterrupt
        save_model(model, file)

    whole = train("whole", 0.0, Spoils())
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(zoo.writing, "save_model", killed)
        train("run", 1e9, Spoils())
    assert_same(zoo.resume(tmp_path / "run", callbacks=[Spoils()]), whole)


@pytest.mark.slow
def test_a_disk_that_is_full_too_hides_no_error(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Breaks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                monkeypatch.setattr(zoo.writing, "save_model", fails)
                raise ValueError("of the callback")

    with pytest.raises(ValueError, match="of the callback"):
        train("run", 1e9, Breaks())
