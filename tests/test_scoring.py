"""One way to score: Keras, a run and an ONNX file give the same, and what cannot be read is left out by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from export import Classifier, score
from export.scoring import ScorableModel, open_model
from loaders import Clip, ClipDataset, ClipIndex, ClipSpec, ClipzooError, VideoError
from tests.support.onnx_files import LABELS, write_model

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file for clips of dark and bright."""
    return write_model(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture
def index(motion: ClipIndex) -> ClipIndex:
    """Eight clips, labeled at random."""
    clips = tuple(clip._replace(label=LABELS[n % 2]) for n, clip in enumerate(motion.clips[:8]))
    return ClipIndex(motion.root, clips, tuple(reversed(LABELS)))


def test_a_file_is_scored_as_the_classifier_answers(model: Path, index: ClipIndex) -> None:
    scores = score(model, index, batch=3)
    assert scores.labels == LABELS  # the model's order, whatever the index has
    assert scores.files == tuple(clip.file for clip in index)
    assert scores.targets.tolist() == [0, 1] * 4
    answers = np.array([p.probability for p in Classifier(model).predict(index.paths)])
    np.testing.assert_allclose(scores.probabilities.max(axis=1), answers, rtol=1e-5)
    again = score(Classifier(model), index, batch=8, workers=1)
    np.testing.assert_allclose(again.logits, scores.logits, rtol=1e-5)
    result = scores.evaluate()
    assert result.lines()[-1] == f"always guessing {LABELS[0]!r}, the largest class, gives 50.0%"


@pytest.mark.parametrize("crops", [1, 10])
def test_what_cannot_be_read_is_left_out_and_named_once(
    model: Path, index: ClipIndex, tmp_path: Path, crops: int
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = str(tmp_path / "broken.mp4")
    clips = (Clip(broken, LABELS[0]), *index.clips[:4], Clip(broken, LABELS[1], start=0, end=1), *index.clips[4:])
    mixed = ClipIndex(index.root, clips, index.labels)
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        score(model, mixed, crops=crops)
    steps: list[int] = []
    scores = score(model, mixed, batch=3, crops=crops, on_error="skip", advance=lambda: steps.append(1))
    assert len(steps) == 10
    assert [error.path for error in scores.left_out] == [broken]
    assert scores.files == tuple(clip.file for clip in index)
    np.testing.assert_allclose(scores.logits, score(model, index, crops=crops).logits, rtol=1e-5)
    with pytest.raises(ClipzooError, match=r"none of the 1 clips can be read; the first: .*broken\.mp4"):
        score(model, ClipIndex(index.root, clips[:1], index.labels), crops=crops, on_error="skip")


def test_what_does_not_fit_is_refused(model: Path, index: ClipIndex, motion: ClipIndex) -> None:
    with pytest.raises(ClipzooError, match="does not know down"):
        score(model, motion)
    numbers = ClipIndex(motion.root, (Clip("a.avi", (1.0,)),), ("x",), "regression")
    with pytest.raises(ClipzooError, match="labeled for regression, the model is for classification"):
        score(model, numbers)
    for option, said in (({"crops": 0}, r"crops \(0\) must be 1, 3 or 10"), ({"views": 0}, r"views \(0\)")):
        with pytest.raises(ClipzooError, match=said):
            score(model, index, **option)
    with pytest.raises(ClipzooError, match=r"provider 'cuda' is for \.onnx files"):
        open_model("run", provider="cuda")
    with pytest.raises(ClipzooError, match="provider 'cuda'"):
        score(model, index, provider="cuda")


def test_predict_leaves_out_what_cannot_be_read_with_a_warning(model: Path, index: ClipIndex, tmp_path: Path) -> None:
    classifier = Classifier(model)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    files = [index.path(0), tmp_path / "broken.mp4", index.path(1)]
    with pytest.warns(UserWarning, match=r"left out: .*broken\.mp4: is not a video"):
        found = classifier.predict(files, on_error="skip")
    assert [each.file for each in found] == [str(files[0]), str(files[2])]
    with pytest.warns(UserWarning, match=r"left out: .*broken\.mp4"):
        windows = classifier.predict_windows(files, 0.2, on_error="skip")
    assert {each.file for each in windows} == {str(files[0]), str(files[2])}
    with warnings.catch_warnings(), pytest.raises(ClipzooError, match="none of the 1 files can be read"):
        warnings.simplefilter("ignore")
        classifier.predict(files[1:2], on_error="skip")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        classifier.predict(files)
    mixed = [np.zeros((2, 8, 10, 3), np.uint8), files[1], files[2]]
    with pytest.warns(UserWarning, match=r"left out: .*broken\.mp4"):
        assert [each.file for each in classifier.predict(mixed, on_error="skip")] == [None, str(files[2])]
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        classifier.predict(mixed)


@pytest.mark.keras
@pytest.mark.either
def test_keras_is_scored_the_same_way(motion: ClipIndex) -> None:
    import zoo

    keras_model = zoo.create_model("convnet_gru", classes=motion.labels, frames=3, size=16, width=0.125, units=4)
    index = ClipIndex(motion.root, motion.clips[:10], motion.labels)
    scores = score(keras_model, index, batch=4)
    outputs = zoo.with_logits(keras_model).predict(ClipDataset(index, zoo.specs(keras_model)), verbose=0)
    np.testing.assert_allclose(scores.logits, outputs["logits"], atol=1e-5)
    np.testing.assert_allclose(scores.probabilities, outputs["probabilities"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.either
def test_a_run_of_the_first_version_still_loads_goes_on_and_is_scored(motion: ClipIndex, tmp_path: Path) -> None:
    """Written before splits, recipes and seals had their names: by the code at 23e9095, with Keras 3.12.0."""
    import zoo
    from zoo.run import Run
    from zoo.saving import saved_specs

    old = Run(FIXTURES / "old_run")
    record = old.read_record()
    assert "split" in record and "splits" not in record  # it is old
    assert old.label_columns == ["label"] and old.read_history()
    model = zoo.load_model(old.folder)
    assert zoo.labels(model) == motion.labels
    assert saved_specs(old.folder) == zoo.specs(model)
    scores = score(old.folder, motion)
    assert scores.logits.shape == (48, 6) and np.isfinite(scores.logits).all()
    new = zoo.train(motion, old.folder, zoo.Recipe(epochs=1, batch=24), out=tmp_path / "run")
    assert new.read_record()["weights"] == str(old.folder.resolve())


def test_anything_with_outputs_can_be_scored(index: ClipIndex) -> None:
    spec = ClipSpec(frames=2, height=8, width=8)

    def outputs(clips: object) -> dict[str, np.ndarray]:
        count = len(clips["x"])  # type: ignore[index]
        return {"logits": np.tile(np.array([[1.0, 2.0]], np.float32), (count, 1))}

    scores = score(ScorableModel(labels=LABELS, task="classification", specs={"x": spec}, outputs=outputs), index)
    assert scores.logits.tolist() == [[1.0, 2.0]] * 8
