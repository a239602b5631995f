"""DTPP against its specification: bins, layers, samplings, crops, solver, fusion; then the whole path, small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from benchmarks.harness.models import randomize
from loaders import Augmentation, ClipDataset, ClipIndex, ClipSpec, ClipzooError, FlowSpec, read_inputs
from tests.support.commands import clipzoo, invoke, refused
from tests.support.models import lively
from zoo.backbones import backbone
from zoo.backbones.bn_inception import BLOCKS, _block, _shrink
from zoo.caffe_sgd import CaffeSGD
from zoo.layers import ClipInput, TemporalPyramidPooling, pyramid_bins
from zoo.npz import write_npz
from zoo.objectives import MeanClassAccuracy
from zoo.recipe import Recipe
from zoo.training import fit
from zoo.two_stream import protocol
from zoo.weights import from_caffe

pytestmark = pytest.mark.keras
SMALL: dict[str, Any] = {"backbone": "convnet", "width": 0.125, "dropout": 0.0, "frames": 6, "size": 16}


# === Temporal pyramid pooling ===


def test_bins_of_25_steps_are_those_of_the_specification() -> None:
    inclusive = [(start, stop - 1) for start, stop in pyramid_bins(25, (1, 2, 4))]
    assert inclusive == [(0, 24), (0, 11), (12, 24), (0, 4), (5, 11), (12, 18), (19, 24)]


@given(steps=st.integers(1, 200), level=st.integers(1, 12))
def test_bins_cover_every_step_once_or_are_refused(steps: int, level: int) -> None:
    window = -(-steps // level)
    pad = (window * level - steps + 1) // 2
    if pad >= window:
        with pytest.raises(ClipzooError, match=f"cannot be pooled into {level} bins"):
            pyramid_bins(steps, (level,))
        return
    covered = [step for start, stop in pyramid_bins(steps, (level,)) for step in range(start, stop)]
    assert covered == list(range(steps))


def test_illegal_levels_name_the_nearest_number_of_frames() -> None:
    with pytest.raises(ClipzooError, match=r"5 frames .* 4 bins.*nearest .* is (4|6)$"):
        pyramid_bins(5, (1, 2, 4))
    with pytest.raises(ClipzooError, match="25 frames cannot be pooled into 8 bins"):
        pyramid_bins(25, (1, 2, 4, 8))
    legal = []
    for steps in range(1, 12):
        try:
            pyramid_bins(steps, (1, 2, 4))
        except ClipzooError:
            continue
        legal.append(steps)
    assert legal == [4, 6, 7, 8, 9, 10, 11]
    for levels in ((), (0,), (1.5,)):
        with pytest.raises(ClipzooError, match="pyramid levels"):
            pyramid_bins(8, levels)  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match="5 frames"):
        zoo.create_model("dtpp_rgb", classes=3, **{**SMALL, "frames": 5})


@pytest.mark.parametrize("mode", ["max", "average"])
def test_pooling_is_level_by_level_and_bin_by_bin(mode: Any) -> None:
    steps = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    layer = TemporalPyramidPooling((1, 2, 4), mode=mode)
    pooled = keras.ops.convert_to_numpy(layer(steps))
    pool = np.max if mode == "max" else np.mean
    expected = np.concatenate([pool(steps[:, a:b], axis=1) for a, b in pyramid_bins(9, (1, 2, 4))], axis=1)
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    assert pooled.shape == (2, 21)
    again = TemporalPyramidPooling.from_config(layer.get_config())
    assert (again.levels, again.mode) == ((1, 2, 4), mode)
    with pytest.raises(ClipzooError, match="known number of steps"):
        TemporalPyramidPooling()(keras.Input((None, 3)))


# === BN-Inception ===


@pytest.mark.slow
@pytest.mark.either
def test_bn_inception_is_the_table_of_the_specification() -> None:
    network = backbone("bn_inception").build((224, 224, 3), None)
    trainable = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    moving = sum(int(np.prod(w.shape)) for w in network.non_trainable_weights)
    assert (trainable, moving) == (10_270_240, 20_032)
    kernels = sum(int(np.prod(w.shape)) for w in network.weights if w.path.endswith("kernel"))
    assert kernels == 10_240_192
    shapes = {name: network.get_layer(f"inception_{name}_output").output.shape[1:] for name in BLOCKS}
    assert shapes == {
        "3a": (28, 28, 256), "3b": (28, 28, 320), "3c": (14, 14, 576), "4a": (14, 14, 576), "4b": (14, 14, 576),
        "4c": (14, 14, 608), "4d": (14, 14, 608), "4e": (7, 7, 1056), "5a": (7, 7, 1024), "5b": (7, 7, 1024),
    }  # fmt: skip
    stem = {name: network.get_layer(name).output.shape[1:] for name in ("conv1_7x7_s2", "pool1_3x3_s2", "pool2_3x3_s2")}
    assert stem == {"conv1_7x7_s2": (112, 112, 64), "pool1_3x3_s2": (56, 56, 64), "pool2_3x3_s2": (28, 28, 192)}
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in norms} == {1e-5}
    assert backbone("bn_inception").build((64, 96, 10), None, width=0.25).output.shape[1:] == (2, 3, 256)


def test_pools_pad_as_caffe_does() -> None:
    video = keras.Input((8, 8, 4))
    block = keras.Model(video, _block(video, "block", *BLOCKS["3b"], width=0.05))
    ones = np.ones((1, 8, 8, 4), np.float32)
    pad, pool = (block.get_layer(f"block_pool{end}") for end in ("_pad", ""))
    averaged = keras.ops.convert_to_numpy(pool(pad(ones)))[0, :, :, 0]
    assert averaged[0, 0] == pytest.approx(4 / 9)  # the padding counts
    assert averaged[3, 3] == pytest.approx(1)
    row = np.arange(8, dtype=np.float32).reshape(1, 1, 8, 1).repeat(8, 1)
    shrunk = keras.ops.convert_to_numpy(_shrink(keras.ops.convert_to_tensor(row), "pool"))[0, 0, :, 0]
    assert shrunk.tolist() == [2, 4, 6, 7]  # windows begin at 0, and reach beyond the end alone


# === Streams ===


@pytest.mark.either
@pytest.mark.parametrize("name", ["dtpp_rgb", "dtpp_flow", pytest.param("dtpp_diff", marks=pytest.mark.slow)])
def test_a_stream_is_what_the_specification_says(name: str) -> None:
    card = zoo.model_info(name)
    assert card.spec.frames == 25 and card.spec.sampling == "segments" and card.spec.resize_to == 256
    model = zoo.create_model(name, classes=51)
    assert (model.count_params(), zoo.multiply_adds(model)) == (card.parameters, card.multiply_adds)
    modality = card.spec.modality
    assert zoo.specs(model) == {modality: card.spec}
    assert card.spec.channels == {"rgb": 3, "flow": 10, "diff": 3}[modality]
    assert model.get_layer(f"{modality}_frames").output.shape == (None, 25, 1024)
    assert model.get_layer(f"{modality}_pyramid").output.shape == (None, 7 * 1024)
    assert model.get_layer(f"{modality}_dropout").rate == 0.8
    dense = model.get_layer(f"{modality}_logits")
    kernel, bias = dense.get_weights()
    assert abs(float(kernel.std()) - 0.001) < 2e-5 and not bias.any()
    normalize = model.get_layer(f"{modality}_clip_input")
    assert normalize.mean == (128.0 if modality == "flow" else (104.0, 117.0, 123.0)) and normalize.std == 1.0


def test_the_flow_stream_begins_with_the_rgb_kernel_averaged(tmp_path: Path) -> None:
    rgb = backbone("convnet").build((16, 16, 3), None, width=0.125)
    randomize(rgb)
    rgb.save(tmp_path / "rgb.keras")
    flow = zoo.create_model("dtpp_flow", classes=3, backbone_weights=str(tmp_path / "rgb.keras"), **SMALL)
    network = flow.get_layer("flow_frames").layer
    kernel = rgb.get_layer("conv1_1").get_weights()[0]
    found = network.get_layer("conv1_1").get_weights()[0]
    assert found.shape == (3, 3, 10, 8)
    for channel in range(10):
        np.testing.assert_allclose(found[:, :, channel], kernel.mean(axis=2), atol=1e-6)
    np.testing.assert_array_equal(
        network.get_layer("conv4_2").get_weights()[0], rgb.get_layer("conv4_2").get_weights()[0]
    )
    # With weights, every batch normalization but the first is frozen.
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert [layer.trainable for layer in norms] == [True, False, False, False]
    for choice, wanted in (("none", [True] * 4), ("all", [False] * 4)):
        model = zoo.create_model("dtpp_rgb", classes=3, partial_bn=choice, **SMALL)
        norms = [layer for layer in model.get_layer("rgb_frames").layer.layers if "norm" in layer.name]
        assert [layer.trainable for layer in norms] == wanted


@pytest.mark.either
def test_weights_by_name_come_from_npz_too_and_bad_ones_are_named(tmp_path: Path) -> None:
    from zoo.weights import arrays_of

    rgb = randomize(backbone("convnet").build((16, 16, 3), None, width=0.125))
    arrays = arrays_of(rgb)
    write_npz(arrays, tmp_path / "rgb.npz")
    model = zoo.create_model("dtpp_rgb", classes=3, backbone_weights=str(tmp_path / "rgb.npz"), **SMALL)
    for name, weights in arrays.items():
        for mine, given_ in zip(
            model.get_layer("rgb_frames").layer.get_layer(name).get_weights(), weights, strict=True
        ):
            np.testing.assert_array_equal(mine, given_)
    broken = {**arrays, "conv2_1": [arrays["conv2_1"][0] * np.nan, arrays["conv2_1"][1]]}
    missing = {name: held for name, held in arrays.items() if name != "conv3_1"}
    for bad, said in ((broken, r"'conv2_1' holds values that are not numbers"), (missing, "no layer 'conv3_1'")):
        write_npz(bad, tmp_path / "bad.npz")
        with pytest.raises(ClipzooError, match=said):
            zoo.create_model("dtpp_rgb", classes=3, backbone_weights=str(tmp_path / "bad.npz"), **SMALL)
    with pytest.raises(ClipzooError, match="conv1_1"):
        zoo.create_model("dtpp_rgb", classes=3, backbone_weights=str(tmp_path / "rgb.npz"), **{**SMALL, "width": 0.25})
    whole = zoo.create_model("dtpp_rgb", classes=3, **SMALL)
    randomize(whole)
    whole.get_layer("rgb_logits").set_weights([w * np.nan for w in whole.get_layer("rgb_logits").get_weights()])
    whole.save(tmp_path / "nan.keras")
    with pytest.raises(ClipzooError, match=r"nan\.keras: weight .*not numbers"):
        zoo.load_model(tmp_path / "nan.keras")


def test_the_authors_caffe_arrays_become_keras_s() -> None:
    rng = np.random.default_rng(0)
    convolution = rng.normal(size=(4, 3, 5, 5))
    norm = [rng.normal(size=(1, 4, 1, 1)) for _ in range(4)]
    features = rng.normal(size=(6, 2))  # 6 steps of 2 channels
    pooled = {level: [features[a:b].max(axis=0) for a, b in pyramid_bins(6, (level,))] for level in (1, 2, 4)}
    # Caffe flattens a level as channel, then bin.
    caffe = np.concatenate([np.stack(pooled[level], axis=1).reshape(-1) for level in (1, 2, 4)])
    ours = np.concatenate([np.stack(pooled[level]).reshape(-1) for level in (1, 2, 4)])
    dense, bias = rng.normal(size=(3, 14)), rng.normal(size=3)
    arrays = from_caffe(
        {"conv1/7x7_s2": [convolution, rng.normal(size=4)], "conv1/7x7_s2_bn": norm, "fc-action": [dense, bias]},
        head="flow_logits",
    )
    assert set(arrays) == {"conv1_7x7_s2", "conv1_7x7_s2_bn", "flow_logits"}
    assert arrays["conv1_7x7_s2"][0].shape == (5, 5, 3, 4)
    assert arrays["conv1_7x7_s2"][0][1, 2, 0, 3] == convolution[3, 0, 1, 2]
    assert [array.shape for array in arrays["conv1_7x7_s2_bn"]] == [(4,)] * 4
    np.testing.assert_allclose(ours @ arrays["flow_logits"][0] + arrays["flow_logits"][1], dense @ caffe + bias)
    with pytest.raises(ClipzooError, match="no multiple of 7"):
        from_caffe({"fc": [rng.normal(size=(3, 15)), bias]})


@pytest.mark.either
def test_a_whole_stream_is_loaded_from_converted_arrays(tmp_path: Path) -> None:
    from zoo.weights import arrays_of

    model = lively("dtpp_flow", classes=3)
    write_npz(arrays_of(model), tmp_path / "whole.npz")
    again = zoo.create_model("dtpp_flow", classes=3, weights=str(tmp_path / "whole.npz"), **SMALL)
    clips = np.random.default_rng(0).integers(0, 256, (2, 6, 16, 16, 10), np.uint8)
    np.testing.assert_array_equal(again.predict(clips, verbose=0), model.predict(clips, verbose=0))


# === Solver ===


def test_the_solver_is_caffe_s() -> None:
    """Against the update rule written out: L2 in the gradient, inside the momentum, twice the rate on biases."""
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    start = [rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, start, strict=True):
        variable.assign(value)
    optimizer = CaffeSGD(0.1, 0.9, l2=0.01, global_clipnorm=0.5)
    expected, velocity = [v.copy() for v in start], [np.zeros_like(v) for v in start]
    for _ in range(3):
        gradients = [rng.normal(size=v.shape).astype(np.float32) for v in start]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
        cut = 0.5 / max(0.5, float(np.sqrt(sum((g**2).sum() for g in gradients))))
        for n, variable in enumerate(model.trainable_variables):
            rate = 0.2 if variable.path.endswith("bias") else 0.1
            gradient = gradients[n] * cut + (0.01 * expected[n] if variable.path.endswith("kernel") else 0)
            velocity[n] = 0.9 * velocity[n] - rate * gradient
            expected[n] = expected[n] + velocity[n]
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, atol=1e-5)
    again = CaffeSGD.from_config(optimizer.get_config())
    assert (again.l2, again.bias_rate) == (0.01, 2.0)


def test_the_protocol_is_the_paper_s() -> None:
    for modality, rate in (("rgb", 1e-2), ("flow", 1e-3)):
        recipe = Recipe(epochs=3, **protocol(modality))
        made = recipe.make_optimizer()
        assert isinstance(made, CaffeSGD)
        assert (float(made.learning_rate), made.momentum, made.l2, made.bias_rate) == (
            pytest.approx(rate),
            0.9,
            5e-4,
            2,
        )
        assert (made.global_clipnorm, made.gradient_accumulation_steps, recipe.factor) == (40 / 32, 32, 0.1)
        assert recipe.monitor == "class_accuracy"


def test_mean_class_accuracy_counts_classes_alike() -> None:
    metric = MeanClassAccuracy(3)
    truth = np.eye(3)[[0, 0, 0, 1]]
    metric.update_state(truth[:2], np.eye(3)[[0, 0]])
    metric.update_state(truth[2:], np.eye(3)[[1, 1]])
    assert float(metric.result()) == pytest.approx((2 / 3 + 1) / 2)  # class 2 has no clips


def test_accumulated_batches_make_one_step_of_their_mean() -> None:
    """32 gradients are cut as Caffe cuts their sum, and make one step; between steps nothing moves."""
    weight = keras.Variable(np.zeros(1, np.float32), name="kernel")
    solver = {"class_name": "clipzoo>CaffeSGD", "config": {"l2": 0.0, "clip_gradients": 40.0}}
    optimizer = Recipe(optimizer=solver, learning_rate=1.0, accumulate=32).make_optimizer()
    for batch in range(32):
        assert float(keras.ops.convert_to_numpy(weight)[0]) == 0
        optimizer.apply([keras.ops.convert_to_tensor(np.array([30.0 + batch], np.float32))], [weight])
    # The sum is 1456: cut to 40, divided by 32.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), [-40 / 32], rtol=1e-5)


@pytest.mark.slow
def test_the_protocol_trains(motion: ClipIndex, tmp_path: Path) -> None:
    model = zoo.create_model("dtpp_rgb", classes=motion.labels, **SMALL)
    index = ClipIndex(motion.root, tuple(clip._replace(split="train") for clip in motion), motion.labels)
    index = replace(index, clips=index.clips + tuple(c._replace(split="validation") for c in motion[::6]))
    recipe = Recipe(**{**protocol("rgb"), "epochs": 1, "accumulate": 4})
    run = zoo.train(index, model, recipe, out=tmp_path)
    assert int(model.optimizer.iterations) == 3  # 12 batches
    assert {"class_accuracy", "val_class_accuracy", "best"} <= set(run.read_history()[0])
    loaded = zoo.load_model(tmp_path, compile=True)  # with its optimizer and metrics
    assert isinstance(loaded.optimizer, CaffeSGD)


@pytest.mark.slow
def test_frozen_normalization_stays_as_it_is(motion: ClipIndex) -> None:
    model = lively("dtpp_rgb", classes=motion.labels, partial_bn="first", dropout=0.0)
    layers = [layer for layer in model.get_layer("rgb_frames").layer.layers if "norm" in layer.name]
    before = [[w.copy() for w in layer.get_weights()] for layer in layers]
    fit(model, ClipDataset(motion, zoo.specs(model), batch_size=16), recipe=Recipe(epochs=1))
    moved = [
        any((new != old).any() for new, old in zip(layer.get_weights(), held, strict=True))
        for layer, held in zip(layers, before, strict=True)
    ]
    assert moved == [True, False, False, False]


@pytest.mark.parametrize("name", [pytest.param("dtpp_flow", marks=pytest.mark.slow), "dtpp"])
@pytest.mark.either
def test_streams_are_exported_and_answer_from_a_file(motion: ClipIndex, tmp_path: Path, name: str) -> None:
    import onnx

    from export import Classifier, to_onnx

    model = lively(name, classes=motion.labels)
    metadata = to_onnx(model, tmp_path / "model.onnx")
    assert metadata.specs["flow"].flow == FlowSpec(bound=20)
    graph = onnx.load(tmp_path / "model.onnx").graph
    streams = 2 if name == "dtpp" else 1
    kinds = [node.op_type for node in graph.node]
    assert [value.name for value in graph.input] == (["rgb", "flow"] if streams == 2 else ["flow"])
    assert kinds.count("ReduceMax") <= 7 * streams and kinds.count("Slice") <= 7 * streams  # the pyramid
    classifier = Classifier(tmp_path / "model.onnx")
    prediction = classifier.predict(motion.path(0))
    clips = {n: c[None] for n, c in read_inputs(motion.path(0), zoo.specs(model)).items()}
    expected = model.predict(clips if len(clips) > 1 else clips["flow"], verbose=0)[0]
    found = [prediction.probabilities[label] for label in motion.labels]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ClipzooError, match="'flow' takes uint8"):
        classifier.scores({n: np.zeros((1, 6, 16, 16, 3), np.uint8) for n in ("rgb", "flow")})


@pytest.mark.either
@pytest.mark.slow
def test_one_dataset_feeds_both_streams_with_one_crop_and_one_mirror(motion: ClipIndex) -> None:
    model = zoo.create_model("dtpp", classes=motion.labels, **SMALL)
    augmentation = Augmentation(zoom=0, rotation=0, width_shift=0, height_shift=0, crop="multiscale")
    dataset = ClipDataset(motion, zoo.specs(model), batch_size=8, shuffle=True, augmentation=augmentation, seed=1)
    assert len(fit(model, dataset, recipe=Recipe(epochs=2))) == 2
    rgb, flow = zoo.specs(model).values()
    boxes = set()
    for seed in range(40):
        draw = augmentation.draw(np.random.default_rng(seed))
        tall, wide = 40, 60
        both = {augmentation._box(tall, wide, spec, draw) for spec in (rgb, flow)}
        assert len(both) == 1
        boxes |= both
    assert len(boxes) > 10
    # A pixel picture of where it is: what RGB shows after crop and mirror is where the flow was taken from.
    x = np.broadcast_to(np.arange(60, dtype=np.uint8) * 4, (6, 40, 60))
    for seed in range(10):
        draw = augmentation.draw(np.random.default_rng(seed))
        seen = augmentation.apply(np.repeat(x[..., None], 3, axis=-1), rgb, draw)[..., 0]
        field = np.stack([x, x] * 5, axis=-1)
        found = augmentation.apply(field, flow, draw)
        np.testing.assert_array_equal(found[..., 1], seen)  # y components keep their sign
        np.testing.assert_array_equal(found[..., 0], 255 - seen if draw.mirrored else seen)


@pytest.mark.either
def test_weights_of_two_backbones_are_not_mistaken_for_one(tmp_path: Path) -> None:
    both = zoo.create_model("dtpp", classes=3, **SMALL)
    both.save(tmp_path / "dtpp.keras")
    for option in ("weights", "backbone_weights"):
        with pytest.raises(ClipzooError, match="holds two backbones"):
            zoo.create_model("dtpp_rgb", classes=3, **{option: str(tmp_path / "dtpp.keras")}, **SMALL)
    with pytest.raises(ClipzooError, match="takes no weights"):
        zoo.create_model("dtpp", classes=3, weights=str(tmp_path / "dtpp.keras"), **SMALL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"levels": 3}, "levels (3)"),
        ({"levels": (1, 2, 4, 16)}, "cannot be pooled into"),
        ({"backbone": [1]}, "backbone ([1])"),
        ({"weights": 3}, "weights (3)"),
        ({"backbone": "bn_inception", "width": "abc"}, "width ('abc')"),
        ({"backbone": "bn_inception", "width": 1.0}, "at least 32x32"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        zoo.create_model("dtpp_rgb", classes=3, **{**SMALL, **options})
    assert said in str(error.value)
    for bad in ({"weight": "abc"}, {"flow": "dis"}, {"flow": {"foo": 1}}):
        with pytest.raises(ClipzooError, match=next(iter(bad))):
            zoo.create_model("dtpp", classes=3, **SMALL, **bad)


def test_colors_are_turned_to_the_order_of_the_backbone() -> None:
    pixels = np.broadcast_to(np.array([104, 117, 123], np.uint8), (1, 1, 8, 8, 3))
    for order, clip in (("bgr", pixels), ("rgb", pixels[..., ::-1])):
        spec = ClipSpec(frames=1, height=8, width=8, color_order=order)  # type: ignore[arg-type]
        layer = ClipInput(spec, **backbone("bn_inception").normalization(spec))
        assert not keras.ops.convert_to_numpy(layer(clip)).any()


@pytest.mark.either
def test_sweeps_choose_on_validation_and_report_on_test(tmp_path: Path) -> None:
    from zoo.scores import Scores

    rng = np.random.default_rng(0)
    labels = ("a", "b", "c")

    def scores(part: str, skill: float, clips: int = 60) -> Path:
        targets = np.arange(clips) % 3
        logits = rng.normal(size=(clips, 3)) + skill * np.eye(3)[targets]
        path = tmp_path / f"{part}-{skill}.npz"
        Scores(logits, targets, labels, "classification", tuple(f"{part}{n}" for n in range(clips))).save(path)
        return path

    good, poor = ((scores("val", skill), scores("test", skill)) for skill in (3.0, 0.2))
    done = clipzoo(
        "sweep", "--validation", good[0], poor[0], "--test", good[1], poor[1],
        "--picture", tmp_path / "sweep.png", "--json", tmp_path / "sweep.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "sweep.json").read_text())
    assert figures["chosen"] >= 0.5  # the good stream is the first
    assert figures["result"]["mean_class_accuracy"] > 0.7
    assert (tmp_path / "sweep.png").stat().st_size > 5000
    refused(invoke("sweep", "--validation", good[0], poor[0], "--test", good[0], poor[0]), "60 clips are in")
    refused(invoke("sweep", "--validation", good[0], poor[1], "--test", good[1], poor[1]), "same clips")
    (tmp_path / "bad.npz").write_bytes(b"no")
    refused(invoke("sweep", "--validation", tmp_path / "bad.npz", poor[0], "--test", good[1], poor[1]), "bad.npz")


@pytest.mark.either
@pytest.mark.slow
def test_the_two_stream_path_by_commands(motion: ClipIndex, tmp_path: Path) -> None:
    common = [
        "--set", "frames=6", "--set", "size=16", "--set", "backbone=convnet", "--set", "width=0.125", "--epochs", 1,
        "--recipe", "dtpp", "--set", "recipe.batch=8", "--set", "recipe.accumulate=2",
    ]  # fmt: skip
    for modality in ("rgb", "flow"):
        done = invoke("train", motion.root, "--model", f"dtpp_{modality}", *common, "--out", tmp_path / modality)
        assert done.returncode == 0, done.stderr
    done = clipzoo("fuse", tmp_path / "rgb", tmp_path / "flow", "--out", tmp_path / "dtpp.keras", "--weight", 0.4)
    assert done.returncode == 0, done.stderr
    assert invoke("export", tmp_path / "dtpp.keras", tmp_path / "dtpp.onnx", "--force").returncode == 0
    for model in ("dtpp.keras", "dtpp.onnx"):
        done = invoke(
            "evaluate", tmp_path / model, motion.root, "--list", tmp_path / "rgb" / "split.csv", "--split", "test",
            "--crops", 10, "--views", 2, "--scores", tmp_path / f"{model}.npz",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    keras_, onnx_ = (np.load(tmp_path / f"{model}.npz")["logits"] for model in ("dtpp.keras", "dtpp.onnx"))
    np.testing.assert_allclose(keras_, onnx_, atol=1e-3)
    refused(
        invoke("train", motion.root, "--weights", tmp_path / "flow", "--model", "dtpp_rgb", "--out", tmp_path / "x"),
        "--model dtpp_rgb does not go with --weights",
    )
    refused(invoke("fuse", tmp_path / "rgb", tmp_path / "rgb", "--out", tmp_path / "y.keras"), "both models take rgb")


def test_a_clip_too_short_for_its_stack_is_named(tmp_path: Path) -> None:
    from benchmarks.loading import write_long
    from loaders import VideoError, read_clip

    path = tmp_path / "short.mp4"
    write_long(path, minutes=1 / 600)  # 3 frames
    spec = ClipSpec(frames=4, height=16, width=16, modality="flow", stack=5, sampling="segments")
    with pytest.raises(VideoError, match=r"short\.mp4: 3 frames are too few for flow: a step compares 6 neighbors"):
        read_clip(path, spec)
    assert read_clip(path, spec.replace(short="repeat_last")).shape == spec.shape
