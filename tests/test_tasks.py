"""Several labels a clip, and numbers: they train, are evaluated, saved, exported and answered like classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from benchmarks.harness.models import randomize
from loaders import ClipDataset, ClipIndex, ClipzooError, write_csv
from loaders.tasks import Task
from tests.support.commands import invoke
from zoo.evaluation import LabelEvaluation, NumberEvaluation, average_precision, evaluate_task
from zoo.recipe import Recipe
from zoo.training import fit

TAGS = {"left": ("sideways",), "right": ("sideways",), "up": ("upright",), "down": ("upright",), "turning": (),
        "growing": ("sideways", "upright")}  # fmt: skip
NUMBERS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0), "turning": (0.0, 0.0),
           "growing": (0.5, 0.5)}  # fmt: skip


def relabeled(motion: ClipIndex, task: Task) -> ClipIndex:
    table: dict[str, Any] = TAGS if task == "multilabel" else NUMBERS
    labels = ("sideways", "upright") if task == "multilabel" else ("x", "y")
    return ClipIndex(motion.root, tuple(c._replace(label=table[str(c.label)]) for c in motion), labels, task)


def small(index: ClipIndex) -> Any:
    return zoo.create_model("stripes_average", classes=index.labels, task=index.task, frames=4, size=16, dropout=0.0)


@pytest.mark.keras
@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("task", ["multilabel", pytest.param("regression", marks=pytest.mark.slow)])
def test_a_task_trains_is_evaluated_and_saved(motion: ClipIndex, tmp_path: Path, task: Task) -> None:
    index = relabeled(motion, task).split(validation=0.25, test=0, seed=0)
    model = small(index)
    validation = ClipDataset(index.only("validation"), zoo.specs(model))
    run = zoo.train(index, model, Recipe(epochs=4, augmentation="none"), out=tmp_path)
    history = run.read_history()
    assert history[-1]["loss"] < history[0]["loss"]
    metric = "label_accuracy" if task == "multilabel" else "mean_absolute_error"
    assert {metric, f"val_{metric}"} <= set(history[0])
    assert (tmp_path / "curves.png").is_file()
    loaded = zoo.load_model(tmp_path / "last.keras")
    assert (zoo.labels(loaded), zoo.task(loaded)) == (index.labels, task)
    scores = loaded.predict(validation, verbose=0)
    np.testing.assert_allclose(scores, model.predict(validation, verbose=0), atol=1e-5)
    result = evaluate_task(task, validation.index.targets, scores, index.labels)
    assert isinstance(result, LabelEvaluation if task == "multilabel" else NumberEvaluation)
    outputs = zoo.with_logits(loaded).predict(validation[0][0], verbose=0)
    assert list(outputs) == (["logits", "probabilities"] if task == "multilabel" else ["values"])
    if task == "multilabel":
        np.testing.assert_allclose(1 / (1 + np.exp(-outputs["logits"])), outputs["probabilities"], atol=1e-5)
    with pytest.raises(ClipzooError, match="labeled for classification"):
        fit(loaded, ClipDataset(motion, zoo.specs(model)))


@pytest.mark.keras
@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("task", ["multilabel", "regression"])
@pytest.mark.either
def test_a_task_is_exported_and_answered(motion: ClipIndex, tmp_path: Path, task: Task) -> None:
    from export import Classifier, to_onnx

    index = relabeled(motion, task)
    model = randomize(small(index))
    metadata = to_onnx(model, tmp_path / "model.onnx")
    assert metadata.task == task
    classifier = Classifier(tmp_path / "model.onnx")
    dataset = ClipDataset(index, zoo.specs(model), batch_size=6)
    expected = model.predict(dataset[0][0], verbose=0)
    found = classifier.predict(index.paths[:6])
    for row, prediction in zip(expected, found, strict=True):
        if task == "regression":
            assert prediction.values == pytest.approx(dict(zip(index.labels, row.tolist(), strict=True)), abs=1e-3)
            assert (prediction.label, prediction.probabilities) == ("", {})
        else:
            assert prediction.probabilities == pytest.approx(
                dict(zip(index.labels, row.tolist(), strict=True)), abs=1e-4
            )
            assert set(prediction.labels) == {name for name, p in prediction.probabilities.items() if p >= 0.5}
    windows = classifier.predict_windows(index.paths[0], 0.2, stride=0.1)
    assert len(windows) > 1 and windows[0].start == 0


@pytest.mark.either
@pytest.mark.keras
@pytest.mark.parametrize("task", ["multilabel", "regression"])
@pytest.mark.slow
def test_the_commands_take_a_task(motion: ClipIndex, tmp_path: Path, task: Task) -> None:
    index = relabeled(motion, task).split(validation=0.25, test=0.25, seed=0)
    write_csv(index, tmp_path / "list.csv")

    def call(*words: Any) -> str:
        done = invoke(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    labels = [word for label in index.labels for word in ("--label", label)]
    run = tmp_path / "run"
    call(
        "train", motion.root, "--list", tmp_path / "list.csv", *labels, "--task", task, "--model", "convnet_gru",
        "--set", "frames=4", "--set", "size=16", "--set", "width=0.125", "--epochs", 1, "--out", run,
        "--set", "recipe.augmentation=noflip", "--set", "spec.sampling=segments", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert list((tmp_path / "cache").glob("??/*.npy"))
    call("export", run, tmp_path / "model.onnx", "--force")
    call("evaluate", run, motion.root, "--json", tmp_path / "keras.json")
    call(
        "evaluate", tmp_path / "model.onnx", motion.root, "--list", run / "split.csv", *labels,
        "--json", tmp_path / "onnx.json",
    )  # fmt: skip
    keras, onnx = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("keras", "onnx"))
    assert keras["clips"] == onnx["clips"] == len(index.only("test"))
    key = "average_precision" if task == "multilabel" else "mean_absolute_error"
    assert keras[key] == pytest.approx(onnx[key], abs=1e-3)
    assert (run / "confusion.png").is_file()
    answer = json.loads(call("predict", tmp_path / "model.onnx", motion.path(0), "--window", 0.3, "--json", "-"))
    assert len(answer) > 1 and answer[0]["start"] == 0
    assert ("sideways" if task == "multilabel" else "x") in call(
        "predict", tmp_path / "model.onnx", motion.path(0)
    ) or (task == "multilabel")


def test_average_precision_by_hand() -> None:
    truth, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, np.zeros(4)) == 0.5  # all equal: what guessing gets
    assert average_precision(np.array([0, 1]), np.array([0.1, 0.2])) == 1


def test_figures_of_several_labels_and_of_numbers() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1.0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.6, 0.2], [0.1, 0.3]])
    result = evaluate_task("multilabel", truth, scores, ("a", "b"))
    assert isinstance(result, LabelEvaluation)
    assert result.average_precision == {"a": 1.0, "b": 1.0}
    assert result.all_right == 0.5
    assert result.f1 == pytest.approx({"a": 0.8, "b": 2 / 3})
    numbers = evaluate_task("regression", np.array([[0.0], [2.0]]), np.array([[1.0], [2.0]]), ("x",))
    assert isinstance(numbers, NumberEvaluation)
    assert numbers.mean_absolute_error == {"x": 0.5}
    assert numbers.r2 == {"x": pytest.approx(0.5)}
    constant = evaluate_task("regression", np.array([[1.0], [1.0]]), np.array([[1.0], [2.0]]), ("x",))
    assert isinstance(constant, NumberEvaluation) and constant.r2 == {"x": None}
    with pytest.raises(ClipzooError, match="not numbers"):
        evaluate_task("regression", np.array([[0.0]]), np.array([[np.nan]]), ("x",))
    with pytest.raises(ClipzooError, match="fit together"):
        evaluate_task("multilabel", truth, scores[:2], ("a", "b"))


@pytest.mark.keras
def test_a_wrong_task_is_named() -> None:
    with pytest.raises(ClipzooError, match="'ranking'"):
        zoo.create_model("convnet_gru", classes=2, task="ranking")  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match="at least 1 number for regression"):
        zoo.create_model("convnet_gru", classes=0, task="regression")
    with pytest.raises(ClipzooError, match="'color'"):
        zoo.create_model("convnet_gru", classes=2, spec={"color": 1})


@pytest.mark.keras
@pytest.mark.either
def test_other_modalities_go_through_a_model(motion: ClipIndex) -> None:
    for fields in (
        {"modality": "flow", "stack": 3},
        {"modality": "gray"},
        {"modality": "grouped"},
        {"modality": "rgb_diff"},
        {"modality": "diff", "sampling": "dense"},
    ):
        model = zoo.create_model("convnet_gru", classes=motion.labels, frames=2, size=16, width=0.125, spec=fields)
        spec = zoo.specs(model)["video"]
        dataset = ClipDataset(replace(motion, clips=motion.clips[:2]), zoo.specs(model))
        assert model.predict(dataset[0][0], verbose=0).shape == (2, 6)
        assert all(getattr(spec, name) == value for name, value in fields.items())


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("modality", ["grouped", "rgb_diff"])
def test_a_model_of_another_modality_trains_and_its_file_answers_for_videos_as_keras_does(
    motion: ClipIndex, tmp_path: Path, modality: str
) -> None:
    from export import to_onnx
    from export.runtime import Classifier
    from tests.support.models import SMALL

    fields = {"modality": modality, "sampling": "segments"}
    few = ClipIndex(motion.root, motion.clips[::2], motion.labels)
    recipe = zoo.Recipe(epochs=1, batch=8, validation=0.3, test=0.0)
    options = {**SMALL["convnet_gru"], "spec": fields}
    run = zoo.train(few, "convnet_gru", recipe, out=tmp_path / "run", options=options)
    assert run.read_record()["specs"]["video"]["modality"] == modality
    trained = randomize(zoo.load_model(run.folder))
    (spec,) = zoo.specs(trained).values()
    to_onnx(trained, tmp_path / "model.onnx", force=True)
    classifier = Classifier(tmp_path / "model.onnx")
    assert classifier.specs == {"video": spec} and spec.modality == modality
    expected = trained.predict(ClipDataset(few, spec, batch_size=4)[0][0], verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-3
    for answer, row in zip(classifier.predict(few.paths[:4]), expected, strict=True):
        assert answer.probabilities == pytest.approx(dict(zip(motion.labels, row.tolist(), strict=True)), abs=1e-4)
