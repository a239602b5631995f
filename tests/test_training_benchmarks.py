"""What the benchmarks of training time, tried in this process on whichever backend Keras runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import benchmarks.accuracy
import benchmarks.harness.groups
import benchmarks.training
import zoo
from benchmarks.accuracy import OPTIONS
from benchmarks.harness.groups import Limits
from benchmarks.harness.models import randomize
from benchmarks.harness.records import Results, Row
from benchmarks.harness.runners import BACKENDS, KerasRunner
from benchmarks.harness.trainers import TrainingVariant
from benchmarks.training import training
from loaders import ClipIndex
from tests.support.clock import WorkerHere
from tests.support.commands import invoke_script, refused

pytestmark = [pytest.mark.keras, pytest.mark.either]
SMALL: dict[str, Any] = {"frames": 3, "size": 16, "width": 0.125, "units": 4}
SHORT = Limits(rounds=2, few=2, seconds=0.01, most=0.02, turn=0.01, pause=0.0)
WAYS = (TrainingVariant(time="TimeDistributed", precision="mixed bfloat16"), TrainingVariant(source="disk cache"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners live in this process."""
    for module in (benchmarks.harness.groups, benchmarks.accuracy, benchmarks.training):
        monkeypatch.setattr(module, "Worker", WorkerHere)


@pytest.mark.slow
def test_every_way_to_train_is_timed(motion: ClipIndex) -> None:
    rows: list[Row] = []
    ways = WAYS if keras.config.backend() == "tensorflow" else WAYS[1:]  # JAX compiles each for long
    training(
        "convnet_gru", batch=2, limits=SHORT, videos=motion.root, backends=[keras.config.backend()], ways=ways,
        options=SMALL, done=rows.append,
    )  # fmt: skip
    assert [row.settings for row in rows] == [way.settings for way in ways]
    for row in rows:
        assert row.measured, row.note
        assert (row.runner, row.batch, row.frames) == (BACKENDS[keras.config.backend()], 2, 3)
        assert row.facts["compile_seconds"] >= 0 and 0 <= row.facts["data_wait"] <= 1
        assert "CPU" in row.facts["keras_device"].upper()


def test_a_model_is_timed_as_it_answers(tmp_path: Path) -> None:
    randomize(zoo.create_model("convnet_gru", classes=3, **SMALL)).save(tmp_path / "model.keras")
    runner = KerasRunner(path=tmp_path / "model.keras", gpu=False)
    assert runner.start(2) > 0
    answers = runner.prepare(2)()
    assert isinstance(answers, np.ndarray) and answers.shape == (2, 3)
    assert runner.finish()["session_seconds"] > 0


@pytest.mark.slow
def test_the_command_prints_and_records(motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, way = keras.config.backend(), TrainingVariant(source="videos")
    monkeypatch.setattr(benchmarks.training, "QUICK", SHORT)
    monkeypatch.setattr(benchmarks.training, "WAYS", (way,))
    options = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    to = ("--backend", backend, "--models", "convnet_gru", "--quick", "--json")
    done = invoke_script("training", *to, tmp_path / "t.jsonl", "--videos", motion.root, *options)
    assert done.returncode == 0, done.stderr
    assert "measuring on " + BACKENDS[backend] in done.stdout
    (row,) = Results.load(tmp_path / "t.jsonl").rows
    assert row.settings == way.settings
    assert row.facts.get("compilations", 0) == 0  # none after the first epoch
    refused(invoke_script("training", *to, tmp_path / "u.jsonl", "--set", "nosuch=3"), "no option 'nosuch'")


@pytest.mark.either
@pytest.mark.slow
def test_how_good_models_become_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "convnet_gru", SMALL)
    to = ("--backend", keras.config.backend(), "--models", "convnet_gru", "--quick", "--json")
    done = invoke_script("accuracy", *to, tmp_path / "a.jsonl")
    assert done.returncode == 0, done.stderr
    assert "60 motion clips, chance 16.7%, 1 epochs" in done.stdout
    rows = Results.load(tmp_path / "a.jsonl").rows
    assert [row.settings["precision"] for row in rows] == ["float32", "mixed bfloat16"]
    assert all(row.status == "ok" and 0 <= row.facts["top1"] <= 1 for row in rows), [row.note for row in rows]
