"""What a model gives before its head: the same from Keras and from the ONNX file, and really what the head is given."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet
import pytest

import zoo
from export import Classifier, Metadata, extract_features, score, to_onnx
from export.corpus import ClipWorker
from export.features import open_extractor
from loaders import ClipIndex, ClipzooError, index_files
from tests.support.commands import invoke, refused
from tests.support.models import LABELS, clips_for, lively
from tests.support.onnx_files import write_model

pytestmark = [pytest.mark.keras, pytest.mark.either]
CASES = [("convnet_gru", "dense4"), ("mobilenet_average", "average"), ("dtpp", "rgb_pyramid+flow_pyramid")]


QUICK_CASES = [CASES[1], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case is not CASES[1])]


def after_head(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """Logits by NumPy: the dense layers of the model on features, those of two streams one behind the other."""
    heads = [layer for layer in model.layers if layer.name.endswith("logits") and layer.get_weights()]
    weights = [0.4, 0.6] if len(heads) == 2 else [1.0]
    parts = np.split(features, np.cumsum([head.kernel.shape[0] for head in heads])[:-1], axis=1)
    return sum(
        weight * (part @ np.asarray(head.kernel) + np.asarray(head.bias))
        for weight, head, part in zip(weights, heads, parts, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mobilenet_average", "average"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (*CASES, ("dtpp_rgb", "rgb_pyramid"), ("i3d", "average"))
            if case[0] != "mobilenet_average"
        ),
    ],
)
def test_the_head_on_the_features_gives_the_model_s_own_answer(name: str, layer: str) -> None:
    model = lively(name)
    clips = clips_for(model)
    found = zoo.with_features(model).predict_on_batch(clips)
    wanted = zoo.with_logits(model).predict_on_batch(clips)
    assert zoo.feature_layer(model) == layer
    assert np.ptp(found["features"], axis=0).max() > 0
    np.testing.assert_allclose(after_head(model, found["features"]), wanted["logits"], atol=1e-4)
    np.testing.assert_array_equal(found["probabilities"], wanted["probabilities"])


def test_of_numbers_too_the_head_is_what_comes_after() -> None:
    model = lively("convnet_gru", classes=2, task="regression")
    answer = model.get_layer("values")
    answer.scale.assign([2.0, 3.0])
    answer.offset.assign([1.0, -1.0])
    found = zoo.with_features(model).predict_on_batch(clips_for(model))
    wanted = after_head(model, found["features"]) * [2, 3] + [1, -1]
    np.testing.assert_allclose(found["values"], wanted, atol=1e-4)


@pytest.mark.parametrize(("name", "layer"), QUICK_CASES)
def test_the_onnx_file_gives_the_same_features_and_answers(name: str, layer: str, tmp_path: Path) -> None:
    model, file = lively(name), tmp_path / "model.onnx"
    metadata = to_onnx(model, file, features=True)
    assert metadata.features == layer == Metadata.read(file).features
    assert 0 <= metadata.parity["features"] < 1e-4
    classifier, clips = Classifier(file), clips_for(model, count=4)
    wanted = zoo.with_features(model).predict_on_batch(clips)
    found = classifier.features(clips)
    assert found.dtype == np.float32 and found.shape == wanted["features"].shape
    np.testing.assert_allclose(found, wanted["features"], atol=1e-4 * np.ptp(wanted["features"]))
    scores = classifier.scores(clips)
    assert list(scores) == ["logits", "probabilities"]
    np.testing.assert_allclose(scores["probabilities"], wanted["probabilities"], atol=1e-4)
    assert [output.name for output in classifier.session.get_outputs()] == ["logits", "probabilities", "features"]


@pytest.mark.either
@pytest.mark.slow
def test_a_float16_file_has_features_in_float32(tmp_path: Path) -> None:
    model, file = lively("mobilenet_average"), tmp_path / "model.onnx"
    to_onnx(model, file, features=True, precision="float16")
    clips = clips_for(model)
    found, wanted = Classifier(file).features(clips), zoo.with_features(model).predict_on_batch(clips)["features"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-2 * np.ptp(wanted))


def test_another_layer_is_averaged_over_steps_and_places() -> None:
    model = lively("convnet_gru")
    clips = clips_for(model)
    frames = model.get_layer("frames")
    steps = keras.Model(model.input, frames.output).predict_on_batch(clips)
    found = zoo.with_features(model, layer="frames").predict_on_batch(clips)
    np.testing.assert_allclose(found["features"], steps.mean(axis=1), atol=1e-5)
    assert found["features"].shape != zoo.with_features(model).output["features"].shape
    inner = next(layer for layer in frames.layer.layers if isinstance(layer, keras.layers.Conv2D))
    pixels = model.get_layer("clip_input")(clips)
    network = keras.Model(frames.layer.input, inner.output)
    maps = np.stack([np.asarray(network(pixels[:, n])) for n in range(pixels.shape[1])], axis=1)
    found = zoo.with_features(model, layer=inner.name).predict_on_batch(clips)
    np.testing.assert_allclose(found["features"], maps.mean(axis=(1, 2, 3)), atol=1e-4)
    with pytest.raises(ClipzooError, match="has no layer 'framse'; did you mean frames"):
        zoo.with_features(model, layer="framse")


def test_a_layer_inside_both_streams_gives_the_features_of_both() -> None:
    model = lively("dtpp")
    inner = model.get_layer("rgb_frames").layer.layers[1].name
    one = zoo.with_features(lively("dtpp_rgb"), layer=inner).output["features"].shape[1]
    assert zoo.with_features(model, layer=inner).output["features"].shape[1] == 2 * one


def test_a_model_without_a_dense_head_says_so() -> None:
    model = lively("convnet_gru")
    squared = zoo.layers.OutputActivation(LABELS, name="probabilities")(
        keras.ops.square(model.get_layer("logits").output)
    )
    odd = keras.Model(model.input, squared, name="odd")
    with pytest.raises(ClipzooError, match="'odd' does not end in a dense layer"):
        zoo.with_features(odd)
    assert zoo.with_features(odd, layer="dense4").output["features"].shape == (None, 64)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Path:
    """The run, exported by the command with its features."""
    out = tmp_path_factory.mktemp("features") / "model.onnx"
    done = invoke("export", run, out, "--features", "--force")
    assert done.returncode == 0, done.stderr
    assert "features: what layer 'dense4' gives" in done.stdout
    return out


@pytest.mark.slow
def test_the_command_writes_what_keras_and_the_file_give(run: Path, file: Path, videos: Path, tmp_path: Path) -> None:
    found = {}
    for model in (run, file):
        out = tmp_path / f"{model.name}.npz"
        done = invoke("features", model, videos, "--out", out, "--batch", 5)
        assert done.returncode == 0, done.stderr
        assert f"wrote {out}: 16 clips, 64 features each, of layer 'dense4'" in done.stdout
        with np.load(out, allow_pickle=False) as held:
            found[model] = dict(held)
    ours, theirs = found[run], found[file]
    np.testing.assert_allclose(ours["features"], theirs["features"], atol=1e-4)
    assert ours["features"].dtype == np.float32 and np.ptp(ours["features"], axis=0).max() > 0
    # A run on its own clips knows their splits, and left the broken one out when it was trained.
    assert sorted(ours["splits"]) == sorted(["train"] * 12 + ["validation"] * 2 + ["test"] * 2)
    assert set(theirs["splits"]) == {""}
    assert dict(zip(ours["files"], ours["labels"], strict=True)) == dict(
        zip(theirs["files"], theirs["labels"], strict=True)
    )
    assert set(theirs["labels"]) == {"left", "up"} and np.isnan(theirs["starts"]).all()
    assert str(theirs["layer"]) == "dense4" and str(theirs["model"]) == "convnet_gru"
    assert json.loads(str(theirs["specs"]))["video"]["frames"] == 4
    # The rows are those of the files: the head on them answers as the file does for each.
    logits = after_head(zoo.load_model(run), theirs["features"])
    for name, row in zip(theirs["files"], logits, strict=True):
        assert Classifier(file).predict(videos / name).label == ("left", "up")[int(row.argmax())]
    done = invoke("features", run, videos, "--split", "test", "--out", tmp_path / "test.npz")
    assert done.returncode == 0 and ": 2 clips" in done.stdout, done.stderr
    moved = shutil.copytree(videos, tmp_path / "moved")
    shutil.copy(next((moved / "left").iterdir()), moved / "left" / "new.avi")
    done = invoke("features", run, moved, "--out", tmp_path / "more.npz")
    assert done.returncode == 0 and ": 17 clips" in done.stdout, done.stderr
    assert "of no split" in done.stdout


def test_a_command_on_a_file_goes_on_where_it_was_interrupted(
    file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, read = ClipWorker.__call__, list[str]()

    def once(worker: ClipWorker, items: Any) -> Any:
        if len(read) >= 8:
            raise KeyboardInterrupt
        read.extend(item.file for item in items)
        return answer(worker, items)

    with monkeypatch.context() as patched:
        patched.setattr(ClipWorker, "__call__", once)
        assert invoke("features", file, videos, "--out", tmp_path / "f.npz").returncode == 130
    assert len(read) == 8 and not (tmp_path / "f.npz").exists()
    monkeypatch.setattr(
        ClipWorker, "__call__", lambda worker, items: read.extend(each.file for each in items) or answer(worker, items)
    )
    done = invoke("features", file, videos, "--out", tmp_path / "f.npz")
    assert done.returncode == 0 and ": 16 clips" in done.stdout, done.stderr
    assert len(read) == len(set(read)) == 17  # none twice, the broken one among them
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.slow
def test_parquet_has_a_row_a_clip(file: Path, videos: Path, tmp_path: Path) -> None:
    clips = sorted((videos / "left").glob("*.avi"))[:2]
    rows = [f"left/{clips[0].name},left,train,0,0.2", f"left/{clips[1].name},left,,,"]
    (tmp_path / "list.csv").write_text("\n".join(["file,label,split,start,end", *rows]) + "\n")
    out = tmp_path / "features.parquet"
    done = invoke("features", file, videos, "--list", tmp_path / "list.csv", "--out", out)
    assert done.returncode == 0, done.stderr
    table = pyarrow.parquet.read_table(out)
    assert table.column("file").to_pylist() == [f"left/{clip.name}" for clip in clips]
    assert table.column("label").to_pylist() == ["left", "left"]
    assert table.column("split").to_pylist() == ["train", ""]
    assert table.column("start").to_pylist() == [0.0, None] and table.column("end").to_pylist() == [0.2, None]
    assert table.schema.metadata[b"clipzoo.layer"] == b"dense4"
    wanted = extract_features(file, index_files(clips[1]))
    np.testing.assert_array_equal(np.array(table.column("features").to_pylist(), np.float32)[1], wanted.features[0])


@pytest.mark.slow
def test_clips_need_no_labels_and_broken_ones_are_left_out_or_named(file: Path, videos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for clip in sorted((videos / "left").glob("*.avi"))[:3]:
        shutil.copy(clip, flat / clip.name)
    shutil.copy(videos / "up" / "broken.mp4", flat)
    out = tmp_path / "new" / "features.npz"
    done = invoke("features", file, flat, "--out", out)
    assert done.returncode == 0 and done.stderr.count("broken.mp4") == 1, done.stderr
    with np.load(out) as held:
        assert held["labels"].tolist() == ["", "", ""] and len(held["features"]) == 3
    before = out.read_bytes()
    refused(invoke("features", file, flat, "--out", out, "--on-error", "fail"), "broken.mp4: is not a video")
    assert out.read_bytes() == before and [each.name for each in out.parent.iterdir()] == ["features.npz"]
    (flat / "broken.mp4").unlink()
    assert invoke("features", file, flat, "--batch", 1, "--out", out).returncode == 0  # replaced, as everywhere
    with np.load(out) as held:
        assert len(held["features"]) == 3


def test_several_labels_and_numbers_are_text(motion: ClipIndex) -> None:
    model = lively("convnet_gru")
    clips = [clip._replace(label=label) for clip, label in zip(motion, (("a", "b"), (), None), strict=False)]
    found = extract_features(model, ClipIndex(motion.root, tuple(clips), ("a", "b"), "multilabel"))
    assert found.labels == ("a, b", "", "") and found.files == tuple(clip.file for clip in clips)
    numbers = ClipIndex(motion.root, (clips[0]._replace(label=(1.5, 2.0)),), ("x", "y"), "regression")
    assert extract_features(open_extractor(model), numbers).labels == ("1.5, 2",)


def test_a_value_that_is_no_number_is_named(motion: ClipIndex) -> None:
    model = lively("convnet_gru")
    bias = model.get_layer("dense4").bias
    bias.assign(np.full(bias.shape, np.inf))
    few = ClipIndex(motion.root, motion.clips[:1])
    with pytest.raises(ClipzooError, match="layer 'dense4' of convnet_gru gives values that are no finite numbers"):
        extract_features(model, few)


@pytest.mark.either
def test_what_cannot_be_done_is_said_before_clips_are_read(
    file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.npz"
    read: list[object] = []
    monkeypatch.setattr("export.scoring.read_batches", lambda *a, **k: read.append(a))
    for wrong in ("x.csv", "x"):
        refused(invoke("features", file, videos, "--out", tmp_path / wrong), wrong, "ends in .npz or .parquet")
    refused(invoke("features", file, videos, "--out", tmp_path / "a.npz" / ".npz"), "ends in .npz or .parquet")
    (tmp_path / "folder.npz").mkdir()
    refused(invoke("features", file, videos, "--out", tmp_path / "folder.npz"), "is a folder")
    plain = write_model(tmp_path / "plain.onnx")
    refused(invoke("features", plain, videos, "--out", out), "exported without features", "--features")
    refused(invoke("features", file, videos, "--layer", "frames", "--out", out), "of layer 'dense4', not 'frames'")
    (tmp_path / "empty").mkdir()
    refused(invoke("features", file, tmp_path / "empty", "--out", out), "no video file in it")
    refused(invoke("features", file, tmp_path / "none", "--out", out), "no such folder")
    refused(invoke("features", tmp_path / "none", videos, "--out", out), "no such model file")
    refused(invoke("features", "i3d_kinetic", videos, "--out", out), "did you mean i3d_kinetics400?")
    refused(invoke("features", file, videos, "--provider", "cuda", "--out", out), "provider 'cuda' is not in this")
    monkeypatch.setattr("export.features.find_spec", lambda name: None)
    refused(invoke("features", file, videos, "--out", tmp_path / "x.parquet"), 'pip install "clipzoo[parquet]"')
    assert not read and sorted(each.name for each in tmp_path.iterdir()) == ["empty", "folder.npz", "plain.onnx"]


@pytest.mark.either
def test_files_that_say_wrong_things_of_their_features_are_refused(tmp_path: Path) -> None:
    for text, said in (('"average"', "says that it gives features"), ("5", "names no layer for its features")):
        file = write_model(tmp_path / "model.onnx", props={"clipzoo.features": text})
        with pytest.raises(ClipzooError, match=said):
            Classifier(file)
    assert Classifier(write_model(tmp_path / "model.onnx")).metadata.features == ""


@pytest.mark.either
def test_a_model_that_is_none_of_the_zoo_s_has_no_features_to_export(tmp_path: Path) -> None:
    clip = keras.Input((2, 8, 8, 3))
    model = keras.Model(clip, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling3D()(clip)), name="mine")
    spec = next(iter(zoo.specs(lively("convnet_gru", frames=2)).values())).replace(height=8, width=8)
    with pytest.raises(ClipzooError, match=r"'mine' is none of the zoo's.*--features"):
        to_onnx(model, tmp_path / "mine.onnx", spec=spec, labels=["a", "b"], features=True)


@pytest.mark.slow
def test_features_of_the_preset_are_what_its_head_is_given(i3d_weights: Path, motion: ClipIndex) -> None:
    assert i3d_weights.is_file()
    model = zoo.load_preset("i3d_kinetics400")
    few = ClipIndex(motion.root, motion.clips[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract_features(model, few)
    assert found.features.shape == (2, 1024) and found.layer == "average"
    assert found.origins[0]["author"] == "DeepMind"
    answers = open_extractor(model)
    assert answers.layer == "average"
    index = ClipIndex(motion.root, tuple(clip._replace(label=answers.labels[0]) for clip in few))
    np.testing.assert_allclose(after_head(model, found.features), score(model, index).logits, atol=1e-3)
