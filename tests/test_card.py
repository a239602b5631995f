"""A run becomes a folder for the Hugging Face Hub, whose own library reads the card."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import socket
import sys
from importlib.metadata import entry_points
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from huggingface_hub import ModelCard, ModelCardData

import export.convert
from export import Classifier, Metadata, write_card
from loaders import ClipIndex, ClipzooError
from loaders.tasks import task_kind
from tests.support.commands import ROOT, invoke, refused
from tests.support.onnx_files import LABELS, SPEC, write_model
from zoo.evaluation import wilson
from zoo.scores import Scores

TEST = [f"c{number}.mp4" for number in range(8)]
TARGETS, SAID = np.array([0, 0, 0, 1, 1, 1, 1, 1]), [0, 0, 1, 1, 1, 1, 1, 1]  # 7 of 8 are right


def keep_scores(run: Path, *, files: list[str] = TEST, labels: tuple[str, ...] = LABELS, **other: Any) -> None:
    fields: dict[str, Any] = {"logits": 4.0 * np.eye(2)[SAID], "targets": TARGETS, "task": "classification", **other}
    Scores(**fields, labels=labels, files=tuple(files)).save(run / "scores.npz")


def make_run(folder: Path, *, labels: tuple[str, ...] = LABELS, task: str = "classification", **props: str) -> Path:
    """A run of the model of `write_model`, without its Keras file, measured on 8 test clips."""
    folder.mkdir()
    record = {
        "model": "levels", "task": task, "labels": list(labels), "specs": {"video": SPEC.to_dict()},
        "videos": "/secret/place/lamps", "clips": {"train": 20, "validation": 4, "test": 8},
        "recipe": {"epochs": 3, "seed": 7}, "best": {"epoch": 2}, "backend": "jax", "versions": {"keras": "3.15.1"},
        "command": ["train", "/secret/place/lamps"],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    kind = task_kind(task)
    with (folder / "split.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", *kind.columns(labels), "split"])
        for name, split, target in [*zip(TEST, repeat("test"), TARGETS), ("v0.mp4", "validation", 0)]:
            rows.writerow([name, *([labels[target]] if task == "classification" else [1, 0]), split])
    (folder / "curves.png").write_bytes(b"\x89PNG curves")
    write_model(folder / "model.onnx", labels=labels, sealed=True, props={"clipzoo.task": json.dumps(task), **props})
    return folder


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    run = make_run(tmp_path / "run")
    keep_scores(run)
    return run


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address can be reached."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def texts(folder: Path) -> str:
    return (folder / "README.md").read_text() + (folder / "config.json").read_text()


def test_the_hub_s_library_reads_the_card(lamps: Path, tmp_path: Path, offline: None) -> None:
    out = tmp_path / "hub"
    done = invoke("card", lamps, out, "--repo", "me/lamps-v1", "--license", "apache-2.0")
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(out / "README.md")
    data = card.data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "onnx", "video-classification")
    assert "clipzoo" in data.tags and data.model_name == "lamps-v1"
    (figure,) = data.eval_results
    low, high = wilson(7, 8)
    assert (figure.metric_type, figure.metric_value) == ("accuracy", 0.875)
    assert figure.metric_name == f"top-1 (95 % interval {low:.1%} to {high:.1%}, 8 clips)"
    assert (figure.task_type, figure.dataset_name, figure.dataset_split) == ("video-classification", "lamps", "test")
    assert f"top-1 87.5%, 95 % interval {low:.1%} to {high:.1%} (8 clips)" in card.text
    assert "License of this model: `apache-2.0`." in card.text
    assert done.stdout.splitlines()[-1] == f"to upload: hf upload me/lamps-v1 {out}"
    assert any(script.name == "hf" for script in entry_points(group="console_scripts"))


def test_the_folder_has_all_that_is_promised_and_no_path(lamps: Path, tmp_path: Path) -> None:
    write_model(lamps / "half.onnx", sealed=True, props={"clipzoo.precision": '"float16"'})
    (lamps / "others.onnx").write_bytes(write_model(tmp_path / "x.onnx", metadata=False).read_bytes())
    out = tmp_path / "deep" / "hub"
    made = write_card(lamps, out)
    names = {"README.md", "config.json", "onnx/model.onnx", "onnx/model_fp16.onnx", "curves.png", "confusion.png"}
    assert set(made.files) == names
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == names
    assert (out / "onnx" / "model.onnx").read_bytes() == (lamps / "model.onnx").read_bytes()
    assert Metadata.read(out / "onnx" / "model_fp16.onnx").precision == "float16"
    assert (out / "curves.png").read_bytes() == (lamps / "curves.png").read_bytes()
    assert (out / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    links = set(re.findall(r"\]\(([^)]+)\)", (out / "README.md").read_text()))
    assert links == names - {"README.md"}
    assert "secret" not in texts(out) and str(tmp_path) not in texts(out)


def test_config_has_the_labels_and_the_contract_of_the_file(lamps: Path, tmp_path: Path) -> None:
    write_card(lamps, tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    metadata = Metadata.read(tmp_path / "hub" / "onnx" / "model.onnx")
    assert config["id2label"] == {"0": "dark", "1": "bright"} and config["label2id"] == {"dark": 0, "bright": 1}
    assert config["problem_type"] == "single_label_classification"
    assert config["files"] == {"float32": "onnx/model.onnx"}
    assert {name: each["spec"] for name, each in config["inputs"].items()} == {
        name: spec.to_dict() for name, spec in metadata.specs.items()
    }
    graph = onnx.load(lamps / "model.onnx").graph
    for values, said, kind in ((graph.input, config["inputs"], "uint8"), (graph.output, config["outputs"], "float32")):
        shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        assert {name: each["shape"] for name, each in said.items()} == shapes
        assert {each["dtype"] for each in said.values()} == {kind}


def test_the_program_on_the_card_answers_as_clipzoo_does(
    lamps: Path, tmp_path: Path, motion: ClipIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(lamps, tmp_path / "model")
    shutil.copy(motion.paths[5], tmp_path / "video.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (tmp_path / "model" / "README.md").read_text(), re.DOTALL)
    ours, alone = blocks
    assert not re.search(r"^(?:from|import) (?:export|loaders|zoo)\b", alone, re.MULTILINE)
    exec(alone, {})
    printed = [line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines()]
    answer = Classifier("model/onnx/model.onnx").predict("video.mp4")
    assert [label for label, _ in printed] == list(answer.probabilities)
    assert [float(value) for _, value in printed] == pytest.approx(list(answer.probabilities.values()), abs=1e-6)
    exec(ours, {})
    assert capsys.readouterr().out == f"{answer.label} {answer.probability}\n"


def test_the_card_s_reference_is_the_contract_page_s() -> None:
    page = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
    assert f"```python\n{(ROOT / 'export' / 'reference.py').read_text(encoding='utf-8')}```" in page


def test_a_run_that_was_not_measured_has_no_figure(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "hub"
    done = invoke("card", run, out)
    assert done.returncode == 0, done.stderr
    assert "the run keeps no scores" in done.stdout
    card = ModelCard.load(out / "README.md")
    assert card.data.eval_results is None and "model-index" not in card.content
    assert "was not measured" in card.text and "%" not in card.text.partition("## Use")[0]
    assert card.data.license is None and "none is stated" in card.text
    assert card.text.lstrip().startswith("# levels\n") and "best epoch | 3 |" in card.text
    assert not (out / "confusion.png").exists()


@pytest.mark.parametrize(
    ("task", "scores", "problem", "metrics"),
    [
        (
            "multilabel",
            {"targets": np.eye(2)[TARGETS], "logits": 8.0 * np.eye(2)[SAID] - 4},
            "multi_label_classification",
            ["mean_average_precision", "exact_match"],
        ),
        ("regression", {"targets": np.ones((8, 2)), "logits": np.full((8, 2), 1.25)}, "regression", ["mae", "mae"]),
    ],
)
def test_other_tasks_have_their_own_figures(
    task: Any, scores: dict[str, Any], problem: str, metrics: list[str], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", task=task)
    keep_scores(run, task=task, **scores)
    write_card(run, tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert [each.metric_type for each in card.data.eval_results] == metrics
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["problem_type"] == problem
    if task == "regression":
        assert [each.metric_value for each in card.data.eval_results] == [0.25, 0.25]
        assert card.data.pipeline_tag is None and "answer.values" in card.text


def test_figures_of_other_splits_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    keep_scores(run, files=["v0.mp4"], logits=np.eye(2)[:1], targets=np.array([0]))
    write_card(run, tmp_path / "hub", dataset="lamps at night")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert card.data.eval_results[0].dataset_split == "validation"
    assert "On the validation clips of lamps at night, on which the best epoch was chosen:" in card.text


def test_names_are_text_and_origins_are_told(tmp_path: Path) -> None:
    labels = ("a|b <script>alert()</script>", '- [x](http://y) *z* `q`: "r"')
    origin = {"weights": "i3d kinetics400", "author": "DeepMind", "license": "Apache-2.0"}
    run = make_run(tmp_path / "run", labels=labels, **{"clipzoo.origins": json.dumps([origin])})
    keep_scores(run, labels=labels)
    write_card(run, tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert "<script>" not in card.text and not re.search(r"(?<!\\)\]\(http", card.text)
    assert r"| a\|b \<script\>alert()\</script\> | 3 | 66.7% |" in card.text
    assert "| i3d kinetics400 | DeepMind | Apache-2.0 | not known | not known |" in card.text
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["id2label"]["1"] == labels[1]


def test_a_folder_that_is_not_empty_is_left_alone(lamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    half = write_model(lamps / "half.onnx", sealed=True, props={"clipzoo.precision": '"float16"'})
    write_card(lamps, out)
    (out / "notes.txt").write_text("mine")
    half.unlink()
    (lamps / "scores.npz").unlink()
    before = texts(out)
    refused(invoke("card", lamps, out), "hub: is not empty", "--overwrite")
    assert texts(out) == before
    assert invoke("card", lamps, out, "--overwrite").returncode == 0
    assert "was not measured" in texts(out)
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {"README.md", "config.json", "model.onnx", "curves.png", "notes.txt"}  # nothing of before


def test_files_that_are_of_no_card_are_never_replaced(lamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert invoke("card", lamps, out, "--overwrite").returncode == 0  # they are in no way of it
    for name in ("README.md", "config.json"):
        other = tmp_path / name / "folder"
        other.mkdir(parents=True)
        (other / name).write_text("{}")
        refused(invoke("card", lamps, other, "--overwrite"), f"its {name} would be replaced", "move them away")
        assert [(path.name, path.read_text()) for path in other.iterdir()] == [(name, "{}")]


def test_mistakes_are_said_and_write_nothing(lamps: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "hub", lamps / "model.onnx"
    (tmp_path / "file").write_text("")
    refused(invoke("card", tmp_path, out), "is no run of clipzoo's", "run.json")
    refused(invoke("card", "i3d_kinetics400", out), "i3d_kinetics400: is no run of clipzoo's")
    refused(invoke("card", lamps, tmp_path / "file"), "is a file")
    refused(invoke("card", lamps, out, "--repo", "lamps"), "repo ('lamps') must be OWNER/NAME")
    refused(invoke("card", lamps, out, "--license", "Apache 2"), "license ('Apache 2')")
    second = shutil.copy(model, lamps / "second.onnx")
    assert invoke("card", lamps, tmp_path / "first").returncode == 0  # that named model.onnx is taken
    model.rename(lamps / "z.onnx")
    refused(invoke("card", lamps, out), "second.onnx and z.onnx are both float32")
    Path(second).unlink()
    (lamps / "z.onnx").rename(model)
    whole = model.read_bytes()
    model.write_bytes(whole.replace(b"centered", b"Centered"))
    refused(invoke("card", lamps, out), "is not what was exported")
    write_model(model, labels=("x", "y"))
    refused(invoke("card", lamps, out), "model.onnx: has other labels or another input than the run")
    model.write_bytes(whole)
    keep_scores(lamps, files=["elsewhere.mp4", *TEST[1:]])
    refused(invoke("card", lamps, out), "is not of this model and the clips of one split", "clipzoo evaluate")
    (lamps / "model.keras").write_bytes(b"trained again")
    os.utime(lamps / "model.keras", (0, 0))
    keep_scores(lamps, model=hashlib.sha256(b"trained once").hexdigest())
    refused(invoke("card", lamps, out), "is not of this model and the clips of one split")
    (lamps / "model.keras").unlink()
    keep_scores(lamps, labels=("bright", "dark"))
    refused(invoke("card", lamps, out), "is not of this model and the clips of one split")
    assert not out.exists()


def test_a_file_older_than_the_model_is_warned_of(lamps: Path, tmp_path: Path) -> None:
    (lamps / "model.keras").write_bytes(b"")
    os.utime(lamps / "model.keras", (2e9, 2e9))
    done = invoke("card", lamps, tmp_path / "hub")
    assert done.returncode == 0 and "model.onnx is older than model.keras" in done.stderr


def test_a_file_that_is_not_there_is_exported(lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lamps / "model.onnx").unlink()
    write_model(lamps / "half.onnx", sealed=True, props={"clipzoo.precision": '"float16"'})
    asked: list[Path] = []

    def to_onnx(model: Path, out: Path) -> None:
        asked.append(model)
        write_model(out, sealed=True)

    monkeypatch.setattr(export.convert, "to_onnx", to_onnx)
    write_card(lamps, tmp_path / "hub")
    assert asked == [lamps] and not (lamps / "model.onnx").exists()
    files = {path.name for path in (tmp_path / "hub" / "onnx").iterdir()}
    assert files == {"model.onnx", "model_fp16.onnx"}

    def refuse(model: Path, out: Path) -> None:
        raise ClipzooError("parity failed")

    monkeypatch.setattr(export.convert, "to_onnx", refuse)
    with pytest.raises(ClipzooError, match="parity failed"):
        write_card(lamps, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_missing_library_is_one_sentence(lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "export.card_page", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(invoke("card", lamps, tmp_path / "hub"), "this needs huggingface_hub", 'pip install "clipzoo[hub]"')


@pytest.mark.keras
@pytest.mark.either
def test_a_run_of_the_command_is_carded_with_the_figures_of_evaluate(
    run: Path, onnx_file: Path, videos: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    done = invoke(
        "evaluate", mine / "model.onnx", videos, "--list", mine / "split.csv", "--split", "test",
        "--scores", mine / "scores.npz", "--json", tmp_path / "figures.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert invoke("card", mine, tmp_path / "hub").returncode == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert card.data.eval_results[0].metric_value == round(figures["top1"], 4)
    assert f"({figures['clips']} clips)" in card.text
    assert (tmp_path / "hub" / "onnx" / "model.onnx").read_bytes() == onnx_file.read_bytes()
    assert "ConvNet of eight 3x3 convolutions" in card.text and str(videos) not in texts(tmp_path / "hub")
