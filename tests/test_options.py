"""Options of the commands: the new names, sentences for the old ones, and what is never cut or overwritten."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import clipzoo as front_door
from export.session import open_session
from loaders import ClipIndex, ClipzooError, Scan, index_folder
from loaders.terminal import OnErrorChoice, drop_broken, parse_spec, text_console, write_json
from tests.support.commands import clipzoo, invoke, refused
from tests.support.onnx_files import LABELS, write_model
from zoo.settings import read_settings


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
        ("train", "--protocol two_stream", "--recipe dtpp"),
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


def test_train_has_eighteen_options_at_the_most() -> None:
    with typer.Context(typer.main.get_command(front_door.app)) as context:
        train = context.command.get_command(context, "train")
        options = [p.name for p in train.params if p.param_type_name == "option"]
    # Fourteen that decide what is trained, two of going on, two of what it is spread over, and one of seeing it.
    assert len(options) <= 19, options


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


def test_json_on_stdout_is_all_that_is_there(model: Path, videos: Path, motion: ClipIndex) -> None:
    done = invoke("evaluate", model, videos, "--json", "-")
    assert json.loads(done.stdout)["clips"] == 4
    assert "95 % interval" in done.stderr
    done = invoke("scan", videos, "--json", "-")
    assert len(json.loads(done.stdout)["files"]) == 4
    assert "4 files: 4 can be read" in done.stderr
    done = invoke("bench", model, "--batch", 1, "--batch", 2, "--seconds", 0.05, "--json", "-")
    setup, *rows = map(json.loads, done.stdout.splitlines())
    assert setup["kind"] == "inference" and [row["batch"] for row in rows] == [1, 2]
    assert "ONNX Runtime, CPU" in done.stderr


def test_json_is_json_where_the_terminal_has_no_letters_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    write_json(Path("-"), {"file": "Füße 👩.avi"}, text_console(stderr=True))
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode("ascii")) == {"file": "Füße 👩.avi"}


def test_bench_measures_a_file_that_another_tool_changed_where_it_is_told_to(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model.onnx", sealed=True)
    changed = bytearray(file.read_bytes())
    place = changed.index(b"levels")  # the name of the graph
    changed[place] ^= 1
    file.write_bytes(changed)
    few = ("bench", file, "--batch", 1, "--seconds", 0.05)
    refused(invoke(*few), "is not what was exported", "--no-verify")
    assert invoke(*few, "--no-verify").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("frames=5 spec.frames=7", "--set frames=5 and --set spec.frames=7 say two things"),
        ("size=32 spec.height=48", "--set size=32 and --set spec.height=48 say two things"),
        ("size=[32,48] spec.width=32", "--set size=[32,48] and --set spec.width=32 say two things"),
        ("spec=1", "--set spec=1: spec is a table"),
        ("model.spec=1", "--set model.spec=1: spec is a table"),
        ("classes=5", "--set classes=5: the labels of the clips say which classes there are"),
        ("name=i3d", "--model convnet_gru and --set name=i3d say two things"),
        ("recipe.epochs=3", "--epochs 2 and --set recipe.epochs=3 say two things"),
    ],
)
def test_what_says_two_things_or_nothing_of_a_model_is_one_sentence(
    motion: ClipIndex, tmp_path: Path, words: str, said: str
) -> None:
    pairs = [word for pair in words.split() for word in ("--set", pair)]
    done = invoke("train", motion.root, "--model", "convnet_gru", "--epochs", 2, *pairs, "--out", tmp_path / "run")
    refused(done, said)
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_set_goes_before_what_a_file_says_by_another_name(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[model]\nframes = 4\nsize = 32\n")
    settings = read_settings(str(file), ["spec.frames=8", "spec.height=48"])
    assert settings.model == {} and settings.spec == {"frames": 8, "height": 48, "width": 32}
    assert read_settings(None, ["frames=5", "spec.frames=5"]).model == {"frames": 5}
    for text, said in (("spec = 3", "spec is a table"), ("classes = 3", "leave it out")):
        file.write_text(f"[model]\n{text}\n")
        with pytest.raises(ClipzooError, match=said) as error:
            read_settings(str(file), [])
        assert str(file) in str(error.value)


def test_a_scan_of_other_clips_is_noted(motion: ClipIndex, videos: Path, tmp_path: Path) -> None:
    Scan(tmp_path, ()).save(tmp_path / "scan.json")
    stderr = text_console(stderr=True)
    with stderr.capture() as said:
        drop_broken(
            index_folder(videos), on_error=OnErrorChoice.FAIL, workers=1, stderr=stderr, scan=tmp_path / "scan.json"
        )
    assert said.get().startswith("note: ") and said.get().count("\n") == 1


def test_fields_of_the_flow_have_one_name_everywhere() -> None:
    dotted = parse_spec("frames=3,size=16,modality=flow,flow.method=farneback,flow.bound=7")
    assert dotted == parse_spec("frames=3,size=16,modality=flow,method=farneback,bound=7")
    with pytest.raises(ClipzooError, match=r"FlowSpec has no field 'mthod'; did you mean method\?"):
        parse_spec("frames=3,size=16,modality=flow,flow.mthod=dis")


def test_options_of_a_provider_reach_the_runtime(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, given = write_model(tmp_path / "model.onnx"), list[dict[str, str]]()
    for command in (("bench", file), ("predict", file, motion.path(0))):
        said = "'cudnn_conv_algo_search' must be NAME=VALUE"
        refused(invoke(*command, "--provider-option", "cudnn_conv_algo_search"), said)
    refused(invoke("bench", file, "--provider", "all", "--provider-option", "use_arena=0"), "name it in place of 'all'")

    refused(invoke("predict", file, motion.path(0), "--provider-option", "a=b"), "'cpu' has no options, and a is given")

    def noted(path: Path, *, provider_options: dict[str, str], **options: Any) -> Any:
        given.append(provider_options)
        return open_session(path, **options)

    monkeypatch.setattr("export.network.open_session", noted)
    options = ("--provider-option", "use_arena=0", "--provider-option", "a=b=c")
    for command in (("predict", file, motion.path(0)), ("bench", file, "--seconds", 0.1, "--batch", 1)):
        assert invoke(*command, *options).returncode == 0
        assert given.pop() == {"use_arena": "0", "a": "b=c"} and not given
