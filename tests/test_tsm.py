"""The temporal shift: what it moves, where it stands, whose weights it takes, what becomes of it in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from benchmarks.harness.models import randomize, with_time_distributed
from export import Classifier, to_onnx
from loaders import ClipIndex, ClipzooError
from loaders.cache import MemoryCache
from tests.support.archives import published
from tests.support.models import LABELS, SMALL, clips_for, lively
from tests.support.torch_files import Tensor, zipped
from zoo.backbones import backbone
from zoo.backbones.mobilenetv2 import STAGES
from zoo.features import FeatureDataset
from zoo.frozen import cut, freeze
from zoo.npz import write_npz
from zoo.tsm import TemporalShift, arrays
from zoo.weights import arrays_of

pytestmark = pytest.mark.keras
NAMES = {"tsm_mobilenetv2": "mobilenetv2", "tsm_efficientnet_lite0": "efficientnet_lite0"}
SHIFTS = {"tsm_mobilenetv2": 10, "tsm_efficientnet_lite0": 9}


def model_of(name: str, **options: Any) -> keras.Model:
    return zoo.create_model(name, classes=LABELS, **{**SMALL[name], **options})


def frame_features(model: keras.Model, clips: np.ndarray) -> np.ndarray:
    """(B, T, 1280), before they are averaged."""
    return keras.Model(model.input, model.get_layer("frames").output).predict(clips, verbose=0)


# === What it moves ===


def plainly(clips: np.ndarray, share: float, shift: str) -> np.ndarray:
    """The shift frame by frame, channel by channel: (B, T, h, w, C)."""
    out = np.zeros_like(clips)
    moved = int(share * clips.shape[-1])
    for t in range(clips.shape[1]):
        for c in range(clips.shape[-1]):
            step = 0
            if c < moved:
                step = 1 if shift == "both" else -1
            elif c < 2 * moved and shift == "both":
                step = -1
            if 0 <= t + step < clips.shape[1]:
                out[:, t, ..., c] = clips[:, t + step, ..., c]
    return out


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 5),
    channels=st.integers(1, 17),
    share=st.sampled_from([0, 1 / 8, 1 / 4, 1 / 3, 1 / 2]),
    shift=st.sampled_from(["both", "past"]),
)
def test_the_shift_is_the_plain_one(batch: int, frames: int, channels: int, share: float, shift: Any) -> None:
    clips = np.random.default_rng(0).normal(size=(batch, frames, 2, 3, channels)).astype("float32")
    expected = plainly(clips, share, shift)
    layer = TemporalShift(frames, share=share, shift=shift)
    found = keras.ops.convert_to_numpy(layer(clips.reshape(-1, *clips.shape[2:])))
    np.testing.assert_array_equal(found.reshape(clips.shape), expected)
    # What the file takes: channels of a clip by their numbers, and one of zeros.
    flat = np.concatenate([np.moveaxis(clips, -1, 2).reshape(batch, -1, 2, 3), np.zeros((batch, 1, 2, 3))], axis=1)
    taken = flat[:, layer.sources(channels).ravel()].reshape(batch, frames, channels, 2, 3)
    np.testing.assert_array_equal(np.moveaxis(taken, 2, -1), expected)


def test_the_ends_get_zeros() -> None:
    clips = np.ones((2 * 3, 1, 1, 8), np.float32)
    both = keras.ops.convert_to_numpy(TemporalShift(3)(clips)).reshape(2, 3, 8)
    assert both[:, :, 0].tolist() == [[1, 1, 0]] * 2 and both[:, :, 1].tolist() == [[0, 1, 1]] * 2
    assert (both[:, :, 2:] == 1).all()
    past = keras.ops.convert_to_numpy(TemporalShift(3, shift="past")(clips)).reshape(2, 3, 8)
    assert past[:, :, 0].tolist() == [[0, 1, 1]] * 2 and (past[:, :, 1:] == 1).all()


@pytest.mark.slow
def test_from_the_past_alone_no_frame_knows_a_later_one() -> None:
    both = lively("tsm_mobilenetv2")
    past = model_of("tsm_mobilenetv2", shift="past")
    past.set_weights(both.get_weights())
    clips = clips_for(both)
    other = clips.copy()
    other[:, 2] = 255 - other[:, 2]
    before, after = (frame_features(past, each) for each in (clips, other))
    np.testing.assert_allclose(before[:, :2], after[:, :2], atol=1e-5 * np.abs(before).max())
    assert np.abs(before[:, 2] - after[:, 2]).max() > 1e-2
    before, after = (frame_features(both, each) for each in (clips, other))
    assert np.abs(before[:, 0] - after[:, 0]).max() > 1e-2


@pytest.mark.slow
def test_clips_of_a_batch_know_nothing_of_each_other() -> None:
    model = lively("tsm_mobilenetv2")
    clips = clips_for(model)
    together = model.predict_on_batch(clips)
    assert np.ptp(together, axis=0).max() > 1e-3
    np.testing.assert_allclose(model.predict_on_batch(clips[::-1]), together[::-1], atol=1e-5)


@pytest.mark.slow
def test_without_a_share_it_is_the_average_and_with_one_it_knows_of_order() -> None:
    average = lively("efficientnet_lite0_average", frames=3)
    clips = clips_for(average)
    logits = zoo.with_logits(average).predict(clips, verbose=0)["logits"]
    for share, same in ((0, True), (1 / 8, False)):
        model = model_of("tsm_efficientnet_lite0", share=share)
        model.set_weights(average.get_weights())
        net = zoo.with_logits(model)
        for each in (clips, clips[:, ::-1]):
            off = np.abs(net.predict(each, verbose=0)["logits"] - logits).max() / np.ptp(logits)
            assert off < 1e-5 if same else off > 1e-2


# === Where it stands ===


@pytest.mark.either
@pytest.mark.parametrize("name", NAMES)
def test_it_stands_in_every_branch_beside_a_shortcut(name: str) -> None:
    network = model_of(name, share=1 / 4, shift="past").get_layer("frames").layer
    added = [layer for layer in network.layers if isinstance(layer, keras.layers.Add)]
    assert len(added) == SHIFTS[name]
    for layer in added:
        shift = network.get_layer(layer.name.replace("_add", "_shift"))
        assert shift.input is layer.input[0]  # the shortcut goes round it
        assert network.get_layer(layer.name.replace("_add", "_expand_conv")).input is shift.output
        assert (shift.frames, shift.share, shift.shift) == (3, 1 / 4, "past")


@pytest.mark.either
def test_the_head_is_the_average_s() -> None:
    model = model_of("tsm_mobilenetv2", dropout=0.3)
    assert [layer.name for layer in model.layers] == [
        "video", "clip_input", "frames", "average", "dropout", "logits", "probabilities",
    ]  # fmt: skip
    assert model.get_layer("dropout").rate == 0.3
    assert model_of("tsm_mobilenetv2").get_layer("dropout").rate == 0.5
    spec = zoo.model_info("tsm_mobilenetv2").spec
    assert (spec.frames, spec.height, spec.sampling, spec.resize) == (8, 224, "segments", "fit")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shift": "future"}, "shift ('future') must be one of both, past"),
        ({"share": 0.6}, "share (0.6)"),
        ({"share": True}, "share (True)"),
        ({"dropout": 1}, "dropout (1)"),
        ({"alpha": 3}, "alpha (3) must be a number >= 0.03125 and at most 2"),
        ({"width": 0.5}, "no option 'width'"),
        ({"entry": None}, "no option 'entry'"),
        ({"backbone": "vgg16"}, "settles it"),
        ({"backbone_weights": "none.npz"}, "no such file"),
        ({"weights": __file__, "backbone_weights": __file__}, "exclude each other"),
        ({"weights": __file__}, "must be a .keras or .npz file"),
    ],
)
@pytest.mark.either
def test_a_bad_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        model_of("tsm_mobilenetv2", **options)
    assert said in str(error.value)


def test_a_backbone_without_shortcuts_is_refused() -> None:
    with pytest.raises(ClipzooError, match=r"backbone \('vgg16'\) has no entry to residual branches"):
        zoo.tsm.tsm(zoo.model_info("tsm_mobilenetv2").spec, LABELS, name="x", task="classification", backbone="vgg16")


# === Training ===


@pytest.mark.slow
@pytest.mark.parametrize("train_from", ["head", "block14_expand_conv", "block15_shift"])
def test_the_two_parts_give_what_the_whole_gives(train_from: str) -> None:
    model = lively("tsm_mobilenetv2")
    freeze(model, train_from)
    parts = cut(model, train_from)
    clips = clips_for(model)
    found = parts.rest.predict_on_batch(parts.frozen.predict_on_batch(clips))
    np.testing.assert_allclose(found, model.predict_on_batch(clips), atol=1e-5)
    assert not parts.frozen.trainable_weights
    assert {id(w) for w in parts.rest.trainable_weights} == {id(w) for w in model.trainable_weights}


@pytest.mark.either
def test_a_cut_between_shift_and_branch_is_named() -> None:
    with pytest.raises(ClipzooError, match="other layers stand beside it"):
        cut(model_of("tsm_mobilenetv2"), "block15_expand_conv")


@pytest.mark.slow
def test_kept_features_of_another_shift_are_not_taken(motion: ClipIndex) -> None:
    cache, models = MemoryCache(), [lively("tsm_mobilenetv2")]
    for options in ({"shift": "past"}, {"share": 1 / 4}):
        models.append(model_of("tsm_mobilenetv2", **options))
        models[-1].set_weights(models[0].get_weights())
    one = motion.__class__(**{**vars(motion), "clips": motion.clips[:2]})
    found = []
    for model in models:
        freeze(model, "head")
        found.append(FeatureDataset(cut(model, "head").frozen, zoo.specs(model), one, cache=cache)[0][0])
    assert all(np.abs(found[0] - each).max() > 1e-3 for each in found[1:])


@pytest.mark.slow
def test_all_of_it_trains(motion: ClipIndex, tmp_path: Path) -> None:
    recipe = zoo.Recipe(epochs=1, batch=12, seed=1)
    run = zoo.train(motion, "tsm_mobilenetv2", recipe, out=tmp_path / "run", options=SMALL["tsm_mobilenetv2"])
    keras.utils.set_random_seed(recipe.seed)
    fresh = zoo.create_model("tsm_mobilenetv2", classes=motion.labels, **SMALL["tsm_mobilenetv2"])
    pairs = zip(fresh.weights, zoo.load_model(run.last).weights, strict=True)
    assert all(not np.array_equal(np.array(a), np.array(b)) for a, b in pairs if a.name == "kernel")


@pytest.mark.either
def test_its_frames_do_not_go_through_the_network_one_by_one() -> None:
    with pytest.raises(ClipzooError, match="TimeDistributed shows them one by one"):
        with_time_distributed(model_of("tsm_mobilenetv2"))


# === Weights ===


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_still_clip_has_the_features_of_the_plain_backbone_where_no_end_reaches(name: str) -> None:
    file = published(NAMES[name], "imagenet")
    steps = SHIFTS[name]  # each shift carries the zeros of the first frame one frame on
    model = model_of(name, frames=steps + 2, shift="past", backbone_weights=str(file))
    frame = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32, 3), np.uint8)
    found = frame_features(model, frame.repeat(steps + 2, axis=1))[0]
    plain = backbone(NAMES[name]).create((32, 32, 3), weights=file, pooling="average")
    pixels = keras.Model(model.input, model.get_layer("clip_input").output)
    expected = plain.predict(pixels.predict(frame.repeat(steps + 2, axis=1), verbose=0)[0, :1], verbose=0)[0]
    off = np.abs(found - expected).max(axis=1) / np.abs(expected).max()
    assert np.ptp(expected) > 0.1
    assert (off[steps:] < 1e-4).all() and (off[:2] > 0.1).all(), off


@pytest.mark.slow
def test_a_file_of_the_plain_backbone_or_of_the_whole_is_taken_by_name(tmp_path: Path) -> None:
    plain = randomize(backbone("mobilenetv2").create((32, 32, 3), weights=None))
    write_npz(arrays_of(plain), tmp_path / "plain.npz")
    plain.save(tmp_path / "plain.keras")
    for file in ("plain.npz", "plain.keras"):
        model = model_of("tsm_mobilenetv2", backbone_weights=str(tmp_path / file))
        held = arrays_of(model.get_layer("frames").layer)
        assert held.keys() == arrays_of(plain).keys()
        np.testing.assert_array_equal(held["block3_expand_conv"][0], arrays_of(plain)["block3_expand_conv"][0])
    whole = randomize(model)
    whole.save(tmp_path / "whole.keras")
    again = model_of("tsm_mobilenetv2", weights=str(tmp_path / "whole.keras"))
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def authors(classes: int = 3, *, online: bool = False, shifted: bool = True) -> dict[str, np.ndarray]:
    """A state dict with the names and shapes of mit-han-lab/temporal-shift-module (archs/mobilenet_v2.py)."""
    rng, state = np.random.default_rng(0), {}
    start = "" if online else "module.base_model."

    def convolution(place: str, number: int, shape: tuple[int, ...], net: str = "") -> None:
        state[f"{start}{place}.{number}{net}.weight"] = rng.normal(0, 0.1, shape)
        norm = f"{start}{place}.{number + 1}"
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{part}"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{norm}.num_batches_tracked"] = np.array(7.0)

    convolution("features.0", 0, (32, 3, 3, 3))
    channels, block = 32, 0
    for stage in STAGES:
        for place in range(stage.blocks):
            block += 1
            inner, here, at = channels * stage.expansion, f"features.{block}.conv", 0
            if stage.expansion > 1:
                residual = place > 0 and not online and shifted  # all others stride, or change the number of channels
                convolution(here, at, (inner, channels, 1, 1), ".net" if residual else "")
                at += 3
            convolution(here, at, (inner, 1, 3, 3))
            convolution(here, at + 3, (stage.filters, inner, 1, 1))
            channels = stage.filters
    convolution("features.18", 0, (1280, channels, 1, 1))
    last = "classifier" if online else "module.new_fc"
    state |= {f"{last}.weight": rng.normal(0, 0.1, (classes, 1280)), f"{last}.bias": rng.normal(size=classes)}
    return {name: values.astype("<f4") for name, values in state.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes such a state dict as PyTorch does, beside the epoch, and gives the file."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write(name: str, state: dict[str, np.ndarray]) -> str:
        tensors = {key: Tensor(values, key=str(place)) for place, (key, values) in enumerate(state.items())}
        (folder / name).write_bytes(zipped({"epoch": 3, "arch": "mobilenetv2", "state_dict": tensors}))
        return str(folder / name)

    return write


@pytest.mark.either
def test_the_authors_checkpoint_fills_the_trunk_or_all_of_it(checkpoint: Callable[..., str]) -> None:
    state = authors()
    file = checkpoint("TSM_kinetics_RGB_mobilenetv2_shift8.pth", state)
    whole = model_of("tsm_mobilenetv2", weights=file)
    trunk = zoo.create_model("tsm_mobilenetv2", classes=5, backbone_weights=file, **SMALL["tsm_mobilenetv2"])
    for model in (whole, trunk):
        held, start = arrays_of(model), "module.base_model.features"
        expand, depthwise = state[f"{start}.3.conv.0.net.weight"], state[f"{start}.3.conv.3.weight"]
        np.testing.assert_array_equal(held["block3_expand_conv"][0], expand.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(held["block3_depthwise_conv"][0], depthwise.transpose(2, 3, 0, 1))
        np.testing.assert_array_equal(held["block1_project_norm"][2], state[f"{start}.1.conv.4.running_mean"])
        np.testing.assert_array_equal(held["top_norm"][3], state[f"{start}.18.1.running_var"])
        assert zoo.origins(model) == [{"weights": "TSM_kinetics_RGB_mobilenetv2_shift8.pth"}]
    np.testing.assert_array_equal(arrays_of(whole)["logits"][0], state["module.new_fc.weight"].T)
    np.testing.assert_array_equal(arrays_of(whole)["logits"][1], state["module.new_fc.bias"])
    assert arrays_of(trunk)["logits"][0].shape == (1280, 5)
    gray = model_of("tsm_mobilenetv2", backbone_weights=file, spec={"modality": "gray"})
    stem = arrays_of(gray)["stem_conv"][0]
    np.testing.assert_allclose(stem, arrays_of(whole)["stem_conv"][0].mean(axis=2, keepdims=True), atol=1e-7)


@pytest.mark.either
def test_the_authors_network_for_streams_is_that_of_the_past(checkpoint: Callable[..., str]) -> None:
    state = authors(online=True)
    file = checkpoint("mobilenetv2_jester_online.pth.tar", state)
    model = model_of("tsm_mobilenetv2", shift="past", weights=file)
    np.testing.assert_array_equal(arrays_of(model)["logits"][0], state["classifier.weight"].T)
    assert arrays(state).keys() == arrays(authors()).keys() == {name for name, held in arrays_of(model).items() if held}


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        (authors(4), {"weights": "x.pth"}, "layer 'logits' has .*1280, 4.*check classes"),
        (authors(), {"weights": "x.pth", "shift": "past"}, "shift is 'both', not 'past'; say shift=both"),
        (authors(), {"weights": "x.pth", "share": 0}, "shift is 'both', not 'none'; say shift=both"),
        (authors(online=True), {"weights": "x.pth"}, "shift is 'past', not 'both'; say shift=past"),
        (authors(shifted=False), {"weights": "x.pth"}, "shift is 'none', not 'both'; say share=0"),
        ({"module.base_model.conv1.weight": np.zeros(3, "<f4")}, {"backbone_weights": "x.pth"}, "have no 'features.0"),
    ],
)
@pytest.mark.either
def test_a_checkpoint_that_does_not_fit_is_one_sentence(
    state: dict[str, np.ndarray], options: dict[str, Any], said: str, checkpoint: Callable[..., str]
) -> None:
    file = checkpoint("x.pth", state)
    with pytest.raises(ClipzooError, match=rf"x\.pth.*{said}") as error:
        model_of("tsm_mobilenetv2", **{key: file if value == "x.pth" else value for key, value in options.items()})
    assert "\n" not in str(error.value)


@pytest.mark.either
def test_a_checkpoint_is_of_mobilenetv2_alone(checkpoint: Callable[..., str]) -> None:
    file = checkpoint("x.pth", authors())
    with pytest.raises(ClipzooError, match=r"x\.pth.*read for mobilenetv2 alone, not for efficientnet_lite0"):
        model_of("tsm_efficientnet_lite0", backbone_weights=file)


# === The file ===


EXPORTED: list[tuple[str, dict[str, Any]]] = [
    ("tsm_mobilenetv2", {"size": 64}),  # of maps of 1x1 the converter makes more Reshape
    ("tsm_mobilenetv2", {"size": 64, "shift": "past", "frames": 2}),
    ("tsm_efficientnet_lite0", {"size": 64}),
]
if keras.config.backend() == "jax":
    EXPORTED = EXPORTED[:1]  # the conversion is the same process; what differs is who saved the model


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), EXPORTED)
def test_in_the_file_a_shift_takes_channels_and_nothing_is_turned_round(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model, file = lively(name, **options), tmp_path / "tsm.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # models of the zoo are exported without a remark
        metadata = to_onnx(model, file)
    assert metadata.parity["variation"] > 1e-3
    operators = [node.op_type for node in onnx.load(file).graph.node]
    shifts = SHIFTS[name]
    pads = 4 if name == "tsm_mobilenetv2" else 0  # of convolutions that pad as PyTorch does
    counted = {name: operators.count(name) for name in ("Gather", "Pad", "Reshape", "Transpose", "Slice", "Concat")}
    assert counted == {
        "Gather": shifts, "Pad": shifts + pads, "Reshape": 2 * shifts + 2, "Transpose": 1, "Slice": 0, "Concat": 0,
    }  # fmt: skip
    assert not {"Loop", "Scan", "If", "Shape"} & set(operators)
    clips = clips_for(model, count=5)
    expected = model.predict(clips, verbose=0)
    classifier = Classifier(file)
    for count in (5, 1):  # the batch is dynamic
        np.testing.assert_allclose(classifier.scores(clips[:count])["probabilities"], expected[:count], atol=1e-4)


@pytest.mark.either
@pytest.mark.slow
def test_a_float16_file_answers_as_keras_does(tmp_path: Path) -> None:
    model, file = lively("tsm_mobilenetv2"), tmp_path / "half.onnx"
    assert to_onnx(model, file, precision="float16").parity["same_decision"] == 1
    clips = clips_for(model, count=5)
    np.testing.assert_allclose(
        Classifier(file).scores(clips)["probabilities"], model.predict(clips, verbose=0), atol=2e-2
    )
