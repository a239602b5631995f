"""Contracts that every model of the zoo keeps, on whichever backend Keras runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

import zoo
from benchmarks.harness.models import randomize
from export import to_onnx
from loaders import ClipSpec, ClipzooError
from tests.support.models import KINDS, LABELS, SMALL, clips_for, lively
from zoo.layers import ClipInput, FrameWise
from zoo.skip_init import skip_init

pytestmark = pytest.mark.keras


def quick(name: str) -> Any:
    """One of each kind in `make test`, every model in `make test-all`."""
    return pytest.param(name, marks=() if name in KINDS else pytest.mark.slow)


def test_every_registered_model_is_tested() -> None:
    assert set(SMALL) == set(zoo.list_models())


@pytest.mark.parametrize("name", map(quick, SMALL))
def test_a_model_gives_probabilities_and_keeps_its_contract(name: str, tmp_path: Path) -> None:
    model = lively(name)
    clips = clips_for(model)
    both = zoo.with_logits(model).predict(clips, verbose=0)
    answer = both["probabilities"]
    assert answer.shape == (3, 3)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(answer, axis=0).max() > 1e-3, "the answer does not depend on the clip: nothing is tested here"
    shifted = np.exp(both["logits"] - both["logits"].max(axis=1, keepdims=True))
    np.testing.assert_allclose(shifted / shifted.sum(axis=1, keepdims=True), answer, atol=1e-5)

    contract = zoo.specs(model)
    size = SMALL[name]["size"]
    assert {s.shape[:3] for s in contract.values()} == {(SMALL[name]["frames"], size, size)}
    model.save(tmp_path / "model.keras")
    loaded = zoo.load_model(tmp_path / "model.keras")
    with skip_init():  # a clone's weights are new
        clone = keras.models.clone_model(loaded)
    for other in (model, loaded, clone):
        assert zoo.specs(other) == contract
        assert zoo.labels(other) == LABELS
        assert other.name == name
    np.testing.assert_allclose(zoo.with_logits(loaded).predict(clips, verbose=0)["probabilities"], answer, atol=1e-6)


@pytest.mark.either
@pytest.mark.parametrize(  # the streams: test_two_stream.py
    "name", [quick(name) for name in SMALL if "dtpp_" not in name]
)
def test_the_card_tells_the_truth(name: str) -> None:
    model = zoo.create_model(name, classes=51)
    card = zoo.model_info(name)
    assert (model.count_params(), zoo.multiply_adds(model)) == (card.parameters, card.multiply_adds)  # both at once
    assert next(iter(zoo.specs(model).values())) == card.spec


@pytest.mark.either
def test_the_article_s_numbers_are_the_defaults() -> None:
    model = zoo.create_model("convnet_gru", classes=4)
    backbone = model.get_layer("frames").layer.layers
    kinds = [type(layer).__name__ for layer in backbone]
    pair = ["Conv2D", "Conv2D", "BatchNormalization"]
    assert kinds == ["InputLayer", *([*pair, "MaxPooling2D"] * 3), *pair, "GlobalMaxPooling2D"]
    convolutions = [layer for layer in backbone if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert {layer.momentum for layer in backbone if isinstance(layer, keras.layers.BatchNormalization)} == {0.9}
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == [1024, 512, 128, 64, 4]
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5] * 3
    assert model.get_layer("gru").units == 64
    assert zoo.labels(model) == ("0", "1", "2", "3")


def test_clip_input_normalizes_as_each_backbone_was_trained() -> None:
    spec = ClipSpec(frames=1, height=1, width=1)
    pixel = np.array([255, 0, 51], np.uint8).reshape(1, 1, 1, 1, 3)

    def normalized(name: str) -> np.ndarray:
        with skip_init():
            layer = zoo.create_model(name, classes=2, **SMALL[name]).get_layer("clip_input")
        same = ClipInput(spec, mean=layer.mean, std=layer.std, channel_order=layer.channel_order)
        return keras.ops.convert_to_numpy(same(pixel)).ravel()

    np.testing.assert_allclose(normalized("convnet_gru"), [1, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(normalized("mobilenet_gru"), [1, -1, -0.6], atol=1e-6)
    reference = keras.applications.vgg16.preprocess_input(pixel[0, 0].astype("float32")).ravel()
    np.testing.assert_allclose(normalized("vgg16_gru"), reference, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 4, None])
def test_frame_wise_gives_what_time_distributed_gives(frames: int | None, tmp_path: Path) -> None:
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalMaxPooling2D(),
        ]
    )
    video = keras.Input((frames, 12, 10, 3))
    folded = keras.Model(video, FrameWise(inner)(video))
    randomize(folded)
    assert folded.output_shape == (None, frames, 4)
    clips = np.random.default_rng(0).normal(size=(2, frames or 5, 12, 10, 3)).astype("float32")
    answer = folded.predict(clips, verbose=0)
    unrolled = np.stack([inner.predict(clips[:, t], verbose=0) for t in range(clips.shape[1])], axis=1)
    np.testing.assert_allclose(answer, unrolled, atol=1e-5)
    if frames:
        known = keras.Input((frames, 12, 10, 3))
        peer = keras.Model(known, keras.layers.TimeDistributed(inner)(known))
        np.testing.assert_allclose(answer, peer.predict(clips, verbose=0), atol=1e-5)
    folded.save(tmp_path / "folded.keras")
    np.testing.assert_allclose(zoo_load(tmp_path / "folded.keras").predict(clips, verbose=0), answer, atol=1e-6)
    if frames is None:  # another length of clip, the same model
        assert folded.predict(clips[:, :2], verbose=0).shape == (2, 2, 4)


def zoo_load(path: Path) -> keras.Model:
    return keras.saving.load_model(path)


def test_batch_normalization_sees_all_frames_of_the_batch() -> None:
    inner = keras.Sequential([keras.layers.BatchNormalization(momentum=0.0, axis=-1)])
    layer = FrameWise(inner)
    clips = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 6, 2)).astype("float32")
    layer(clips, training=True)
    moved = keras.ops.convert_to_numpy(inner.layers[0].moving_mean)
    np.testing.assert_allclose(moved, clips.mean(axis=(0, 1, 2, 3)), atol=1e-4)


def test_imagenet_features_are_those_of_keras_s_own_mobilenet(data: Path) -> None:
    weights = data / "weights" / "mobilenet_v1_025_224_imagenet_notop.h5"
    model = zoo.create_model("mobilenet_gru", classes=2, size=96, frames=2, alpha=0.25, backbone_weights=str(weights))
    features = keras.Model(model.input, model.get_layer("frames").output)
    reference = keras.applications.MobileNet((96, 96, 3), alpha=0.25, include_top=False, weights=None, pooling="max")
    reference.load_weights(weights)
    clips = clips_for(model, count=2)
    expected = reference.predict(
        keras.applications.mobilenet.preprocess_input(clips[:, 1].astype("float32")), verbose=0
    )
    np.testing.assert_allclose(features.predict(clips, verbose=0)[:, 1], expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1


def test_a_new_head_keeps_everything_else() -> None:
    model = lively("convnet_gru", classes=2)
    other = zoo.new_head(model, ("a", "b", "c"))
    assert zoo.labels(other) == ("a", "b", "c")
    assert zoo.specs(other) == zoo.specs(model)
    clips = clips_for(model)
    one, two = (keras.Model(m.input, m.get_layer("dense4").output).predict(clips, verbose=0) for m in (model, other))
    np.testing.assert_array_equal(one, two)


ELSEWHERE = """
import json, sys
import zipfile
from pathlib import Path
import numpy as np
import zoo
folder = Path(sys.argv[1])
answers = {
    path.stem: zoo.load_model(path).predict(np.load(path.with_suffix(".npy")), verbose=0).tolist()
    for path in folder.glob("*.keras")
}
zoo.create_model("convnet_gru", classes=3, **json.loads(sys.argv[2])).save(folder / "elsewhere.keras")
(folder / "answers.json").write_text(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models made here with clips and their answers, and what the other backend made of them in its own process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    expected = {}
    for name in ("convnet_gru", "dtpp_flow"):
        both = {"bidirectional": True} if name == "convnet_gru" else {}
        model = lively(name, **both)
        clips = clips_for(model)
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", clips)
        expected[name] = model.predict(clips, verbose=0).tolist()
    (folder / "expected.json").write_text(json.dumps(expected))
    there = {"jax": "tensorflow", "tensorflow": "jax"}[keras.config.backend()]
    command = [sys.executable, "-c", ELSEWHERE, str(folder), json.dumps(SMALL["convnet_gru"])]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": there}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.either
def test_a_file_of_one_backend_gives_the_same_on_the_other(elsewhere: Path) -> None:
    answers, expected = (json.loads((elsewhere / f"{name}.json").read_text()) for name in ("answers", "expected"))
    assert set(answers) == set(expected) and len(expected) == 2
    for name, probabilities in expected.items():
        assert np.ptp(probabilities, axis=0).max() > 1e-3
        np.testing.assert_allclose(answers[name], probabilities, atol=1e-4)


@pytest.mark.either
@pytest.mark.slow
def test_both_backends_give_the_same_operators_in_the_same_order(elsewhere: Path, tmp_path: Path) -> None:
    zoo.create_model("convnet_gru", classes=3, **SMALL["convnet_gru"]).save(tmp_path / "here.keras")
    operators = []
    for saved in (tmp_path / "here.keras", elsewhere / "elsewhere.keras"):
        to_onnx(saved, tmp_path / "model.onnx", force=True)  # it is not trained
        operators.append([node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node])
    assert len(operators[0]) > 30
    assert operators[0] == operators[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "width (0)"),
        ({"width": float("nan")}, "width (nan)"),
        ({"units": 10**12}, "units (1000000000000)"),
        ({"backbone": "mobilenet"}, "settles it"),
        ({"backbone_weights": 5}, "backbone_weights (5)"),
        ({"size": 10**8}, "height (100000000)"),
        ({"alpha": 0.5}, "no option 'alpha'"),
        ({"units": "many"}, "units ('many')"),
        ({"dropout": 1.0}, "dropout (1.0)"),
        ({"bidirectional": 1}, "bidirectional (1)"),
        ({"backbone_weights": "imagenet"}, "there are none"),
        ({"backbone_weights": "/nowhere.h5"}, "no such file"),
        ({"size": 4}, "4x4"),
        ({"frames": 0}, "frames (0)"),
        ({"classes": 1}, "classes (1)"),
        ({"classes": ["a", "a"]}, "'a' stands twice"),
        ({"classes": "ab"}, "classes ('ab')"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        zoo.create_model("convnet_gru", **{"classes": 2, **options})
    assert said in str(error.value)


def test_weights_that_do_not_fit_are_named(data: Path) -> None:
    weights = data / "weights" / "mobilenet_v1_075_224_imagenet_notop.h5"
    with pytest.raises(ClipzooError, match="075_224"):
        zoo.create_model("mobilenet_gru", classes=2, backbone_weights=str(weights), **SMALL["mobilenet_gru"])


def test_an_unknown_model_has_its_near_names() -> None:
    with pytest.raises(ClipzooError, match=r"did you mean .*mobilenet_gru"):
        zoo.create_model("mobilnet_gru", classes=2)
    with pytest.raises(ClipzooError, match="there are convnet_gru"):
        zoo.create_model("x", classes=2)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"garbage")
    with pytest.raises(ClipzooError, match=r"bad\.keras: is not a \.keras file"):
        zoo.load_model(tmp_path / "bad.keras")
    with pytest.raises(ClipzooError, match="no such model file"):
        zoo.load_model(tmp_path / "none.keras")
    foreign = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    foreign.save(tmp_path / "foreign.keras")
    with pytest.raises(ClipzooError, match="ClipInput"):
        zoo.load_model(tmp_path / "foreign.keras")


@pytest.mark.either
def test_a_file_of_a_newer_keras_says_so(tmp_path: Path) -> None:
    model = zoo.create_model("convnet_gru", classes=2, frames=2, size=8, width=1 / 64)
    file = tmp_path / "new.keras"
    with zipfile.ZipFile(file, "w") as archive:
        config = json.loads(model.to_json())
        config["config"]["layers"][0]["config"]["color"] = "a setting that came later"
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "99.1.0"}))
    with pytest.raises(ClipzooError, match=r"was written by Keras 99\.1\.0.*cannot read it; pip install 'keras>=99"):
        zoo.load_model(file)
