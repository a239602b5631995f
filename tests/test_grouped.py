"""`grouped`: three neighboring gray frames as the channels of a step, beside NumPy and OpenCV alone, on every road."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import Classifier
from loaders import (
    Augmentation,
    ClipDataset,
    ClipIndex,
    ClipSpec,
    ClipzooError,
    DiskCache,
    MemoryCache,
    VideoError,
    clip_from_frames,
    read_clip,
    read_crops,
    read_inputs,
)
from loaders.clip import read_batches
from loaders.motion import motion_frames
from loaders.pictures import readable
from loaders.sampling import draws_for, needs_frames, sample, uniform
from loaders.split import SPLITS
from tests.support.commands import invoke
from tests.support.onnx_files import LABELS, by_hand, write_model

SPEC = ClipSpec(frames=4, height=12, width=16, modality="grouped")
APART = SPEC.replace(pairs="sampled")
SPECS = {
    "uniform": SPEC,
    "one step": SPEC.replace(frames=1),
    "dense": SPEC.replace(frames=2, sampling="dense", stride=3),
    "segments": SPEC.replace(frames=3, sampling="segments"),
    "fit": SPEC.replace(resize="fit", resize_to=20, interpolation="linear"),
    "apart": APART,
    "dense apart": APART.replace(frames=2, sampling="dense", stride=2),
}


def decoded(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    while True:
        more, frame = capture.read()
        if not more:
            return
        yield frame


def reference(frames: list[np.ndarray], spec: ClipSpec, starts: list[tuple[int, int, int]]) -> np.ndarray:
    """The clip made with OpenCV and NumPy alone, of BGR frames."""
    how = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}[spec.interpolation]
    side = spec.resize_to or 0
    size = (spec.width, spec.height) if spec.resize == "stretch" else (side, side)  # the clips are square
    small = [cv2.cvtColor(cv2.resize(frame, size, interpolation=how), cv2.COLOR_BGR2GRAY) for frame in frames]
    top, left = ((size[1] - spec.height) // 2, (size[0] - spec.width) // 2)
    cropped = [frame[top : top + spec.height, left : left + spec.width] for frame in small]
    return np.stack([np.dstack([cropped[n] for n in three]) for three in starts])


# By hand, for the 8 frames of the motion clips.
STARTS = {
    "uniform": [(0, 1, 2), (2, 3, 4), (3, 4, 5), (5, 6, 7)],
    "one step": [(2, 3, 4)],
    "dense": [(1, 2, 3), (4, 5, 6)],
    "segments": [(0, 1, 2), (2, 3, 4), (5, 6, 7)],
    "fit": [(0, 1, 2), (2, 3, 4), (3, 4, 5), (5, 6, 7)],
    "apart": [(0, 1, 3), (1, 3, 4), (3, 4, 6), (4, 6, 7)],
    "dense apart": [(0, 2, 4), (2, 4, 6)],
}


@pytest.mark.parametrize("name", SPECS)
def test_every_road_gives_what_opencv_and_numpy_give(motion: ClipIndex, tmp_path: Path, name: str) -> None:
    spec, path = SPECS[name], motion.path(5)
    frames = list(decoded(path))
    wanted = reference(frames, spec, STARTS[name])
    assert wanted.shape == spec.shape == (spec.frames, 12, 16, 3)
    assert (wanted[..., 0] != wanted[..., 2]).any()  # something moves
    rgb = np.stack(frames)[..., ::-1]
    disk = DiskCache(tmp_path)
    (batch,) = read_batches([path], {"video": spec}, batch_size=1)
    roads = {
        "file": read_clip(path, spec),
        "frames in memory": clip_from_frames(rgb, spec),
        "a cache in memory": [read_clip(path, spec, cache=cache) for cache in [MemoryCache()] * 2][1],
        "a cache on disk": [read_clip(path, spec, cache=disk) for _ in range(2)][1],
        "one pass": batch.clips["video"][0],
        "the loader": ClipDataset(ClipIndex(motion.root, motion.clips[5:6], motion.labels), spec)[0][0][0],
        "crops": read_crops(path, {"video": spec}, crops=1)["video"][0],
        "beside another input": read_inputs(path, {"rgb": spec.replace(modality="rgb", pairs="neighbors"), "x": spec})[
            "x"
        ],
    }
    for road, found in roads.items():
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted, err_msg=road)


def test_grey_is_the_luma_of_bt_601(motion: ClipIndex) -> None:
    spec = ClipSpec(frames=1, height=48, width=48, modality="grouped")
    rgb = np.stack(list(decoded(motion.path(0))))[2:5, ..., ::-1]
    luma = np.moveaxis(rgb @ np.array([0.299, 0.587, 0.114]), 0, -1)
    assert np.abs(read_clip(motion.path(0), spec)[0] - luma).max() <= 0.51


def test_the_runtime_answers_for_files_and_frames_alike(motion: ClipIndex, tmp_path: Path) -> None:
    file = write_model(tmp_path / "model.onnx", spec=SPEC, shape=SPEC.shape)
    classifier = Classifier(file)
    assert classifier.specs == {"video": SPEC}
    for path in motion.paths[:3]:
        expected = dict(zip(LABELS, by_hand(read_clip(path, SPEC)), strict=True))
        frames = np.stack(list(decoded(path)))[..., ::-1]
        for found in (classifier.predict(path), classifier.predict(frames)):
            assert found.probabilities == pytest.approx(expected, abs=1e-5)
    windows = classifier.predict_windows(motion.path(0), 0.3)
    for window in windows:
        assert window.start is not None and window.end is not None
        clip = read_clip(motion.path(0), SPEC, span=(window.start, window.end))
        assert window.probabilities == pytest.approx(dict(zip(LABELS, by_hand(clip), strict=True)), abs=1e-5)
    done = invoke("predict", file, motion.path(0))
    assert done.returncode == 0 and classifier.predict(motion.path(0)).label in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("count", "short", "frames", "wanted"),
    [
        (3, "spread", 1, [(0, 1, 2)]),
        (3, "spread", 2, [(0, 1, 2), (0, 1, 2)]),
        (4, "spread", 3, [(0, 1, 2), (1, 2, 3), (1, 2, 3)]),
        (4, "repeat_last", 3, [(0, 1, 2), (1, 2, 3), (1, 2, 3)]),
        (4, "wrap", 3, [(0, 1, 2), (1, 2, 3), (0, 1, 2)]),
        (2, "repeat_last", 1, [(0, 1, 1)]),
        (2, "wrap", 2, [(0, 1, 1), (0, 1, 1)]),
        (1, "repeat_last", 2, [(0, 0, 0), (0, 0, 0)]),
        (1, "wrap", 1, [(0, 0, 0)]),
        (5, "error", 3, [(0, 1, 2), (1, 2, 3), (2, 3, 4)]),
        (2, "spread", 1, "2 frames are too few for grouped: a step groups 3 neighbors; short='repeat_last'"),
        (1, "spread", 1, "1 frame is too few for grouped: a step groups 3 neighbors"),
        (2, "error", 1, "2 frames are too few for grouped"),
        (4, "error", 3, "4 frames are too few for 3 steps (uniform): 5 are needed"),
    ],
)
def test_short_files_follow_the_policy(tmp_path: Path, count: int, short: Any, frames: int, wanted: Any) -> None:
    path = tmp_path / "short.avi"
    pictures = motion_frames("turning", frames=count + 1, size=48, rng=np.random.default_rng(0))[:count]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (48, 48))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    held = list(decoded(path))
    assert len(held) == count
    spec = SPEC.replace(short=short, frames=frames)
    rng = np.random.default_rng
    if isinstance(wanted, str):
        for cache in (None, MemoryCache()):
            with pytest.raises(VideoError) as error:
                read_clip(path, spec, cache=cache)
            assert wanted in str(error.value)
        with pytest.raises(ClipzooError):
            clip_from_frames(np.stack(held), spec)
        assert needs_frames(spec)
    else:
        np.testing.assert_array_equal(read_clip(path, spec), reference(held, spec, wanted))
    # What is drawn at random is refused, or found, in a cache as without one.
    for sampling in ("dense", "segments"):
        drawn = spec.replace(sampling=sampling)  # type: ignore[arg-type]
        cache = MemoryCache()
        for seed in range(3):
            try:
                plain = read_clip(path, drawn, split="train", rng=rng(seed))
            except VideoError as error:
                with pytest.raises(VideoError) as cached:
                    read_clip(path, drawn, split="train", rng=rng(seed), cache=cache)
                assert str(cached.value) == str(error)
                continue
            np.testing.assert_array_equal(read_clip(path, drawn, split="train", rng=rng(seed), cache=cache), plain)
    # Frames among the sampled ones repeat where they stand.
    if short != "error":
        assert read_clip(path, spec.replace(pairs="sampled")).shape == spec.shape


@given(
    count=st.integers(1, 60),
    frames=st.integers(1, 12),
    sampling=st.sampled_from(["uniform", "dense", "segments"]),
    short=st.sampled_from(["spread", "repeat_last", "wrap"]),
    split=st.sampled_from(SPLITS),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=14, max_size=14),
)
def test_a_step_is_three_frames_in_a_row(
    count: int, frames: int, sampling: Any, short: Any, split: Any, draws: list[float]
) -> None:
    spec = SPEC.replace(frames=frames, sampling=sampling, short=short)
    if count >= 3 or short != "spread":
        for ((first, second, third),) in sample(count, spec, split=split, draws=draws):
            assert (second, third) == (min(first + 1, count - 1), min(first + 2, count - 1))
            assert first <= max(0, count - 3)
    single = spec.replace(modality="rgb", frames=frames + 2)
    taken = [step[0][0] for step in sample(count, single, split=split, draws=draws)]
    apart = sample(count, spec.replace(pairs="sampled"), split=split, draws=draws)
    assert [step[0] for step in apart] == list(zip(taken, taken[1:], taken[2:], strict=False))


def test_groups_that_follow_each_other_are_dense_with_a_stride_of_3() -> None:
    spec = SPEC.replace(frames=10, sampling="dense", stride=3)
    assert [frame for ((*three,),) in sample(30, spec) for frame in three] == list(range(30))


def test_random_draws_of_other_modalities_stay_as_they_were() -> None:
    others = [ClipSpec(frames=5, height=8, width=8, modality=m) for m in ("rgb", "gray", "diff", "flow")]  # type: ignore[arg-type]
    assert {draws_for([spec]) for spec in others} == {6}
    assert draws_for([*others, SPEC]) == draws_for([SPEC]) == 6
    assert draws_for([SPEC.replace(frames=5)]) == 7
    assert uniform(6, 4) == [three[0] for three in STARTS["uniform"]]


def grays(clip: np.ndarray, augmentation: Augmentation, draw: Any) -> np.ndarray:
    """Each channel of a clip, changed on its own as a gray clip."""
    gray = ClipSpec(frames=len(clip), height=12, width=16, modality="gray")
    return np.concatenate([augmentation.apply(clip[..., [n]], gray, draw) for n in range(3)], axis=-1)


def test_augmentation_changes_each_channel_as_it_changes_a_grey_frame(motion: ClipIndex) -> None:
    frames = np.stack(list(decoded(motion.path(5))))[..., ::-1]
    clip = clip_from_frames(frames, SPEC)
    chosen = Augmentation(brightness=0.3, contrast=0.5)
    for seed in range(6):
        draw = chosen.draw(np.random.default_rng(seed))
        found = chosen.apply(clip, SPEC, draw)
        apart = grays(clip, chosen, draw)
        assert np.abs(found.astype(int) - apart).max() <= 1 and (found != clip).any()
    flip = Augmentation(zoom=0, rotation=0, width_shift=0, height_shift=0)
    draws = [dataclasses.replace(flip.draw(np.random.default_rng(0)), mirrored=turned) for turned in (False, True)]
    plain, turned = (flip.apply(clip, SPEC, draw) for draw in draws)
    np.testing.assert_array_equal(plain, clip)
    np.testing.assert_array_equal(turned, clip[:, :, ::-1])  # a plain mirror: the moments stay in their order
    np.testing.assert_array_equal(turned, clip_from_frames(frames[:, :, ::-1], SPEC))
    light = Augmentation(zoom=0, flip=False, rotation=0, width_shift=0, height_shift=0, brightness=0.3)
    draw = light.draw(np.random.default_rng(1))
    assert (light.apply(clip, SPEC, draw) != clip).mean() > 0.5
    crops = read_crops(motion.path(5), {"": SPECS["fit"]})[""]
    np.testing.assert_array_equal(crops[5:], crops[:5, :, :, ::-1])


def test_a_picture_shows_the_three_frames_as_colors_in_their_order(motion: ClipIndex) -> None:
    clip = read_clip(motion.path(5), SPEC)
    for spec in (SPEC, SPEC.replace(color_order="bgr")):  # which is of colors, and these are none
        np.testing.assert_array_equal(read_clip(motion.path(5), spec), clip)
        np.testing.assert_array_equal(readable(clip, spec), clip)
    still = clip_from_frames(np.repeat(np.stack(list(decoded(motion.path(5))))[:1], 3, axis=0), SPEC)
    assert (still == still[..., :1]).all()


@pytest.mark.keras
@pytest.mark.parametrize("name", ["mobilenet", "vgg16", "convnet", "efficientnet_lite0"])
def test_a_backbone_takes_a_still_group_as_a_grey_photograph_and_keeps_the_order(name: str) -> None:
    import keras

    from zoo.backbones import backbone
    from zoo.layers import ClipInput

    rng = np.random.default_rng(0)
    spec = ClipSpec(frames=1, height=6, width=6, modality="grouped")
    photo = np.repeat(rng.integers(0, 256, (1, 1, 6, 6, 1), np.uint8), 3, axis=-1)
    group = rng.integers(0, 256, (1, 1, 6, 6, 3), np.uint8)

    def entering(spec: ClipSpec, clips: np.ndarray) -> np.ndarray:
        layer = ClipInput(spec, **backbone(name).normalization(spec))
        return np.asarray(keras.ops.convert_to_numpy(layer(clips)))

    np.testing.assert_array_equal(entering(spec, photo), entering(spec.replace(modality="rgb"), photo))
    found = entering(spec, group)
    for moment in range(3):
        alone = np.repeat(group[..., [moment]], 3, axis=-1)
        np.testing.assert_array_equal(found[..., moment], entering(spec, alone)[..., moment])


@pytest.mark.keras
def test_a_model_begins_from_weights_of_3_channels(motion: ClipIndex, tmp_path: Path) -> None:
    import zoo
    from benchmarks.harness.models import randomize
    from tests.support.models import SMALL
    from zoo.backbones import backbone

    network = randomize(backbone("mobilenet").create((32, 32, 3), weights=None, alpha=0.25))
    network.save(tmp_path / "backbone.keras")
    options = {**SMALL["mobilenet_gru"], "backbone_weights": tmp_path / "backbone.keras"}
    model = zoo.create_model("mobilenet_gru", classes=motion.labels, spec={"modality": "grouped"}, **options)
    (spec,) = zoo.specs(model).values()
    assert (spec.modality, spec.channels) == ("grouped", 3)
    first = next(layer for layer in model.get_layer("frames").layer.layers if layer.name == "conv1")
    np.testing.assert_array_equal(first.get_weights()[0], network.get_layer("conv1").get_weights()[0])
