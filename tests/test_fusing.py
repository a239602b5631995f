"""`fuse`: two trained models of different modalities as one, in Keras, in a file and as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from loaders import ClipIndex, ClipzooError
from loaders.clip import read_inputs
from tests.support.models import STREAM, lively
from zoo.contract import origins, set_origin
from zoo.two_stream import fuse

pytestmark = pytest.mark.keras
DIFFERENCES = {"modality": "rgb_diff"}


def logits(model: keras.Model, clips: object) -> np.ndarray:
    found: np.ndarray = zoo.with_logits(model).predict(clips, verbose=0)["logits"]
    return found


@pytest.mark.either
def test_two_trained_streams_are_fused_without_training(tmp_path: Path) -> None:
    rgb, flow = (lively(f"dtpp_{m}", classes=("a", "b", "c")) for m in ("rgb", "flow"))
    model = fuse(rgb, flow, weight=0.3)
    assert list(zoo.specs(model)) == ["rgb", "flow"]
    rng = np.random.default_rng(0)
    clips = {name: rng.integers(0, 256, (2, *spec.shape), np.uint8) for name, spec in zoo.specs(model).items()}
    expected = 0.3 * logits(rgb, clips["rgb"]) + 0.7 * logits(flow, clips["flow"])
    found = zoo.with_logits(model).predict(clips, verbose=0)
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "dtpp.keras")
    again = zoo.load_model(tmp_path / "dtpp.keras")
    np.testing.assert_allclose(again.predict(clips, verbose=0), found["probabilities"], atol=1e-5)
    with pytest.raises(ClipzooError, match="both models take rgb"):
        fuse(rgb, rgb)
    with pytest.raises(ClipzooError, match="do not fit together"):
        fuse(rgb, zoo.create_model("dtpp_flow", classes=("a", "b"), **STREAM))
    with pytest.raises(ClipzooError, match="no head of its own"):
        zoo.new_head(model, ("x", "y"))
    fresh = zoo.new_head(flow, ("x", "y"))
    assert fresh.get_layer("flow_logits").output.shape == (None, 2)


@pytest.mark.slow
@pytest.mark.either
def test_numbers_are_fused_in_their_own_unit(tmp_path: Path) -> None:
    streams = [lively(f"dtpp_{m}", classes=("metres", "share"), task="regression") for m in ("rgb", "flow")]
    for stream, scale in zip(streams, (50.0, 2.0), strict=True):
        stream.get_layer("values").scale.assign([scale, 1.0])
        stream.get_layer("values").offset.assign([1000.0, 0.0])
    model = fuse(*streams, weight=0.25)
    rng = np.random.default_rng(0)
    clips = {name: rng.integers(0, 256, (2, *spec.shape), np.uint8) for name, spec in zoo.specs(model).items()}
    rgb, flow = (each.predict(clips[n], verbose=0) for each, n in zip(streams, clips, strict=True))
    model.save(tmp_path / "both.keras")
    for each in (model, zoo.load_model(tmp_path / "both.keras")):
        np.testing.assert_allclose(each.predict(clips, verbose=0), 0.25 * rgb + 0.75 * flow, rtol=1e-5, atol=1e-4)
    assert zoo.task(zoo.create_model("dtpp", classes=2, task="regression", **STREAM)) == "regression"


@pytest.mark.parametrize("kind", ["mobilenet_gru", pytest.param("i3d", marks=pytest.mark.slow)])
def test_any_two_models_of_different_modalities_are_fused(motion: ClipIndex, tmp_path: Path, kind: str) -> None:
    from export import to_onnx
    from export.runtime import Classifier

    first = lively(kind, classes=motion.labels)
    other: dict[str, Any] = {"name": "i3d_flow"} if kind == "i3d" else {"name": "convnet_gru", "spec": DIFFERENCES}
    second = lively(classes=motion.labels, **other)
    set_origin(first, {"weights": "made for a test", "license": "MIT"})
    second.save(tmp_path / "second.keras")
    before = [layer.name for layer in first.layers]
    model = fuse(first, zoo.load_model(tmp_path / "second.keras"), weight=0.3)
    assert [layer.name for layer in first.layers] == before and model.name == "fused"
    assert origins(model) == [{"weights": "made for a test", "license": "MIT"}]
    specs = zoo.specs(model)
    assert list(specs) == ["rgb", "flow" if kind == "i3d" else "rgb_diff"]
    paths = [motion.paths[0], motion.paths[-1]]
    read = [read_inputs(path, specs) for path in paths]
    clips = {name: np.stack([inputs[name] for inputs in read]) for name in specs}
    expected = 0.3 * logits(first, clips["rgb"]) + 0.7 * logits(second, clips[list(specs)[1]])
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(logits(model, clips), expected, atol=1e-4)

    model.save(tmp_path / "fused.keras")
    np.testing.assert_allclose(logits(zoo.load_model(tmp_path / "fused.keras"), clips), expected, atol=1e-4)
    to_onnx(model, tmp_path / "fused.onnx")
    classifier = Classifier(tmp_path / "fused.onnx")
    expected = model.predict(clips, verbose=0)
    for answer, row in zip(classifier.predict(paths), expected, strict=True):
        assert answer.probabilities == pytest.approx(dict(zip(motion.labels, row.tolist(), strict=True)), abs=1e-4)


def test_what_cannot_be_fused_is_named() -> None:
    frames, moves = lively("convnet_gru"), lively("convnet_gru", spec={"modality": "diff"})
    with pytest.raises(ClipzooError, match="both models take rgb; give two of different modalities"):
        fuse(frames, lively("mobilenet_gru"))
    with pytest.raises(ClipzooError, match="model 'fused' takes rgb, diff; give one of a single input"):
        fuse(fuse(frames, moves), moves)
    with pytest.raises(ClipzooError, match=r"do not fit together: classification of jump, run, ride a bike; .* a, b"):
        fuse(frames, lively("convnet_gru", classes=("a", "b"), spec={"modality": "diff"}))
