"""The commands as a person types them, from a folder of videos to an ONNX answer."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.records import Results
from loaders import ClipIndex
from loaders.terminal import text_console
from tests.support.commands import ROOT, clipzoo, invoke, refused
from tests.support.converter import BROKEN_CONVERTER


@pytest.mark.keras
def test_a_run_has_all_that_is_promised(run: Path, videos: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"model.keras", "last.keras", "labels.txt", "history.csv", "curves.png", "run.json", "split.csv"}
    assert (run / "labels.txt").read_text() == "left\nup\n"
    record = json.loads((run / "run.json").read_text())
    assert record["model"] == "convnet_gru"
    assert record["options"] == {"frames": 4, "size": 16, "width": 0.125, "dropout": 0.1}
    assert record["recipe"]["seed"] == 3
    assert record["specs"]["video"]["frames"] == 4
    assert record["recipe"]["augmentation"]["flip"] is False and record["mirroring"] is False
    assert record["best"]["epoch"] in (0, 1) and record["splits"].startswith("split by seed 3")
    assert Path(record["videos"]) == videos.resolve()
    assert record["versions"]["keras"]
    with (run / "split.csv").open() as file:
        parts = [row["split"] for row in csv.DictReader(file)]
    assert len(parts) == 16 and set(parts) == {"train", "validation", "test"}


@pytest.mark.keras
def test_the_same_command_measures_run_and_onnx_file_and_they_agree(
    run: Path, onnx_file: Path, videos: Path, tmp_path: Path
) -> None:
    figures = {}
    for model in (run, onnx_file):
        done = invoke(
            "evaluate", model, videos, "--list", run / "split.csv", "--split", "train",
            "--json", tmp_path / "figures.json", "--picture", tmp_path / "confusion.png",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "95 % interval" in done.stdout
        assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
        figures[model] = json.loads((tmp_path / "figures.json").read_text())
    assert figures[run]["confusion"] == figures[onnx_file]["confusion"]
    assert figures[run]["clips"] == 12
    own = clipzoo("evaluate", run, videos, "--json", tmp_path / "own.json")
    assert own.returncode == 0, own.stderr
    assert json.loads((tmp_path / "own.json").read_text())["clips"] == 2  # its own test part, not all the folder


@pytest.mark.keras
def test_predict_prints_a_table_or_json_and_bench_a_table(onnx_file: Path, videos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a[red]b[" / "x].avi"  # read as markup, [/x] would end the command
    odd.parent.mkdir()
    odd.write_bytes(next((videos / "left").iterdir()).read_bytes())
    assert "a[red]b[/x].avi" in invoke("predict", onnx_file, odd, columns=300).stdout
    files = sorted((videos / "left").iterdir())[:3]
    done = clipzoo("predict", onnx_file, *files, "--json", "-")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4) for answer in answers)
    table = invoke("predict", onnx_file, files[0], videos / "up" / "broken.mp4", "--on-error", "skip")
    assert table.returncode == 0
    assert "broken.mp4" in table.stderr and "left out" in table.stderr
    assert answers[0]["label"] in table.stdout
    timed = clipzoo("bench", onnx_file, "--batch", 2, "--seconds", 0.1, "--json", tmp_path / "b.json")
    assert timed.returncode == 0, timed.stderr
    assert "ONNX Runtime, CPU" in timed.stdout
    assert [row.batch for row in Results.load(tmp_path / "b.json").rows] == [2]


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.either
def test_a_run_goes_on_with_other_classes(run: Path, motion: ClipIndex, tmp_path: Path) -> None:
    for label in ("down", "right", "turning"):
        shutil.copytree(motion.root / label, tmp_path / "videos" / label)
    done = invoke("train", tmp_path / "videos", "--weights", run, "--out", tmp_path / "run", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "labels.txt").read_text() == "down\nright\nturning\n"
    assert "head: a new one, for other labels" in done.stdout
    refused(
        invoke("train", tmp_path / "videos", "--weights", run, "--set", "frames=9", "--out", tmp_path / "other"),
        "frames",
        "built already",
    )


@pytest.mark.either
@pytest.mark.keras
def test_a_run_is_not_overwritten_and_not_made_of_nothing(run: Path, videos: Path, tmp_path: Path) -> None:
    small = ("--model", "convnet_gru", "--set", "size=16")
    refused(invoke("train", videos, *small, "--out", run), "holds a run already", "--overwrite")
    refused(invoke("train", tmp_path / "none", *small, "--out", tmp_path / "r"), "none", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(invoke("train", tmp_path / "empty", *small, "--out", tmp_path / "r"), "no sub-folder")
    bad = tmp_path / "bad"
    for label in ("a", "b"):
        (bad / label).mkdir(parents=True)
        (bad / label / "x.mp4").write_bytes(b"no")
    refused(invoke("train", bad, *small, "--out", tmp_path / "r"), "class 'a' has no readable clip", "x.mp4")
    refused(invoke("train", videos, *small, "--on-error", "fail", "--out", tmp_path / "r"), "broken.mp4")
    refused(invoke("train", videos, "--model", "convnet_gro", "--out", tmp_path / "r"), "did you mean convnet_gru")
    refused(invoke("train", videos, *small, "--set", "depth=3", "--out", tmp_path / "r"), "no option 'depth'")
    refused(invoke("train", videos, *small, "--set", "depth", "--out", tmp_path / "r"), "KEY=VALUE")
    refused(
        invoke("train", videos, *small, "--set", "recipe.precision=half", "--out", tmp_path / "r"),
        "precision ('half')",
    )
    refused(invoke("train", videos, "--out", tmp_path / "r"), "--model NAME")
    refused(invoke("train", videos, *small, "--set", "recipe.validation=1", "--out", tmp_path / "r"), "validation (1)")
    refused(invoke("train", videos, *small, "--out", bad / "a" / "x.mp4"), "is a file; a run is a folder")
    refused(invoke("train", videos, *small, "--epochs", 0), "--epochs")
    assert not (tmp_path / "r").exists()


@pytest.mark.either
@pytest.mark.keras
@pytest.mark.slow
def test_an_export_without_parity_ends_with_status_1_and_no_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "path" / "tf2onnx").mkdir(parents=True)
    (tmp_path / "path" / "tf2onnx" / "__init__.py").write_text(BROKEN_CONVERTER)
    path = os.pathsep.join([str(tmp_path / "path"), str(ROOT)])
    done = clipzoo("export", run, tmp_path / "model.onnx", PYTHONPATH=path)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("error: parity failed on ") and "(validation clips of the run" in done.stderr
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.keras
@pytest.mark.either
def test_labels_that_do_not_fit_are_an_error(run: Path, onnx_file: Path, motion: ClipIndex, tmp_path: Path) -> None:
    others = shutil.copytree(motion.root, tmp_path / "others")
    next((others / "left").iterdir()).unlink()  # with all of the run's clips its test part would be measured
    for model in (run, onnx_file):
        refused(invoke("evaluate", model, others), "does not know down", "it knows left, up")


@pytest.mark.either
@pytest.mark.keras
def test_other_files_are_named(onnx_file: Path, videos: Path, tmp_path: Path) -> None:
    clip = next((videos / "left").iterdir())
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    refused(invoke("predict", tmp_path / "garbage.onnx", clip), "garbage.onnx")
    refused(invoke("predict", onnx_file, videos / "up" / "broken.mp4"), "broken.mp4", "is not a video")
    refused(invoke("predict", onnx_file, tmp_path / "none.mp4"), "none.mp4")
    refused(invoke("bench", onnx_file, "--provider", "cuda"), "provider 'cuda' is not in this ONNX Runtime")
    refused(invoke("export", tmp_path / "none", tmp_path / "x.onnx"), "no such model file")
    refused(invoke("evaluate", tmp_path / "none", videos), "no such model file")


def test_the_backend_is_checked_before_keras_is_imported(motion: ClipIndex, tmp_path: Path) -> None:
    arguments = ("train", motion.root, "--model", "convnet_gru", "--out", tmp_path / "run")
    refused(clipzoo(*arguments, KERAS_BACKEND="torch"), "KERAS_BACKEND is 'torch'", "tensorflow and jax")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('jax', 'tensorflow') else find(name, *a)\n"
    )
    hidden = os.pathsep.join([str(tmp_path / "path"), str(ROOT)])
    refused(clipzoo(*arguments, KERAS_BACKEND="jax", PYTHONPATH=hidden), "not installed", 'pip install "clipzoo[jax]"')
    refused(clipzoo(*arguments, KERAS_BACKEND="", PYTHONPATH=hidden), "no backend is installed")


def test_an_unset_backend_is_said_in_one_line() -> None:
    script = "import zoo; print(zoo.choose_backend())"
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "backend: tensorflow (both are installed; KERAS_BACKEND=jax chooses the other)\n"


def test_models_are_listed_without_keras() -> None:
    done = clipzoo("models", "mobilenet*", KERAS_BACKEND="none")  # would fail if it were asked for
    assert done.returncode == 0, done.stderr
    assert "mobilenetv2_gru" in done.stdout and "convnet_gru" not in done.stdout
    assert "4.11 M" in done.stdout and "2.84 G" in done.stdout
    refused(invoke("models", "x*"), "no model fits 'x*'")


def test_help_names_every_command() -> None:
    done = clipzoo("--help")
    assert done.returncode == 0
    for command in ("demo", "models", "train", "evaluate", "export", "predict", "features", "bench"):
        assert command in done.stdout
    refused(invoke("trian"), "trian")
    assert invoke("--version").stdout.startswith("clipzoo 0.")


@pytest.mark.either
@pytest.mark.keras
def test_predict_imports_no_keras(onnx_file: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'keras', 'tensorflow', 'jax', 'onnx'}:\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = clipzoo("predict", onnx_file, next((videos / "up").glob("*.avi")), "--json", "-", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["label"] in ("left", "up")


@pytest.mark.either
@pytest.mark.keras
@pytest.mark.slow
def test_the_demo_does_the_whole_job_also_where_no_weights_can_be_had(tmp_path: Path) -> None:
    offline = {"KERAS_HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = clipzoo("demo", "--out", tmp_path / "demo", "--clips", 60, "--epochs", 3, **offline)
    assert done.returncode == 0, done.stderr
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["fetching"]
    assert "by i3d_kinetics400, for want of its weights (weights i3d kinetics400: pip could not fetch" in done.stdout
    assert f"next: clipzoo predict {tmp_path / 'demo' / 'model.onnx'} " in done.stdout
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names >= {"clips", "clips.png", "curves.png", "confusion.png", "model.onnx", "model.keras", "history.csv"}
    assert "right (top-1)" in done.stdout and "clips/s" in done.stdout


@pytest.mark.either
@pytest.mark.keras
@pytest.mark.slow
def test_the_demo_names_an_action_where_the_weights_are(i3d_weights: Path, data: Path, tmp_path: Path) -> None:
    from benchmarks.demo import name_action

    assert i3d_weights.is_file()
    out, console = io.StringIO(), text_console()
    console.file = out
    found = name_action(data / "clips" / "abseiling_k400.mp4", tmp_path / "i3d.onnx", console=console)
    assert found is not None and found.label == "abseiling"
    rows = [line for line in out.getvalue().splitlines() if line.rstrip("│ ").endswith("%")]
    assert len(rows) == 5 and "abseiling" in rows[0]


@pytest.mark.keras
def test_a_video_that_cannot_be_read_is_said_before_the_demo_begins(videos: Path, tmp_path: Path) -> None:
    done = invoke("demo", "--out", tmp_path / "demo", "--video", videos / "up" / "broken.mp4")
    refused(done, "broken.mp4: is not a video")
    assert not (tmp_path / "demo").exists()


@pytest.mark.either
@pytest.mark.keras
@pytest.mark.slow
def test_one_seed_of_the_demo_is_one_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # without the preset, which has no history
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("demo", "again"):
        done = invoke("demo", "--out", tmp_path / name, "--clips", 60, "--epochs", 4)  # after one it answers all alike
        assert done.returncode == 0, done.stderr
    first, again = (
        np.genfromtxt(tmp_path / name / "history.csv", delimiter=",", names=True) for name in ("demo", "again")
    )
    assert first["loss"] == pytest.approx(again["loss"], rel=1e-3)  # one seed, the same first weights
