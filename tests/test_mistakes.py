"""Mistakes that people make are sentences, said before anything takes long; nothing of theirs is lost by them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import zoo
from loaders import ClipIndex, ClipzooError
from tests.support.commands import ROOT, clipzoo, invoke, refused
from tests.support.onnx_files import write_model
from zoo.run import Run

pytestmark = [pytest.mark.keras, pytest.mark.either]
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


@pytest.mark.either
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


@pytest.mark.slow
def test_only_what_this_training_wrote_is_said_to_be_kept(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("precious")
    block = Call(lambda: (tmp_path / ".new").write_text("where a folder must be made"))
    with pytest.raises(ClipzooError, match="no epoch was written, what was there before is kept"):
        train(motion, tmp_path, overwrite=True, callbacks=[block])
    assert (tmp_path / "model.keras").read_text() == "precious"


def test_what_is_no_index_is_named(tmp_path: Path, motion: ClipIndex) -> None:
    with pytest.raises(ClipzooError, match=r"index \('clips'\) must be a ClipIndex, such as loaders\.index_folder"):
        zoo.train("clips", "convnet_gru", out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match="classes are those of the clips"):
        zoo.train(motion, "convnet_gru", out=tmp_path / "run", options={"classes": 3})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_files_among_the_options_are_written_down_from_the_root(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"frames": 2, "size": 8, "width": 1 / 16}
    model = zoo.create_model("convnet_gru", classes=2, **options)
    model.get_layer("frames").layer.save(tmp_path / "backbone.keras")
    monkeypatch.chdir(tmp_path)
    run = zoo.train(
        motion,
        "convnet_gru",
        zoo.Recipe(epochs=1),
        out="run",
        options={**options, "backbone_weights": "backbone.keras"},
    )
    assert run.read_record()["options"] == {**options, "backbone_weights": str(tmp_path / "backbone.keras")}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipzoo", "models"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert (
        done.returncode == 2 and done.stderr == "error: standard output cannot be written (No space left on device)\n"
    )


def test_a_terminal_without_letters_of_all_tongues_is_printed_to(tmp_path: Path, motion: ClipIndex) -> None:
    (tmp_path / "日本").mkdir()
    shutil.copy(next(iter(motion.paths)), tmp_path / "日本" / "手.avi")
    done = clipzoo("scan", tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_a_folder_with_one_class_is_named(motion: ClipIndex, tmp_path: Path) -> None:
    shutil.copytree(motion.root / "left", tmp_path / "mine" / "left")
    done = invoke("train", tmp_path / "mine", "--model", "convnet_gru", "--out", tmp_path / "run")
    refused(done, f"{tmp_path / 'mine'}: has only 'left'; classification takes at least 2 classes")


def test_an_empty_onnx_file_is_said_to_be_empty(tmp_path: Path, motion: ClipIndex) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    refused(invoke("predict", tmp_path / "empty.onnx", motion.paths[0]), "empty.onnx: is empty")


def test_what_no_name_of_a_file_or_host_can_be_is_a_sentence(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    labels = ",".join(f"class_{n:02}" for n in range(40))
    refused(invoke("export", tmp_path / "m.keras", tmp_path / "o.onnx", "--labels", labels), "m.keras")
    refused(invoke("predict", model, "v" * 300), "v" * 300)
    refused(invoke("serve", model, "--host", "127..0.1"), "cannot listen at 127..0.1", "another --host")
    refused(invoke("watch", model, "--source", "20240101123456"), "camera 20240101123456")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("name=5", "no model 5"), ("alpha=0.02", "alpha (0.02) must be a number"), ("recipe.batch=0", "batch (0)")],
)
def test_a_setting_that_is_none_is_a_sentence(motion: ClipIndex, tmp_path: Path, setting: str, said: str) -> None:
    name = [] if setting.startswith("name") else ["--model", "mobilenet_gru", "--set", "backbone_weights=none"]
    refused(invoke("train", motion.root, *name, "--out", tmp_path / "run", "--set", setting), said)


def test_a_plan_for_batches_of_nothing_is_refused(motion: ClipIndex) -> None:
    for batch in (0, "abc"):
        with pytest.raises(ClipzooError, match="Recipe batch"):
            zoo.plan("mobilenet_gru", motion, fields={"batch": batch}, options={"backbone_weights": "none"})
