"""Anyone's Keras model becomes an ONNX file: what the zoo's models say themselves, the caller says of these."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import zoo
from benchmarks.harness.models import randomize
from export import Classifier, to_onnx
from export.describe import describe
from export.export_source import ExportSource
from export.final_activation import final_activation, without_final_activation
from export.synthetic import synthetic_clips
from loaders import ClipSpec, ClipzooError
from tests.support.commands import clipzoo
from tests.support.models import SMALL

pytestmark = [pytest.mark.keras, pytest.mark.either]
SPEC = ClipSpec(frames=3, height=16, width=16)
LABELS = ("jump", "run", "ride a bike")


def article() -> keras.Model:
    """As in the article that the zoo began with: a ConvNet on each frame by TimeDistributed, a GRU, dense layers."""
    convnet = keras.Sequential(name="convnet")
    convnet.add(layers.Conv2D(4, 3, input_shape=(16, 16, 3), padding="same", activation="relu"))
    convnet.add(layers.Conv2D(4, 3, padding="same", activation="relu"))
    convnet.add(layers.BatchNormalization(momentum=0.9))
    convnet.add(layers.MaxPool2D())
    convnet.add(layers.SeparableConv2D(6, 3, padding="same", activation="relu"))
    convnet.add(layers.GlobalMaxPool2D())
    model = keras.Sequential(name="article")
    model.add(layers.TimeDistributed(convnet, input_shape=(3, 16, 16, 3)))
    model.add(layers.GRU(6))
    model.add(layers.Dense(8, activation="relu"))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(3, activation="softmax"))
    return model


def attention() -> keras.Model:
    """Attention over frames; the softmax is a layer, and stands at the end of a model within the model."""
    inputs = x = layers.Input((3, 16, 16, 3), name="clip")
    x = layers.TimeDistributed(layers.Conv2D(4, 5, strides=2, activation="relu"))(x)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.GlobalAveragePooling1D()(x)
    features = layers.Input((4,))
    head = keras.Model(features, layers.Softmax()(layers.Dense(3)(features)), name="head")
    return keras.Model(inputs, head(x), name="attention")


def conv3d() -> keras.Model:
    inputs = x = layers.Input((None, 16, 16, 3))
    x = layers.Conv3D(4, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling3D()(layers.MaxPool3D((1, 2, 2))(x))
    return keras.Model(inputs, layers.Activation("sigmoid")(layers.Dense(3)(x)), name="conv3d")


def regression() -> keras.Model:
    """Numbers from two inputs, the second of flow."""
    rgb, flow = layers.Input((3, 16, 16, 3), name="rgb"), layers.Input((2, 8, 8, 4), name="flow")
    parts = [layers.GlobalAveragePooling3D()(layers.Conv3D(4, 2, activation="relu")(x)) for x in (rgb, flow)]
    return keras.Model([rgb, flow], layers.Dense(2)(layers.Concatenate()(parts)), name="regression")


FLOW = ClipSpec(frames=2, height=8, width=8, modality="flow", stack=2)
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "article": (article, {"spec": SPEC, "labels": LABELS, "std": 255}),
    "attention": (
        attention,
        {"spec": {"frames": SPEC}, "labels": LABELS, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
    ),
    "conv3d": (conv3d, {"spec": SPEC, "labels": LABELS, "mean": 127.5, "std": 127.5, "task": "multilabel"}),
    "regression": (
        regression,
        {
            "spec": {"flow": FLOW, "rgb": SPEC},
            "labels": ["left", "up"],
            "mean": {"rgb": [1, 2, 3], "flow": 128},
            "std": {"rgb": 255, "flow": 64.0},
            "task": "regression",
        },
    ),
}
# The converter is the same on both backends; what differs is who made and saved the model.
OTHERS = [pytest.param(name, marks=pytest.mark.either) for name in ("article", "conv3d", "regression")]


@pytest.mark.parametrize("name", ["attention", *OTHERS])
def test_the_file_answers_as_the_model_does(name: str, tmp_path: Path) -> None:
    make, said = MODELS[name]
    model, file = randomize(make()), tmp_path / "model.onnx"
    specs = said["spec"] if isinstance(said["spec"], dict) else {"video": said["spec"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        metadata = to_onnx(model, file, **said)
    assert metadata.parity["variation"] > 1e-3
    assert (metadata.model, metadata.labels) == (name, tuple(said["labels"]))
    assert metadata.task == said.get("task", "classification")
    assert metadata.specs == specs
    classifier = Classifier(file)
    assert [value.type for value in classifier.session.get_inputs()] == ["tensor(uint8)"] * len(specs)
    clips = {
        n: np.random.default_rng(1).integers(0, level, (5, *spec.shape), np.uint8)
        for (n, spec), level in zip(specs.items(), (90, 250), strict=False)
    }
    clips = {
        n: np.array(values) + np.arange(0, 5, dtype=np.uint8)[:, None, None, None, None] for n, values in clips.items()
    }

    def scale(what: str, n: str) -> np.ndarray:
        given = said.get(what, {"mean": 0, "std": 1}[what])
        return np.array(given[n] if isinstance(given, dict) else given)

    pixels = {n: ((values - scale("mean", n)) / scale("std", n)).astype("float32") for n, values in clips.items()}
    expected = model.predict(pixels if len(pixels) > 1 else next(iter(pixels.values())), verbose=0)
    found = classifier.scores(clips)
    assert list(found) == (["values"] if metadata.task == "regression" else ["logits", "probabilities"])
    np.testing.assert_allclose(found[classifier.outputs[-1]], expected, atol=1e-4)
    if "logits" in found:  # those that stand before the activation, not its inverse: they need not sum to anything
        np.testing.assert_allclose(metadata.kind.activate(found["logits"]), expected, atol=1e-4)
        assert np.abs(np.exp(found["logits"]).sum(axis=1) - 1).max() > 1e-2
    operators = [node.op_type for node in onnx.load(file).graph.node]
    assert not {"Loop", "Scan", "If"} & set(operators)
    assert operators.count("GRU") == (name == "article")


def test_the_answer_of_a_wrapped_model_is_what_it_says_itself(tmp_path: Path) -> None:
    """Two heads whose probabilities are averaged have no logits: log(p) stands there, and p is p."""
    inputs = layers.Input((3, 16, 16, 3))
    x = layers.GlobalAveragePooling3D()(inputs)
    both = layers.Average()([layers.Dense(3, activation="softmax")(x), layers.Dense(3, activation="softmax")(x)])
    model = randomize(keras.Model(inputs, both, name="averaged"))
    subject = ExportSource(model, describe(spec=SPEC, labels=LABELS, task=None, mean=0, std=255))
    clips = {
        "video": np.random.default_rng(0).integers(0, 256, (4, *SPEC.shape), np.uint8)
        // np.arange(1, 5, dtype=np.uint8)[:, None, None, None, None]
    }
    said = subject.ask(clips)
    (given,) = said.values()
    np.testing.assert_allclose(given, model.predict(clips["video"] / 255.0, verbose=0), atol=1e-6)
    network, reference = subject.outputs(clips, said)
    found = network.predict(clips["video"], verbose=0)
    np.testing.assert_allclose(found["probabilities"], given, atol=1e-6)
    np.testing.assert_allclose(found["logits"], np.log(given), atol=1e-5)
    np.testing.assert_array_equal(reference["probabilities"], given)


def ends(last: Any) -> keras.Model:
    inputs = layers.Input((4,))
    return keras.Model(inputs, last(layers.Dense(3, name="before")(inputs)))


ENDS = {
    "a dense layer": (lambda: keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")]), "softmax"),
    "sigmoid": (lambda: ends(layers.Dense(2, activation="sigmoid")), "sigmoid"),
    "an activation": (lambda: ends(layers.Activation("softmax")), "softmax"),
    "a softmax layer": (lambda: keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Softmax()]), "softmax"),
    "an operation": (lambda: ends(keras.ops.sigmoid), "sigmoid"),
    "within a model": (lambda: ends(keras.Sequential([layers.Input((3,)), layers.Softmax()])), "softmax"),
    "logits": (lambda: ends(layers.Dense(3)), "linear"),
    "nothing known": (lambda: ends(layers.Dense(3, activation="relu")), ""),
    "a sum": (lambda: ends(lambda x: x / 2), ""),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_model_is_found_and_split_off(name: str) -> None:
    make, end = ENDS[name]
    model = randomize(make())
    assert final_activation(model) == end
    if end not in ("softmax", "sigmoid"):
        return
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    whole = keras.ops.convert_to_numpy(model(rows))
    logits = without_final_activation(model)(rows)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(keras.activations.get(end)(logits)), whole, atol=1e-6)
    logits = keras.ops.convert_to_numpy(logits)
    assert logits.min() < 0 or logits.max() > 1


def small(labels: int = 3, activation: str = "softmax", *, dtype: str = "float32", **options: Any) -> keras.Model:
    inputs = layers.Input((3, 16, 16, 3), dtype=dtype, **options)
    x = layers.GlobalAveragePooling3D()(keras.ops.cast(inputs, "float32"))
    return keras.Model(inputs, layers.Dense(labels, activation=activation)(x), name="small")


def subject(model: keras.Model, **said: Any) -> ExportSource:
    return ExportSource(model, describe(**{"spec": SPEC, "labels": LABELS, "task": None, "mean": 0, "std": 1, **said}))


def two_outputs() -> keras.Model:
    model = small()
    return keras.Model(model.input, [model.output, model.output])


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (small, {"spec": None}, "give spec=ClipSpec(frames=3, height=16, width=16) and labels=[...]"),
    (small, {"labels": None}, "give labels=[...] (--labels)"),
    (small, {"spec": SPEC.replace(frames=4)}, "takes (3, 16, 16, 3), its spec gives (4, 16, 16, 3)"),
    (small, {"spec": SPEC.replace(modality="gray")}, "its spec gives (3, 16, 16, 1)"),
    (small, {"spec": {"a": SPEC, "b": SPEC}}, "spec describes a, b"),
    (small, {"labels": ("a", "b")}, "gives (3) for a clip, where 2 classes need one output of (2)"),
    (two_outputs, {}, "gives (3), (3) for a clip"),
    (lambda: small(1, "sigmoid"), {"labels": ("a", "b")}, 'task="multilabel"'),
    (lambda: small(dtype="uint8"), {"std": 255}, "takes uint8, so it scales pixels itself"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said", "words"), REFUSED)
def test_what_is_said_must_fit_the_model(make: Any, said: dict[str, Any], words: str) -> None:
    with pytest.raises(ClipzooError) as error:
        subject(make(), **said)
    assert words in str(error.value)


def test_a_zoo_model_is_not_described() -> None:
    model = zoo.create_model("convnet_gru", classes=3, **SMALL["convnet_gru"])
    with pytest.raises(ClipzooError, match="leave spec out"):
        subject(model)
    with pytest.raises(ClipzooError, match="leave labels and task out"):
        subject(model, spec=None)


def test_a_model_that_takes_bytes_is_given_bytes() -> None:
    model = randomize(small(dtype="uint8", activation="linear"))
    found = subject(model)
    clips = {"video": np.full((2, *SPEC.shape), 7, np.uint8)}
    said = found.ask(clips)
    network, reference = found.outputs(clips, said)
    np.testing.assert_allclose(
        reference["logits"], model.predict(clips["video"], verbose=0), atol=1e-5
    )  # a linear end gives logits, whatever they sum to
    np.testing.assert_allclose(reference["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert network.input_shape == (None, *SPEC.shape) or network.input_shape == [(None, *SPEC.shape)]


class Own(keras.Model):
    """A model that is a class: nobody knows its inputs, nor where its logits are; its output stands under a name."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.dense = layers.GlobalAveragePooling3D(), layers.Dense(3, activation="softmax")

    def call(self, clips: Any) -> Any:
        return {"answer": self.dense(self.pool(clips))}


def test_a_model_that_is_a_class_is_asked_what_it_gives() -> None:
    model, clips = Own(), {"video": synthetic_clips({"video": SPEC})["video"]}
    model(clips["video"] / np.float32(255))  # builds it
    model = randomize(model)
    found = subject(model, std=255)
    said = found.ask(clips)
    network, _ = found.outputs(clips, said)
    answers = network.predict(clips["video"], verbose=0)
    expected = keras.ops.convert_to_numpy(model(clips["video"] / np.float32(255))["answer"])
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(answers["logits"], np.log(expected), atol=1e-5)
    with pytest.raises(ClipzooError, match=r"gives \(3\) for a clip, where 2 classes need one output of \(2\)"):
        subject(model, labels=("a", "b")).ask(clips)


@pytest.mark.either
def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([layers.GlobalAveragePooling3D(), layers.Dense(3)], name="unbuilt")
    with pytest.raises(ClipzooError, match="'unbuilt' has no weights yet"):
        to_onnx(model, tmp_path / "model.onnx", spec=SPEC, labels=LABELS)


def test_a_model_of_another_task_is_refused() -> None:
    found = subject(randomize(small(3, "sigmoid")))
    clips = {"video": np.zeros((2, *SPEC.shape), np.uint8)}
    with pytest.raises(ClipzooError, match="ends in sigmoid, so its task is multilabel, not classification"):
        found.outputs(clips, found.ask(clips))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"spec": {"frames": 3}}, "must be a ClipSpec"),
        ({"spec": None, "std": 255}, "give spec too"),
        ({"std": 0}, "std (0) must not be 0"),
        ({"std": [255, 0, 255]}, "must not be 0"),
        ({"mean": [1, 2]}, "must be one number, or 3"),
        ({"mean": "1"}, "mean ('1') must be a number"),
        ({"mean": float("nan")}, "mean (nan)"),
        ({"mean": {"other": 1}}, "mean is for the inputs other, spec for video"),
        ({"labels": "abc"}, "must be a list of names"),
        ({"labels": ["a", "a"]}, "'a' twice"),
        ({"task": "zzz"}, "task ('zzz')"),
        ({"modules": "mine"}, "must be a list"),
        ({"modules": ["nowhere.py"]}, "nowhere.py: no such file"),
    ],
)
@pytest.mark.either
def test_a_bad_description_is_refused_before_the_work(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    with pytest.raises(ClipzooError) as error:
        to_onnx("none.keras", tmp_path / "out.onnx", **{"spec": SPEC, "labels": LABELS, **said})
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


MINE = """
import keras

class Scale(keras.layers.Layer):
    def __init__(self, by, **options):
        super().__init__(**options)
        self.by = by

    def call(self, x):
        return x * self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}

def halve(x):
    return x / 2
"""
REGISTERED = re.sub(
    "^(class|def) ", r'@keras.saving.register_keras_serializable(package="mine")\n\1 ', MINE, flags=re.M
)


def own(scale: Any, activation: Any) -> keras.Model:
    inputs = layers.Input((3, 16, 16, 3))
    x = scale(0.5)(layers.GlobalAveragePooling3D()(inputs))
    x = layers.Lambda(lambda y: y + 0.25, output_shape=(3,))(x)
    x = layers.Dense(3, activation=activation)(x)
    return randomize(keras.Model(inputs, layers.Dense(3, activation="softmax")(x), name="own"))


@pytest.mark.either
def test_layers_of_one_s_own_are_found_where_they_are_registered(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_layers.py").write_text(REGISTERED)
    from my_layers import Scale, halve

    model = own(Scale, halve)
    assert to_onnx(model, tmp_path / "own.onnx", spec=SPEC, labels=LABELS, std=255).parity["variation"] > 1e-3

    class Local(Scale):  # as in a notebook
        pass

    Local.__module__ = "__main__"
    with pytest.raises(
        ClipzooError, match=r"Local stands in the script or notebook .* decorate it with @keras\.saving"
    ):
        to_onnx(own(Local, halve), tmp_path / "local.onnx", spec=SPEC, labels=LABELS)

    class Secretive(keras.layers.Layer):  # what it was made with is not known, and cannot be written
        def __init__(self, by: Any) -> None:
            super().__init__()

        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(ClipzooError, match=r"model 'own' cannot be saved .* needs a get_config"):
        to_onnx(own(lambda by: Secretive(object()), halve), tmp_path / "local.onnx", spec=SPEC, labels=LABELS)
    assert not (tmp_path / "local.onnx").exists()


@pytest.mark.slow
@pytest.mark.either
def test_layers_that_nobody_registered_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_bare_layers.py").write_text(MINE)
    from my_bare_layers import Scale, halve

    with pytest.raises(ClipzooError, match=r"its class Scale is not registered: decorate it with @keras\.saving"):
        to_onnx(own(Scale, "relu"), tmp_path / "bare.onnx", spec=SPEC, labels=LABELS)
    with pytest.raises(ClipzooError, match=r"its function halve is not registered"):
        to_onnx(own(layers.Rescaling, halve), tmp_path / "bare.onnx", spec=SPEC, labels=LABELS)
    file = tmp_path / "own.keras"
    own(layers.Rescaling, "relu").save(file)
    with pytest.raises(ClipzooError, match=r"own\.keras: holds a Lambda layer.*safe_mode=False"):
        to_onnx(file, tmp_path / "bare.onnx", spec=SPEC, labels=LABELS)
    assert not (tmp_path / "bare.onnx").exists()


@pytest.mark.slow
@pytest.mark.either
def test_the_command_describes_a_model_too(tmp_path: Path) -> None:
    """A file of one's own, its layers in a `.py` file, whose name is one of ours too, its labels in another."""
    (tmp_path / "export.py").write_text(REGISTERED)
    (tmp_path / "labels.txt").write_text("jump\nrun\n\nride a bike\n")
    script = (
        "import keras, export as mine; L = keras.layers; x = i = L.Input((3, 16, 16, 3));"
        "x = mine.Scale(2.0)(L.GlobalAveragePooling3D()(x));"
        "keras.Model(i, L.Dense(3, activation='softmax')(x), name='own').save('own.keras')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True)
    words = ("export", tmp_path / "own.keras", tmp_path / "own.onnx", "--spec", "frames=3,size=16", "--std", "255")
    done = clipzoo(*words, "--labels", tmp_path / "labels.txt", "--mean", "1,2,3", "--import", tmp_path / "export.py")
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    assert Classifier(tmp_path / "own.onnx").labels == LABELS
    refused = clipzoo(*words, "--labels", "a,b,c")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "own.keras: its class Scale is not registered" in refused.stderr and "--import" in refused.stderr
