"""What a person sees while a model trains: a display, lines, and TensorBoard's files."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import zoo
from loaders import ClipIndex
from tests.support.commands import invoke, refused
from zoo.progress import RichProgress

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("stripes")]
RECIPE = zoo.Recipe(epochs=2, batch=16, validation=0.25, test=0.25)
OPTIONS = {"frames": 4, "size": 16, "filters": 8}


def shown(motion: ClipIndex, folder: Path, *, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200, color_system=None)
    zoo.train(motion, "stripes_average", RECIPE, out=folder, options=OPTIONS, callbacks=[RichProgress(console)])
    return text.getvalue()


@pytest.mark.either
def test_a_terminal_shows_one_display_and_a_file_lines_alone(motion: ClipIndex, tmp_path: Path) -> None:
    live = shown(motion, tmp_path / "a", terminal=True)
    for part in ("epoch 1/2", "epoch 2/2", "training", "clips/s  waiting for clips", "validating"):
        assert part in live, part
    assert re.search(r"best: epoch 1, validation top-1 .*%  \d:\d\d:\d\d left", live)
    lines = shown(motion, tmp_path / "b", terminal=False).splitlines()
    assert [line[:11] for line in lines] == ["epoch   1/2", "epoch   2/2"]
    row = zoo.Run(tmp_path / "b").read_history()[0]
    assert row["clips_per_second"] > 0
    for part in (
        f"loss {row['loss']:.3f}", f"validation loss {row['val_loss']:.3f}", f"rate {row['learning_rate']:.2g}",
        f"{row['clips_per_second']:.1f} clips/s, {row['data_wait']:.0%} of it waiting for clips",
    ):  # fmt: skip
        assert part in lines[0], part
    assert lines[0].endswith("best")


@pytest.mark.either
def test_tensorboard_has_the_figures_of_the_history(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run = tmp_path / "run"
    command = ["train", motion.root, "--model", "stripes_average", "--out", run, "--recipe", "article", "--tensorboard"]
    for pair in ("frames=4", "size=16", "filters=8", "recipe.validation=0.25", "recipe.test=0.25"):
        command += ["--set", pair]
    (run / "tensorboard" / "train").mkdir(parents=True)
    (run / "tensorboard" / "train" / "events.out.tfevents.old").write_bytes(b"of another run")
    done = invoke(*command, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    history = zoo.Run(run).read_history()
    for part, name, column in (("train", "loss", "loss"), ("validation", "accuracy", "val_accuracy")):
        events = EventAccumulator(str(run / "tensorboard" / part))
        events.Reload()
        values = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors(f"epoch_{name}")]
        assert values == pytest.approx([row[column] for row in history], rel=1e-6)
    assert not list(run.rglob("*.old"))

    found = importlib.util.find_spec
    monkeypatch.setattr("zoo.progress.find_spec", lambda name: None if name == "tensorboard" else found(name))
    refused(invoke(*command, "--overwrite"), "tensorboard not installed; pip install 'clipzoo[tensorboard]'")
