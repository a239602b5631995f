"""I3D: the authors' weights in our layers give the authors' answers; what does not fit is said."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

import zoo
from benchmarks.harness.models import leaves
from export import Classifier, to_onnx
from loaders import ClipSpec, ClipzooError, read_clip
from tests.support.models import SMALL, clips_for, lively
from zoo import i3d
from zoo.npz import read_npz, write_npz
from zoo.precision import set_precision
from zoo.presets import preset
from zoo.weights import arrays_of

pytestmark = pytest.mark.keras

REFERENCE = Path(__file__).parent / "reference" / "i3d.npz"
OURS = {"Conv3d_2c_3x3": "Conv3d_2c_3x3_relu", "Mixed_4f": "Mixed_4f", "Mixed_5c": "Mixed_5c"}
CLIPS = {
    "abseiling_k400.mp4": "abseiling",
    "flipping_a_pancake.mkv": "flipping pancake",
    "mmaction2_demo.mp4": "arm wrestling",
}


def seeded_clip(frames: int) -> np.ndarray:
    """As in reference/i3d.py."""
    blocks = np.random.default_rng(0).integers(0, 256, (1, frames // 4, 14, 14, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(16, axis=2).repeat(16, axis=3)


def difference(values: Any, reference: np.ndarray) -> float:
    """The largest, in shares of the largest value of the reference: all of them lie within that share of the scale."""
    flat = np.asarray(values).reshape(-1)
    step = max(1, flat.size // 2500) | 1
    found = flat[::step] if flat.size > len(reference) else flat
    return float(np.abs(found - reference).max() / np.abs(reference).max())


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as held:
        return dict(held)


@pytest.fixture(scope="module")
def whole(i3d_weights: Path) -> keras.Model:
    """The whole model with the authors' weights."""
    return zoo.create_model("i3d", classes=preset("i3d_kinetics400").classes(), weights=str(i3d_weights))


@pytest.fixture(scope="module")
def opened(whole: keras.Model) -> keras.Model:
    """The same, with what its layers give on the way."""
    trunk = whole.get_layer("trunk")
    depths = keras.Model(trunk.input, [trunk.get_layer(name).output for name in OURS.values()])
    pixels = whole.get_layer("clip_input").output
    conv, middle, last = depths(pixels)
    x = last
    for name in ("pairs", "average", "dropout", "logits"):
        x = whole.get_layer(name)(x)
    return keras.Model(whole.input, dict(zip((*OURS, "logits"), (conv, middle, last, x), strict=True)))


@pytest.fixture(scope="module")
def real(data: Path, whole: keras.Model) -> dict[str, np.ndarray]:
    """The three clips, as the card reads them."""
    (spec,) = zoo.specs(whole).values()
    return {file: read_clip(data / "clips" / file, spec)[None] for file in CLIPS}


@pytest.mark.slow
def test_activations_are_the_original_s(opened: keras.Model, reference: dict[str, np.ndarray]) -> None:
    for name, values in opened.predict(seeded_clip(32), verbose=0).items():
        assert difference(values, reference[f"seeded.{name}"]) < 1e-4, name


@pytest.mark.slow
def test_real_clips_are_named_as_the_original_names_them(
    opened: keras.Model, real: dict[str, np.ndarray], reference: dict[str, np.ndarray]
) -> None:
    clip = real["abseiling_k400.mp4"]
    np.testing.assert_array_equal(clip[0, ::4, ::16, ::16], reference["real.pixels"])
    answers = {file: opened.predict(each, verbose=0) for file, each in real.items()}
    for name, values in answers["abseiling_k400.mp4"].items():
        assert difference(values, reference[f"real.{name}"]) < 1e-4, name
    said = {file: preset("i3d_kinetics400").classes()[each["logits"][0].argmax()] for file, each in answers.items()}
    assert said == CLIPS


@pytest.mark.slow
def test_logits_of_64_frames_are_the_original_s(i3d_weights: Path, reference: dict[str, np.ndarray]) -> None:
    longer = zoo.create_model("i3d", classes=400, frames=64, weights=str(i3d_weights))
    logits = zoo.with_logits(longer).predict(seeded_clip(64), verbose=0)["logits"]
    assert difference(logits, reference["seeded64.logits"]) < 1e-4


class Symmetric(keras.layers.Conv3D):
    """Padded on both sides alike, as PyTorch pads."""

    def call(self, inputs: Any) -> Any:
        return super().call(keras.ops.pad(inputs, self._around()))

    def compute_output_shape(self, input_shape: Any) -> Any:
        around = [sum(pair) for pair in self._around()]
        return super().compute_output_shape(tuple(s and s + a for s, a in zip(input_shape, around, strict=True)))

    def _around(self) -> list[tuple[int, int]]:
        return [(0, 0), *((size // 2, size // 2) for size in self.kernel_size), (0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "fits"), [("none", True), ("epsilon", False), ("padding", False)])
def test_another_epsilon_or_padding_would_show(
    change: str,
    fits: bool,
    i3d_weights: Path,
    reference: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if change == "epsilon":
        monkeypatch.setattr(i3d, "EPSILON", 1e-5)
    network = i3d.trunk((32, 224, 224, 3))
    i3d.load_trunk(network, i3d_weights)
    if change == "padding":

        def padded(layer: Any) -> Any:
            config = layer.get_config()
            if layer.name != "Conv3d_1a_7x7":
                return type(layer).from_config(config)
            return Symmetric.from_config({**config, "padding": "valid"})

        fresh = keras.models.clone_model(network, clone_function=padded)
        fresh.set_weights(network.get_weights())
        network = fresh
    pixels = seeded_clip(32).astype("float32") / 127.5 - 1
    off = difference(network.predict(pixels, verbose=0), reference["seeded.Mixed_5c"])
    assert (off < 1e-4) == fits, off


@pytest.mark.either
def test_it_is_as_large_as_the_authors_say() -> None:
    model = zoo.create_model("i3d", classes=400)
    assert model.count_params() == 12_704_544  # statistics included; 12.7 M
    assert len(preset("i3d_kinetics400").classes()) == len(set(preset("i3d_kinetics400").classes())) == 400
    assert list(preset("i3d_kinetics400").classes()) == sorted(preset("i3d_kinetics400").classes(), key=str.lower)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_head_averages_as_the_original_s_windows_do(steps: int) -> None:
    shape, window = (steps, 7, 7, 5), min(2, steps)
    features = keras.Input(shape)
    values = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    found = keras.Model(features, i3d.averages(features)).predict(values, verbose=0)
    windows = [values[:, t : t + window].mean(axis=(1, 2, 3)) for t in range(steps - window + 1)]
    np.testing.assert_allclose(found, np.mean(windows, axis=0), atol=1e-6)
    if steps > 2:
        assert np.abs(found - values.mean(axis=(1, 2, 3))).max() > 1e-3


# === Weights ===


def tree() -> dict[str, Any]:
    """The authors' tree, of ones that take no memory."""
    found: dict[str, Any] = {"params": {}, "batch_stats": {}}

    def put(kind: str, place: str, what: str, shape: tuple[int, ...]) -> None:
        *above, layer, name = f"{place}.{what}".split(".")
        table = found[kind]
        for each in (*above, layer):
            table = table.setdefault(each, {})
        table[name] = np.broadcast_to(np.float32(1), shape)

    model = i3d.trunk((8, 112, 112, 3))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv3D):
            block, _, unit = layer.name.partition("_Branch_")
            place = f"{block}.Branch_{unit.replace('_', '/', 1)}" if unit else layer.name
            put("params", place, "Conv_0.kernel", tuple(layer.kernel.shape))
            put("params", place, "BatchNorm_0.bias", (layer.filters,))
            for each in ("mean", "var"):
                put("batch_stats", place, f"BatchNorm_0.{each}", (1, 1, 1, 1, layer.filters))
    put("params", "Logits/Conv3d_0c_1x1", "Conv_0.kernel", (1, 1, 1, 1024, 400))
    put("params", "Logits/Conv3d_0c_1x1", "Conv_0.bias", (400,))
    return found


@pytest.mark.either
def test_the_authors_names_become_our_layers() -> None:
    found = i3d.arrays(tree())
    model = zoo.create_model("i3d", classes=400)
    assert {name: [a.shape for a in held] for name, held in found.items()} == {
        name: [a.shape for a in held] for name, held in arrays_of(model).items() if held
    }


@pytest.mark.either
@pytest.mark.parametrize(
    ("kind", "place", "given", "said"),
    [
        ("params", ("Mixed_3b", "Branch_0/Conv3d_0a_1x1", "Conv_0", "kernel"), None, "have no 'params.Mixed_3b"),
        ("batch_stats", ("Conv3d_1a_7x7", "BatchNorm_0", "var"), None, "have no 'batch_stats.Conv3d_1a_7x7"),
        ("params", ("Logits/Conv3d_0c_1x1", "Conv_0", "bias"), None, "have no 'params.Logits/Conv3d_0c_1x1"),
        ("params", ("Mixed_6a", "kernel"), np.ones(3, np.float32), "'params.Mixed_6a.kernel', which is none"),
        ("params", ("Conv3d_1a_7x7", "Conv_0", "kernel"), np.ones((7, 7, 3, 64), "f4"), r"float32 \(7, 7, 3, 64\)"),
        ("params", ("Conv3d_1a_7x7", "BatchNorm_0", "bias"), np.ones(64, np.int64), r"int64 \(64,\)"),
        ("params", ("Conv3d_1a_7x7",), {}, "have no 'params.Conv3d_1a_7x7.Conv_0.kernel'"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_the_authors_are_named(kind: str, place: Any, given: Any, said: str) -> None:
    held = tree()
    table = held[kind]
    for each in place[:-1]:
        table = table.setdefault(each, {})
    if given is None:
        del table[place[-1]]
    else:
        table[place[-1]] = given
    with pytest.raises(ClipzooError, match=said) as error:
        i3d.arrays(held)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights of a small model for three labels, head included."""
    file = tmp_path_factory.mktemp("small") / "small.npz"
    write_npz(arrays_of(lively("i3d")), file)
    yield file


def test_a_file_fills_the_trunk_or_all_of_it(small_file: Path) -> None:
    held = read_npz(small_file)
    whole = zoo.create_model("i3d", classes=3, weights=str(small_file), **SMALL["i3d"])
    trunk = zoo.create_model("i3d", classes=5, backbone_weights=str(small_file), **SMALL["i3d"])
    for model in (whole, trunk):
        found = arrays_of(model)
        for name in ("Conv3d_1a_7x7", "Mixed_5c_Branch_3_Conv3d_0b_1x1_bn"):
            for one, other in zip(found[name], held[name], strict=True):
                np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(arrays_of(whole)["logits"][0], held["logits"][0])
    assert arrays_of(trunk)["logits"][0].shape == (128, 5)


def test_flow_begins_from_the_mean_of_the_colors(small_file: Path) -> None:
    model = zoo.create_model("i3d_flow", classes=2, backbone_weights=str(small_file), **SMALL["i3d_flow"])
    (spec,) = zoo.specs(model).values()
    assert (spec.channels, spec.flow and spec.flow.bound) == (2, 20)
    kernel, before = arrays_of(model)["Conv3d_1a_7x7"][0], read_npz(small_file)["Conv3d_1a_7x7"][0]
    assert kernel.shape == (7, 7, 7, 2, 8)
    np.testing.assert_allclose(kernel, before.mean(axis=3, keepdims=True).repeat(2, axis=3), atol=1e-7)
    still = np.full((1, *spec.shape), 128, np.uint8)
    pixels = keras.Model(model.input, model.get_layer("clip_input").output).predict(still, verbose=0)
    assert not pixels.any()  # what does not move is 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": 7}, "at least 8 frames, not 7"),
        ({"size": 111}, "at least 112x112, not 111x111"),
        ({"width": 0}, "width"),
        ({"dropout": 1}, "dropout"),
        ({"backbone_weights": "imagenet"}, "there are none for I3D"),
        ({"backbone_weights": "none.npz"}, "no such file"),
        ({"backbone_weights": 3}, "must be none, 'kinetics400' or a file"),
        ({"weights": "none.npz"}, "weights 'none.npz': no such file"),
        ({"weights": "SMALL"}, "layer 'logits' has .*128, 3.*check classes"),
        ({"weights": "SMALL", "backbone_weights": "SMALL"}, "exclude each other"),
        ({"units": 3}, "units"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options: dict[str, Any], said: str, small_file: Path) -> None:
    given = {name: str(small_file) if value == "SMALL" else value for name, value in options.items()}
    with pytest.raises(ClipzooError, match=said) as error:
        zoo.create_model("i3d", classes=2, **{**SMALL["i3d"], **given})
    assert "\n" not in str(error.value)


@pytest.mark.either
def test_the_trunk_is_what_computes_in_half_precision() -> None:
    model = zoo.create_model("i3d", classes=2, **SMALL["i3d"])
    set_precision(model, "mixed_bfloat16")
    kinds = {layer.name: layer.compute_dtype for layer in leaves(model)}
    assert {kinds["clip_input"], kinds["Conv3d_1a_7x7"], kinds["Mixed_5c"]} == {"bfloat16"}
    assert {kinds["average"], kinds["logits"], kinds["probabilities"]} == {"float32"}
    assert np.isfinite(model.predict(clips_for(model), verbose=0)).all()


@pytest.mark.slow
def test_its_graph_is_convolutions_of_clips_and_nothing_turns_them_round(tmp_path: Path) -> None:
    model, file = lively("i3d"), tmp_path / "i3d.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # models of the zoo are exported without a remark
        metadata = to_onnx(model, file)
    assert metadata.parity["variation"] > 1e-3
    proto = onnx.load(file)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    operators = [node.op_type for node in proto.graph.node]
    kernels = [len(weights[node.input[1]].dims) for node in proto.graph.node if node.op_type == "Conv"]
    assert kernels == [5] * 57
    assert {name: operators.count(name) for name in ("Transpose", "MaxPool", "Concat", "BatchNormalization")} == {
        "Transpose": 1, "MaxPool": 13, "Concat": 9, "BatchNormalization": 0,
    }  # fmt: skip
    assert not {"Reshape", "Pad", "Loop", "Scan", "If"} & set(operators)
    clips = clips_for(model, count=2)
    np.testing.assert_allclose(
        Classifier(file).scores(clips)["probabilities"], model.predict(clips, verbose=0), atol=1e-4
    )


@pytest.mark.either
def test_the_card_reads_as_kinetics_is_read() -> None:
    spec = zoo.model_info("i3d").spec
    assert spec == ClipSpec(frames=32, height=224, width=224, sampling="dense", stride=2, resize="fit", resize_to=256)
    assert zoo.model_info("i3d_flow").spec.modality == "flow"
