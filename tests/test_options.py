"""Options of the commands: the new names, sentences for the old ones, and what is never cut or overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer

import clipzoo as front_door
from loaders import ClipIndex
from tests.support.commands import clipzoo, invoke, refused
from tests.support.onnx_files import LABELS, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file for clips of dark and bright."""
    return write_model(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, motion: ClipIndex) -> Path:
    """Three dark clips and one bright."""
    root = tmp_path_factory.mktemp("videos")
    for n, label in enumerate((LABELS[0], LABELS[0], LABELS[0], LABELS[1])):
        (root / label).mkdir(exist_ok=True)
        shutil.copy(motion.path(n), root / label / f"{n}.avi")
    return root


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("train", "--split list.csv", "--list FILE"),
        ("train", "--batch 4", "--set recipe.batch=N"),
        ("train", "--frames=4", "--set frames=N"),
        ("train", "--size 112", "--set size=PIXELS"),
        ("train", "--seed 1", "--set recipe.seed=N"),
        ("train", "--spec sampling=dense", "--set spec.FIELD=VALUE"),
        ("train", "--protocol two_stream", "--recipe two_stream"),
        ("train", "--optimizer sgd", "--set recipe.optimizer=NAME"),
        ("train", "--learning-rate 0.1", "--set recipe.learning_rate=RATE"),
        ("train", "--patience 3", "--set recipe.patience=N"),
        ("train", "--clip-norm 1", "--set recipe.clip_norm=NORM"),
        ("train", "--accumulate 2", "--set recipe.accumulate=N"),
        ("train", "--precision float32", "--set recipe.precision=NAME"),
        ("train", "--augment noflip", "--set recipe.augmentation=NAME"),
        ("train", "--validation 0.2", "--set recipe.validation=SHARE"),
        ("train", "--test 0.2", "--set recipe.test=SHARE"),
        ("train", "--class-weights", "--set recipe.class_weights=true"),
        ("evaluate", "--part test", "--split NAME"),
        ("evaluate", "--split run/split.csv", "--list run/split.csv"),
        ("scan", "--split list.csv", "--list FILE"),
        ("cache", "--split=list.csv", "--list FILE"),
        ("show", "--split list.csv", "--list FILE"),
    ],
)
def test_an_old_option_is_answered_with_the_new_one(command: str, old: str, new: str) -> None:
    done = invoke(command, "x", *old.split())
    refused(done, f"the option is {new} now")
    assert len(done.stderr.strip().splitlines()) == 1


def test_train_has_fourteen_options_at_the_most() -> None:
    with typer.Context(typer.main.get_command(front_door.app)) as context:
        train = context.command.get_command(context, "train")
        options = [p.name for p in train.params if p.param_type_name == "option"]
    assert len(options) <= 14, options


def test_a_split_that_there_is_not_is_refused_with_the_choices(model: Path, videos: Path) -> None:
    refused(invoke("evaluate", model, videos, "--split", "dev"), "dev", "'train'", "'validation'")


def test_json_names_a_file_everywhere_and_never_takes_a_video_for_it(model: Path, videos: Path, tmp_path: Path) -> None:
    clip = videos / LABELS[1] / "3.avi"
    before = clip.read_bytes()
    refused(invoke("predict", model, "--json", clip, clip), "--json", "ends in .json")
    assert clip.read_bytes() == before
    done = invoke("predict", model, clip, "--json", tmp_path / "answers.json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads((tmp_path / "answers.json").read_text())
    assert answer["file"] == str(clip)
    assert json.loads(invoke("predict", model, clip, "--json", "-").stdout) == [answer]
    done = invoke("evaluate", model, videos, "--json", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["clips"], figures["largest"], figures["largest_share"]) == (4, LABELS[0], 0.75)
    assert f"always guessing '{LABELS[0]}', the largest class, gives 75.0%" in done.stdout


def test_evaluate_draws_a_picture_only_where_it_is_asked_to(model: Path, videos: Path, tmp_path: Path) -> None:
    there = set(model.parent.iterdir()) | set(videos.rglob("*"))
    done = invoke("evaluate", model, videos)
    assert done.returncode == 0 and "wrote" not in done.stdout
    assert set(model.parent.iterdir()) | set(videos.rglob("*")) == there
    done = invoke("evaluate", model, videos, "--picture", tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"


def test_evaluate_and_predict_take_a_provider(model: Path, videos: Path) -> None:
    clip = videos / LABELS[1] / "3.avi"
    for words in (("evaluate", model, videos), ("predict", model, clip)):
        assert invoke(*words, "--provider", "cpu").returncode == 0
        refused(invoke(*words, "--provider", "cuda"), "provider 'cuda' is not in this ONNX Runtime")
        refused(invoke(*words, "--provider", "npu"), "npu", "'cuda'", "'tensorrt'")


def test_a_long_path_is_printed_whole(model: Path, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("longer" * 30)
    folder.mkdir(parents=True)
    shutil.copy(videos / LABELS[1] / "3.avi", folder / "clip.avi")
    for words in ((folder / "clip.avi",), (folder,)):
        done = clipzoo("predict", model, *words, COLUMNS="")  # into a pipe
        assert str(folder / "clip.avi") in done.stdout, done.stderr


def test_files_that_cannot_be_read_are_left_out_and_the_answers_of_the_others_stay(
    model: Path, videos: Path, tmp_path: Path
) -> None:
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "videos" / LABELS[0] / "broken.mp4").write_bytes(b"no video")
    done = invoke("predict", model, tmp_path / "videos", "--on-error", "skip")
    assert done.returncode == 0
    assert done.stderr.count("broken.mp4") == 1 and "left out" in done.stderr
    assert done.stdout.count(".avi") == 4
    refused(invoke("predict", model, tmp_path / "videos"), "broken.mp4: is not a video")
    done = invoke("evaluate", model, tmp_path / "videos", "--json", tmp_path / "x.json")
    assert done.returncode == 0
    figures = json.loads((tmp_path / "x.json").read_text())
    assert figures["clips"] == 4 and "broken.mp4" in figures["left_out"][0]
    assert done.stderr.count("broken.mp4") == 1
    refused(invoke("evaluate", model, tmp_path / "videos", "--on-error", "fail"), "broken.mp4: is not a video")
