"""Figures from labels and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import ClipzooError
from loaders.pictures import draw_clips
from loaders.tasks import Task
from zoo.calibration import calibration_error
from zoo.evaluation import evaluate, evaluate_task, wilson
from zoo.pictures import draw_confusion, draw_curves, draw_result

PNG = b"\x89PNG\r\n\x1a\n"


def test_figures_of_a_small_set_by_hand() -> None:
    scores = np.eye(3)[[0, 0, 1, 1, 1, 2]]
    result = evaluate([0, 0, 0, 1, 1, 1], scores, ("a", "b", "c"))
    assert result.top1 == pytest.approx(4 / 6)
    assert result.class_accuracy == {"a": pytest.approx(2 / 3), "b": pytest.approx(2 / 3), "c": None}
    assert result.mean_class_accuracy == pytest.approx(2 / 3)
    assert result.confusion == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]


def test_mean_per_class_accuracy_weighs_classes_alike() -> None:
    scores = np.eye(2)[[0] * 9 + [0]]
    result = evaluate([0] * 9 + [1], scores, ("a", "b"))
    assert (result.top1, result.mean_class_accuracy) == (pytest.approx(0.9), pytest.approx(0.5))


def test_the_interval_is_wilson_s() -> None:
    assert wilson(45, 60) == pytest.approx((0.6276, 0.8422), abs=1e-3)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 10)[0] == pytest.approx(0.0)


def test_the_calibration_error_is_the_mean_gap_by_hand() -> None:
    confidence, right = np.array([0.9, 0.9, 0.9, 0.9, 0.55, 0.55]), np.array([True, True, True, False, True, False])
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.15 + 2 * 0.05) / 6)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert evaluate([0, 1, 0], scores, ("a", "b")).calibration_error == pytest.approx((2 * 0.4 + 0.4) / 3)


@given(total=st.integers(1, 500), data=st.data())
def test_the_interval_holds_the_share(total: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, total))
    low, high = wilson(right, total)
    assert 0 <= low <= right / total + 1e-12 and right / total - 1e-12 <= high <= 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ClipzooError, match="do not fit"):
        evaluate([0, 1], np.zeros((3, 2)), ("a", "b"))
    with pytest.raises(ClipzooError, match="not numbers"):
        evaluate([0], np.array([[np.nan, 1.0]]), ("a", "b"))


def test_pictures_are_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"action {n}" for n in range(51))
    draw_confusion(evaluate(rng.integers(0, 51, 300).tolist(), rng.random((300, 51)), labels), tmp_path / "confusion")
    history = [{"epoch": float(e), "loss": 1 / (e + 1), "accuracy": 0.5, "best": 1.0} for e in range(3)]
    draw_curves(history, tmp_path / "h.PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion", "h.PNG"]
    assert {path.read_bytes()[:8] for path in tmp_path.iterdir()} == {PNG}


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_dollars_in_a_label_are_dollars(tmp_path: Path, task: Task) -> None:
    """What stands between two of them would be read as a formula."""
    labels, scores = ("win_$5_or_$6", "a$_$"), np.array([[0.9, 0.1], [0.2, 0.8]])
    truth = [0, 1] if task == "classification" else np.array([[1, 0], [0, 1]])
    draw_result(evaluate_task(task, truth, scores, labels), tmp_path / "result.png")
    draw_clips(np.zeros((2, 1, 8, 8, 3), np.uint8), labels, tmp_path / "clips.png")
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.iterdir())
