"""Mistakes that people make are sentences, said before anything takes long; nothing of theirs is lost by them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import zoo
from loaders import ClipIndex, ClipzooError
from tests.support.commands import invoke, refused
from tests.support.marks import not_the_backend_s
from zoo.run import Run

pytestmark = pytest.mark.keras
SMALL: dict[str, Any] = {"frames": 3, "size": 16, "width": 0.125, "units": 4, "dropout": 0.0}
QUICK = zoo.Recipe(epochs=1, batch=16, augmentation="none")


class Call(keras.callbacks.Callback):
    """Calls a function when training begins."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self.function = function

    def on_train_begin(self, logs: Any = None) -> None:
        self.function()


def train(index: ClipIndex, out: Path, **more: Any) -> Run:
    return zoo.train(index, "convnet_gru", QUICK, out=out, options=SMALL, **more)


@not_the_backend_s
def test_the_demo_replaces_its_own_run_and_no_other(tmp_path: Path) -> None:
    record = tmp_path / "run.json"
    for videos, files in (("elsewhere", ("run.json", "model.keras")), (None, ("model.keras",))):
        if videos:
            record.write_text(json.dumps({"videos": str(tmp_path / videos)}))
        else:
            record.unlink()
        (tmp_path / "model.keras").write_text("precious")
        done = invoke("demo", "--out", tmp_path, "--clips", 60, "--epochs", 1)
        refused(done, "holds a run already", *files)
        assert "--overwrite" not in done.stderr  # which the demo has not
        assert {path.name for path in tmp_path.iterdir()} == {*files}
    record.write_text(json.dumps({"videos": str(tmp_path / "clips")}))
    (tmp_path / "clips").write_text("a file, so that the demo ends here")
    refused(invoke("demo", "--out", tmp_path, "--clips", 60, "--epochs", 1), "clips")


def test_a_folder_that_cannot_be_written_is_refused_before_training(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    (tmp_path / "model.keras").write_text("precious")
    (tmp_path / ".new").write_text("where a folder must be made")
    with pytest.raises(ClipzooError, match="cannot be written") as error:
        train(motion, tmp_path, overwrite=True, callbacks=[Call(lambda: begun.append(True))])
    assert "is kept" not in str(error.value) and not begun
    (tmp_path / ".new").unlink()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and not (mode & os.W_OK and Path(path) == tmp_path)
    )
    done = invoke("train", motion.root, "--model", "convnet_gru", "--out", tmp_path, "--overwrite")
    refused(done, f"{tmp_path}: cannot be written")
    assert "backend" not in done.stdout  # nothing was begun


def test_only_what_this_training_wrote_is_said_to_be_kept(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("precious")
    block = Call(lambda: (tmp_path / ".new").write_text("where a folder must be made"))
    with pytest.raises(ClipzooError, match="no epoch was written, what was there before is kept"):
        train(motion, tmp_path, overwrite=True, callbacks=[block])
    assert (tmp_path / "model.keras").read_text() == "precious"
