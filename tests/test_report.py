"""The page about a run: it says what the run's files say, holds all that it shows, and takes labels as text."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.records import Results
from loaders import Clip, ClipIndex, ClipSpec, VideoError, write_csv
from loaders.tasks import Task
from tests.support.commands import invoke, refused
from tests.support.results import a_row, a_setup
from zoo.calibration import calibration_bins, calibration_error
from zoo.evaluation import Evaluation, wilson
from zoo.report import write_report
from zoo.report.mistakes import worst
from zoo.run import Run
from zoo.run_scores import keep, kept, matched
from zoo.scores import Scores

FIXTURES = Path(__file__).parent / "fixtures"
VOID = {"meta", "img"}
WILD = ('<script>alert("1")</script>', "a & b $x^$ {{ 70001 * 70003 }}", "plain")


class Page(HTMLParser):
    """A page, parsed; what is not balanced or asks for something outside fails at once."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.words: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)
        self.images += [str(value) for name, value in attrs if name == "src"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on")
            assert "://" not in str(value), (name, value)
            if name in ("href", "src"):
                assert str(value).startswith(("#", "data:image/")), value
            if name == "id":
                self.ids.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            assert "url(" not in data and "@import" not in data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, on one line."""
        return " ".join(" ".join(self.words).split())


def made(folder: Path, index: ClipIndex, *, history: bool = False, **changes: Any) -> Run:
    """A run's folder without a model, as `train` leaves it."""
    run = Run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metric = index.kind.metric
    best = {"epoch": 1.0, "loss": 0.5, metric: 0.75, "val_loss": 0.6, f"val_{metric}": 0.5, "best": 1.0}
    rows = [{**best, "epoch": 0.0, "loss": 1.0}, best]
    if history:
        lines = [",".join(best), *(",".join(map(str, row.values())) for row in rows)]
        run.history.write_text("\n".join(lines) + "\n")
    write_csv(index, run.clips)
    record = {
        "model": "mobilenet_gru", "options": {"alpha": 0.5}, "weights": None, "task": index.task,
        "origins": [{"weights": "mobilenet imagenet", "author": "Google", "license": "Apache-2.0"}],
        "labels": list(index.labels), "specs": {"video": ClipSpec(frames=3, height=16, width=16).to_dict()},
        "videos": str(index.root), "splits": "as listed", "clips": index.counts(),
        "recipe": {"epochs": 2, "batch": 16, "optimizer": "adam", "augmentation": "none", "train_from": "head"},
        "backend": "jax", "versions": {"keras": "3.12.0"}, "command": ["train", "my clips", "--model", "mobilenet_gru"],
        "best": best, "seconds": 75.0, **changes,
    }  # fmt: skip
    run.write_record(record)
    return run


def scored(index: ClipIndex, logits: np.ndarray) -> Scores:
    test = index.only("test")
    return Scores(logits, test.targets, index.labels, index.task, tuple(clip.file for clip in test))


@pytest.fixture
def wild(motion: ClipIndex, tmp_path: Path) -> ClipIndex:
    """Clips with names and labels that are code where they are not escaped; groups 0 to 5, of two clips each."""
    root = tmp_path / "clips"
    root.mkdir()
    names = [f'it\'s "{n}" <img src=x onerror=alert({n})> é.avi' for n in range(12)]
    for clip, name in zip(motion, names, strict=False):
        shutil.copy(motion.root / clip.file, root / name)
    clips = [
        Clip(name, WILD[n % 3], ("train", "validation", "test", "test")[n // 3], group=str(n // 2 % 6))
        for n, name in enumerate(names)
    ]
    return ClipIndex(root, tuple(clips), tuple(sorted(WILD)))


@pytest.mark.keras
@pytest.mark.either
def test_the_page_says_what_evaluate_says(run: Path, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("scores.npz", "*.onnx"))
    assert invoke("evaluate", folder, videos, "--json", tmp_path / "figures.json").returncode == 0
    done = invoke("report", folder)
    assert done.returncode == 0, done.stderr
    assert "scoring" not in done.stdout and f"wrote {folder / 'report.html'}" in done.stdout  # evaluate kept its scores
    page = Page(folder / "report.html")
    figures = json.loads((tmp_path / "figures.json").read_text())
    (low, high), history = figures["interval"], Run(folder).read_history()
    for said in (
        "convnet_gru on videos", f"{figures['top1']:.1%} top-1 on 2 test clips", f"{low:.1%} to {high:.1%}",
        f"Chance is {figures['largest_share']:.1%}", f"calibration error is {figures['calibration_error']:.1%}",
        f"2 epochs; the best was epoch {[int(row['epoch']) + 1 for row in history if row['best']][-1]}",
        "4 frames of 16 x 16 pixels", "width=0.125", "left, up", "No groups are known", "clipzoo export",
        "--recipe", "split by seed 3",
    ):  # fmt: skip
        assert said in page.text, said
    assert page.html.count("<svg") == 5
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} <= {".lock"}


def test_labels_and_names_are_text(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run <b>", wild, history=True)
    scores = scored(wild, np.roll(5.0 * np.eye(3), 1, axis=1)[[1, 2, 0, 1, 2, 0]])
    scores.save(run.scores)
    assert invoke("report", run.folder).returncode == 0
    page = Page(run.report)
    for label in WILD:
        assert label in page.text
        assert page.html.count(label) == (page.html.count("plain") if label == "plain" else 0)
    assert wild.only("test")[0].file in page.text and "onerror=alert(6)&gt;" in page.html
    assert "<b>" not in page.html and str(70001 * 70003) not in page.text
    result = scores.evaluate()
    assert isinstance(result, Evaluation) and result.top1 == 0
    assert "0.0% top-1 on 6 test clips" in page.text and "The first answer is right for 0 of 6 test clips" in page.text
    for truth, said, often, total in ((0, 2, 2, 2), (1, 0, 2, 2), (2, 1, 2, 2)):
        assert result.confusion[truth][said] == often
        assert f"{result.labels[truth]} {result.labels[said]} {often} of {total}" in page.text
    # Six mistakes of three frames each, as the model gets them.
    assert "Of 6 clips that are answered wrong, these are the 6" in page.text
    assert len(page.images) == 18


def test_bars_say_how_much_an_answer_rests_on_each_frame(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run", wild)
    scores = scored(wild, np.roll(5.0 * np.eye(3), 1, axis=1)[[1, 2, 0, 1, 2, 0]])
    asked: list[str] = []

    def look(clips: Mapping[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
        asked.append(label)
        heat = np.linspace(0.25, 1, len(clips["video"]), dtype=np.float32)
        return {name: np.broadcast_to(heat[:, None, None], clip.shape[:3]) for name, clip in clips.items()}

    write_report(run, scores=matched(scores, wild), look=look)
    text = run.report.read_text()
    assert sorted(asked) == sorted(scores.labels[row] for row in scores.probabilities.argmax(axis=1))
    assert "The longer the bar under a frame, the more the answer rests on it" in text
    assert [text.count(f'style="width: {percent}%"') for percent in (25, 62, 100)] == [6, 6, 6]


def test_what_is_not_there_is_said(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run", wild)
    done = invoke("report", run.folder, "--no-score")
    assert done.returncode == 0, done.stderr
    page = Page(run.report)
    low, high = wilson(2, 3)  # 0.5 of 3 clips, rounded
    assert "50.0% top-1 on 3 validation clips" in page.text and f"{low:.1%} to {high:.1%}" in page.text
    for said in (
        "No test clip was scored", f"This gives them: clipzoo report {run.folder}", "There is no history.csv",
        "clipzoo bench", "Groups that stand in several splits: 1 of 6 (1).",
    ):  # fmt: skip
        assert said in page.text, said
    assert "<svg" not in page.html and not page.images and "--resume" not in page.text
    # A run that lost its model cannot be scored, which is no reason for no page.
    assert invoke("report", run.folder).returncode == 0
    assert "The run has no model.keras" in Page(run.report).text


def test_clips_that_moved_cost_the_strips_alone(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run", wild)
    scored(wild, np.zeros((6, 3))).save(run.scores)
    moved = wild.root.rename(tmp_path / "elsewhere")
    inode = (run.report.write_text("old"), run.report.stat().st_ino)[1]
    assert invoke("report", run.folder).returncode == 0
    assert run.report.stat().st_ino != inode  # written beside, and renamed
    page = Page(run.report)
    assert f"The frames are left out: the clips cannot be read in {wild.root}." in page.text
    assert "Of 4 clips that are answered wrong" in page.text and not page.images
    next(moved.glob('*"7"*')).unlink()
    assert invoke("report", run.folder, "--videos", moved).returncode == 0
    page = Page(run.report)
    assert len(page.images) == 9 and page.text.count("its frames cannot be read") == 1
    run.scores.unlink()
    run.model.write_bytes(b"never read")
    done = invoke("report", run.folder)
    assert done.returncode == 0 and f"{wild.root}: no such folder, so the clips are not scored" in done.stderr
    assert f"The clips are not in {wild.root} any more" in Page(run.report).text


def test_a_training_that_was_stopped_is_said_to_be(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run", wild)
    columns = "epoch,loss,accuracy,val_loss,val_accuracy,best"
    run.history.write_text(f"{columns}\n0,1,0.5,1,0.5,1\n")
    record = run.read_record()
    run.write_record({**record, "recipe": {**record.get("recipe", {}), "epochs": 400}})
    run.checkpoint.touch()
    assert invoke("report", run.folder, "--no-score").returncode == 0
    text = Page(run.report).text
    assert f"The training was stopped: clipzoo train --resume {run.folder} goes on with it." in text
    assert "1 of 400 epochs" in text
    refused(invoke("report", run.folder, "--videos", tmp_path / "none"), "none: no such folder")


def test_what_is_computed_is_kept(wild: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", wild)
    run.model.write_bytes(b"a model")
    asked: list[tuple[object, ClipIndex]] = []
    scores = replace(scored(wild, np.eye(3)[[0, 1, 2, 0, 1, 2]]), left_out=(VideoError("x.avi", "is broken"),))

    def score(model: object, index: ClipIndex, **_: Any) -> Scores:
        asked.append((model, index))
        return scores

    monkeypatch.setattr("benchmarks.run_report.score", score)
    monkeypatch.setattr("benchmarks.run_report.start_backend", lambda: "backend: none")
    monkeypatch.setattr("benchmarks.run_report._look", lambda *_, **__: None)
    done = invoke("report", run.folder)
    assert asked == [(run.model, wild.only("test"))]
    assert "scoring the 6 test clips" in done.stdout and "left out: x.avi: is broken" in done.stderr
    first = Page(run.report).text
    again = invoke("report", run.folder)
    assert len(asked) == 1 and "scoring" not in again.stdout
    assert Page(run.report).text.split("Written")[0] == first.split("Written")[0]
    # Without test clips the validation clips are scored, and the page says what that is worth.
    run = made(tmp_path / "other", replace(wild, clips=wild.clips[:6]))
    run.model.write_bytes(b"a model")
    scores = replace(scores, files=tuple(clip.file for clip in wild.clips[3:6]), logits=scores.logits[:3])
    scores = replace(scores, targets=scores.targets[:3])
    assert invoke("report", run.folder).returncode == 0 and len(asked[1][1]) == 3
    text = Page(run.report).text
    assert "top-1 on 3 validation clips" in text and "There is no figure on test clips" in text


def test_speed_and_the_command_to_do_it_again(wild: ClipIndex, tmp_path: Path) -> None:
    run = made(tmp_path / "run", wild)
    Results.start(run.folder / "bench.jsonl", a_setup(device="A processor", started="2026-01-02T03:04")).add(a_row())
    write_report(run, tmp_path / "without.html")
    assert "No speed is in the folder" in Page(tmp_path / "without.html").text
    assert invoke("report", run.folder, "--no-score").returncode == 0
    page = Page(run.report)
    row = a_row()
    assert f"4 {row.clips_per_second:.1f} {row.summary()['p50_ms']:.1f} ms" in page.text
    assert "A processor" in page.text and "2026-01-02" in page.text
    assert "clipzoo train 'my clips' --model mobilenet_gru" in page.text
    again = shlex.join(
        ["clipzoo", "train", str(wild.root), "--list", str(run.clips), "--recipe", str(run.record), "--out", "again"]
    )
    assert f"KERAS_BACKEND=jax {again}" in page.text
    own = made(tmp_path / "own", wild, model="mine", command=["-m", "pytest"])
    text = Page(write_report(own.folder)).text
    assert "The model is none of the zoo" in text and "as it was typed" not in text
    onward = made(tmp_path / "onward", wild, model="mine", weights="/a/run")
    assert "--weights /a/run --out again" in Page(write_report(onward)).text
    twice = made(tmp_path / "twice", wild, refit={"clips": 15, "epochs": 2, "validated": {"val_accuracy": 0.5}})
    assert "was trained on 15 clips" in Page(write_report(twice)).text


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_have_their_figures(motion: ClipIndex, tmp_path: Path, task: Task) -> None:
    label: Any = ("b",) if task == "multilabel" else (1.0, 20.0)
    other: Any = ("a", "b") if task == "multilabel" else (3.0, 10.0)
    clips = tuple(
        clip._replace(label=other if n % 3 else label, split=("train", "test")[n % 2]) for n, clip in enumerate(motion)
    )
    index = ClipIndex(motion.root, clips, ("a", "b"), task)
    run = made(tmp_path / "run", index, history=True)
    scores = scored(index, np.tile([2.0, 15.0] if task == "regression" else [3.0, 4.0], (24, 1)))
    scores.save(run.scores)
    page = Page(write_report(run, scores=matched(scores, index)))
    for line in scores.evaluate().lines():
        assert line.split()[-1].strip("()") in page.text
    if task == "multilabel":
        wrong = sum("a" not in clip.names for clip in index.only("test"))
        assert f"Of {wrong} clips with a wrong label" in page.text
        assert "True: no a . Answer: a (95.3%)" in page.text
        assert (
            "66.7% mean average precision" not in page.text and "mean average precision on 24 test clips" in page.text
        )
    else:
        assert "1 mean absolute error of a on 24 test clips" in page.text
        assert "True: a 1, b 20 . Answer: a 2, b 15 ." in page.text
    assert page.html.count("<svg") == (3 if task == "multilabel" else 4)
    assert page.images


def test_an_old_run_has_a_page(tmp_path: Path) -> None:
    assert invoke("report", FIXTURES / "old_run", "--no-score", "--out", tmp_path / "page.html").returncode == 0
    text = Page(tmp_path / "page.html").text
    assert "dtpp_rgb on clips" in text and "the best was epoch 13" in text
    assert "split by seed 3, no groups known" in text


def test_what_is_no_run_is_refused(wild: ClipIndex, tmp_path: Path) -> None:
    refused(invoke("report", tmp_path / "none"), "no such folder")
    refused(invoke("report", wild.root), "is no run, it has no run.json")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "checkpoint.keras").touch()
    refused(invoke("report", tmp_path / "begun"), "stopped in its first epoch", "clipzoo train --resume")
    run = made(tmp_path / "run", wild)
    run.history.write_text("epoch,loss\n0,much\n")
    refused(invoke("report", run.folder, "--no-score"), "history.csv: cannot be read as the history of a run")
    run.history.write_text("epoch,speed\n0,1\n")
    refused(invoke("report", run.folder, "--no-score"), "history.csv: is damaged or of no run, it lacks loss, accuracy")
    run.history.unlink()
    run = made(tmp_path / "run", wild, specs={"video": 5})
    refused(invoke("report", run.folder, "--no-score"), "run.json: cannot be read", "a ClipSpec is a table")
    run = made(tmp_path / "run", wild)
    refused(invoke("report", run.folder, "--no-score", "--out", tmp_path), "is a folder")
    run.scores.write_bytes(b"damaged")
    refused(invoke("report", run.folder), "scores.npz", "is no file of")
    scores = scored(wild, np.zeros((6, 3)))
    replace(scores, files=tuple("abcdef")).save(tmp_path / "other.npz")
    refused(invoke("report", run.folder, "--scores", tmp_path / "other.npz"), "not of the clips of one split")
    replace(scores, labels=("x", "y", "z")).save(tmp_path / "other.npz")
    refused(invoke("report", run.folder, "--scores", tmp_path / "other.npz"), "the scores are of")
    assert not run.report.exists()


def test_scores_find_their_clips(tmp_path: Path) -> None:
    parts = [Clip("a.avi", "x", "test", None, n, n + 1) for n in (0.0, 1.0)]
    index = ClipIndex(tmp_path, (*parts, Clip("b.avi", "y", "test"), Clip("c.avi", "y", "train")))
    whole = scored(index, np.zeros((3, 2)))
    found = matched(whole, index)
    assert (found.split, found.clips, found.missing) == ("test", (*parts, index[2]), 0)
    lacking = replace(whole, logits=whole.logits[:2], targets=whole.targets[1:], files=("a.avi", "b.avi"))
    found = matched(lacking, index)
    assert (found.clips, found.missing) == ((None, index[2]), 1)  # which part of a.avi it is nobody knows
    run = made(tmp_path / "run", index)
    run.model.write_bytes(b"a model")
    keep(run, lacking)
    again = kept(run, run.index())
    assert again is not None and again.missing == 1
    assert "1 more clips of this split have no score" in Page(write_report(run, scores=again)).text
    run.model.write_bytes(b"another model")
    assert kept(run, run.index()) is None


def test_the_worst_mistakes_are_the_most_confident(tmp_path: Path) -> None:
    truth = ("x", "x", "y", "y", "x")
    index = ClipIndex(tmp_path, tuple(Clip(f"{n}.avi", label, "test") for n, label in enumerate(truth)))
    found = worst(scored(index, np.array([[0, 1], [0, 3], [2, 0], [0, 9], [4, 0]], float)), most=2)
    assert [(each.file, each.truth, each.answer, each.confidence) for each in found] == [
        ("1.avi", "x", "y", "95.3%"), ("2.avi", "y", "x", "88.1%"),
    ]  # fmt: skip


def test_bins_of_confidence_make_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200)
    right = rng.random(200) < confidence**2
    held = calibration_bins(confidence, right)
    assert sum(each.clips for each in held) == 200 and sum(each.right for each in held) == right.sum()
    gaps = sum(abs(each.clips * each.confidence - each.right) for each in held) / 200
    assert calibration_error(confidence, right) == pytest.approx(gaps)
    assert all(low.confidence < high.confidence for low, high in pairwise(held))


@pytest.mark.keras
@pytest.mark.either
@pytest.mark.slow
def test_report_scores_what_evaluate_would_and_its_command_trains_again(
    run: Path, videos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("scores.npz"))
    assert "no scores are kept yet: scoring the 2 test clips" in invoke("report", folder).stdout
    text = Page(folder / "report.html").text
    computed = Scores.load(folder / "scores.npz")
    wrong = bool((computed.probabilities.argmax(axis=1) != computed.targets).any())
    assert ("The longer the bar under a frame" in text) == wrong
    assert invoke("evaluate", folder, videos, "--scores", tmp_path / "scores.npz").returncode == 0
    np.testing.assert_allclose(computed.logits, Scores.load(tmp_path / "scores.npz").logits, rtol=1e-5)
    words = shlex.split(text.partition("in the same splits: ")[2].partition(" Written")[0])
    assert words[0].startswith("KERAS_BACKEND=") and words[1] == "clipzoo" and words[-1] == "again"
    done = invoke(*words[2:-1], tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "again").clips.read_text() == Run(run).clips.read_text()
    first, again = (Run(each).read_history()[0]["loss"] for each in (run, tmp_path / "again"))
    assert again == pytest.approx(first, rel=1e-4)
