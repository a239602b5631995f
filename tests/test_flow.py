"""Modalities: known motions, mirrors and turns, and what each picture of motion shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loaders import Augmentation, ClipSpec, ClipzooError, FlowSpec, clip_from_frames, read_clip, read_crops, read_inputs
from loaders.augment import crop_places, three_crops
from loaders.canvas import read_canvases
from loaders.flow import color_wheel, dequantize, mirror, optical_flow, quantize

RNG = np.random.default_rng(0)
TEXTURE = cv2.GaussianBlur(RNG.integers(0, 256, (96, 128, 3), np.uint8), (9, 9), 2)
METHODS = ("farneback", "dis")
INSIDE = (slice(16, -16), slice(16, -16))


def moving(x: int, y: int, frames: int = 3) -> np.ndarray:
    """Frames whose content moves by (x, y) pixels each."""
    return np.stack([np.roll(TEXTURE, (n * y, n * x), (0, 1)) for n in range(frames)])


def spec(modality: Any, **fields: Any) -> ClipSpec:
    return ClipSpec(**{"frames": 2, "height": 96, "width": 128, "modality": modality, **fields})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("x", "y"), [(3, 2), (-4, 1), (0, -2)])
def test_a_known_translation_gives_that_flow(method: Any, x: int, y: int) -> None:
    clip = clip_from_frames(moving(x, y), spec("flow", flow=FlowSpec(method=method)))
    assert clip.shape == (2, 96, 128, 2)
    found = dequantize(clip[0], 20.0)[INSIDE].mean(axis=(0, 1))
    np.testing.assert_allclose(found, (x, y), atol=0.25)


def test_stacks_interleave_x_and_y_of_consecutive_fields() -> None:
    frames = np.concatenate([moving(2, 0, 3), moving(0, 3, 3)[1:]])  # right, right, a jump, down
    clip = clip_from_frames(frames, spec("flow", frames=1, stack=2))
    assert clip.shape == (1, 96, 128, 4)
    single = clip_from_frames(frames, spec("flow", frames=4))
    # One stack of two, from the middle of the file: fields 1 and 2.
    np.testing.assert_array_equal(clip[0], np.concatenate([single[1], single[2]], axis=-1))


def test_quantization_is_that_of_the_two_stream_models() -> None:
    motion = np.array([-30.0, -20.0, -0.05, 0.0, 0.1, 10.0, 20.0, 99.0])
    assert quantize(motion, 20.0).tolist() == [0, 0, 127, 128, 128, 191, 255, 255]
    steps = np.linspace(-20, 20, 1001).astype(np.float32)
    assert np.abs(dequantize(quantize(steps, 20.0), 20.0) - steps).max() < 20 / 255 * 2.01


@pytest.mark.parametrize("method", METHODS)
def test_flipping_a_clip_and_flipping_its_flow_agree_to_one_level(method: Any) -> None:
    frames = moving(3, 1)
    wanted = spec("flow", flow=FlowSpec(method=method))
    flipped_frames = clip_from_frames(frames[:, :, ::-1], wanted)
    flipped_flow = np.stack([mirror(field) for field in clip_from_frames(frames, wanted)])
    off = np.abs(flipped_frames.astype(int) - flipped_flow)[:, 16:-16, 16:-16]
    assert np.mean(off <= 1) > 0.995  # the methods themselves look at pixels in another order
    augmentation = Augmentation(zoom=0, rotation=0, width_shift=0, height_shift=0)
    draws = {}
    for seed in range(8):
        draw = augmentation.draw(np.random.default_rng(seed))
        draws[draw.mirrored] = augmentation.apply(clip_from_frames(frames, wanted), wanted, draw)
    np.testing.assert_array_equal(draws[True], flipped_flow)


def test_rotation_and_zoom_move_the_vectors_too() -> None:
    field = np.empty((1, 96, 128, 2), np.uint8)
    field[...] = quantize(np.array([10.0, 0.0]), 20.0)
    quarter = Augmentation(zoom=0, flip=False, rotation=90, width_shift=0, height_shift=0)
    rng = np.random.default_rng(0)
    draw = quarter.draw(rng)
    turned = dequantize(quarter.apply(field, spec("flow", frames=1), draw)[0], 20.0).mean(axis=(0, 1))
    np.testing.assert_allclose(turned, (10 * np.cos(draw.angle), 10 * np.sin(draw.angle)), atol=0.2)
    zoom = Augmentation(zoom=0.5, flip=False, rotation=0, width_shift=0, height_shift=0)
    draw = zoom.draw(np.random.default_rng(1))
    zoomed = dequantize(zoom.apply(field, spec("flow", frames=1), draw)[0], 20.0).mean(axis=(0, 1))
    np.testing.assert_allclose(zoomed, (10 * draw.scale, 0), atol=0.2)


def test_turned_flow_is_the_flow_of_turned_frames() -> None:
    turn = Augmentation(zoom=0, flip=False, rotation=30, width_shift=0, height_shift=0)
    frames = moving(4, 0, 2)
    draw = turn.draw(np.random.default_rng(4))
    wanted = spec("flow", frames=1, flow=FlowSpec(method="farneback"))
    of_frames = clip_from_frames(turn.apply(frames, spec("rgb"), draw), wanted)
    of_flow = turn.apply(clip_from_frames(frames, wanted), wanted, draw)
    difference = np.abs(of_frames.astype(int) - of_flow)[0, 32:-32, 48:-48]
    assert difference.mean() < 2


def test_differences_and_masks_show_what_moves_and_nothing_else() -> None:
    still = np.repeat(TEXTURE[None], 3, axis=0)
    for modality in ("diff", "diff_mask", "flow_mask"):
        assert clip_from_frames(still, spec(modality)).max() == 0
        moved = clip_from_frames(moving(5, 0), spec(modality))
        assert moved.shape == (2, 96, 128, 3)
        assert moved.mean() > 5
    frames = moving(2, 0)
    np.testing.assert_array_equal(clip_from_frames(frames, spec("diff"))[0], cv2.absdiff(frames[0], frames[1]))
    for modality in ("flow", "rgb_diff"):
        assert (clip_from_frames(still, spec(modality)) == 128).all()


def test_an_rgb_difference_tells_brighter_from_darker_in_each_color() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    wanted = spec("rgb_diff", frames=1, height=8, width=8)
    made = clip_from_frames(frames, wanted)[0]
    np.testing.assert_array_equal(made, np.clip(128 + frames[1].astype(int) - frames[0], 0, 255))
    assert made.min() == 0 and made.max() == 255, "differences beyond the bytes must be clipped, not wrap"
    turned = clip_from_frames(frames, wanted.replace(color_order="bgr"))[0]
    np.testing.assert_array_equal(turned[..., ::-1], made)


def test_the_color_wheel_tells_directions_apart() -> None:
    hues = {}
    for name, (x, y) in {"right": (10, 0), "down": (0, 10), "left": (-10, 0), "up": (0, -10)}.items():
        picture = color_wheel(np.full((4, 4, 2), 0, np.uint8) + quantize(np.array([x, y], float), 20.0))
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[0, 0]
        hues[name] = int(hsv[0])
        assert abs(int(hsv[2]) - 128) <= 3  # half the bound, half the value
    assert hues == {"right": 0, "down": 45, "left": 90, "up": 135}
    clip = clip_from_frames(moving(8, 0), spec("flow_hsv"))
    assert clip.shape == (2, 96, 128, 3)
    red = clip[0][INSIDE].mean(axis=(0, 1))
    assert red[0] > 80 and red[0] > 3 * max(red[1], red[2])


def test_no_flow_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import loaders.canvas

    calls: list[int] = []

    def counted(*args: Any) -> np.ndarray:
        calls.append(1)
        return optical_flow(*args)

    monkeypatch.setattr(loaders.canvas, "optical_flow", counted)
    clip_from_frames(moving(1, 0, 8), spec("flow", frames=6, stack=5))  # 7 fields in 6 stacks of 5
    assert len(calls) == 7


def test_tvl1_says_what_it_needs() -> None:
    if hasattr(cv2, "optflow"):
        pytest.skip("opencv-contrib is installed")
    with pytest.raises(ClipzooError, match="opencv-contrib"):
        clip_from_frames(moving(1, 0), spec("flow", flow=FlowSpec(method="tvl1")))


def test_frames_too_small_for_a_method_are_a_sentence() -> None:
    with pytest.raises(ClipzooError, match="4x4"):
        clip_from_frames(moving(1, 0), spec("flow", height=4, width=4))


def test_several_inputs_come_from_one_pass_and_one_draw(data: Path) -> None:
    path = data / "clips" / "v_Basketball_g01_c01.avi"
    specs = {"rgb": spec("rgb", frames=4), "flow": spec("flow", frames=4, stack=5), "gray": spec("gray", frames=4)}
    together = read_inputs(path, specs)
    for name, wanted in specs.items():
        np.testing.assert_array_equal(together[name], read_clip(path, wanted))
    flip = Augmentation(zoom=0, rotation=0, width_shift=0, height_shift=0)
    for seed in range(6):
        clips = read_inputs(path, specs, augmentation=flip, rng=np.random.default_rng(seed))
        turned = (clips["rgb"] != together["rgb"]).any()
        expected = np.stack([mirror(step) for step in together["flow"]]) if turned else together["flow"]
        np.testing.assert_array_equal(clips["flow"], expected)
        np.testing.assert_array_equal(clips["gray"], together["gray"][:, :, ::-1] if turned else together["gray"])


def test_the_multi_scale_crop_is_that_of_the_paper() -> None:
    assert crop_places(256, 340, 224, 224) == [
        (0, 0), (0, 116), (32, 0), (32, 116), (16, 58), (16, 0), (16, 116), (32, 58), (0, 58), (8, 29), (8, 87),
        (24, 29), (24, 87),
    ]  # fmt: skip
    wanted = ClipSpec(frames=1, height=56, width=56, resize="fit", resize_to=64)
    augmentation = Augmentation(zoom=0, flip=False, rotation=0, width_shift=0, height_shift=0, crop="multiscale")
    canvas = np.arange(64 * 85, dtype=np.uint32).reshape(1, 64, 85, 1).repeat(3, -1).astype(np.uint8)
    boxes = {augmentation._box(64, 85, wanted, augmentation.draw(np.random.default_rng(n))) for n in range(600)}
    sizes = {box[2:] for box in boxes}
    assert sizes == {
        (a, b) for i, a in enumerate((64, 56, 48, 42)) for j, b in enumerate((64, 56, 48, 42)) if abs(i - j) <= 1
    }
    for seed in range(20):
        assert augmentation.apply(canvas, wanted, augmentation.draw(np.random.default_rng(seed))).shape == (
            1,
            56,
            56,
            3,
        )


def test_ten_crops_are_corners_center_and_their_mirrors(data: Path) -> None:
    path = data / "clips" / "v_Basketball_g01_c01.avi"
    wanted = ClipSpec(frames=2, height=56, width=56, resize="fit", resize_to=64)
    crops = read_crops(path, {"": wanted})[""]
    assert crops.shape == (10, 2, 56, 56, 3)
    np.testing.assert_array_equal(crops[4], read_clip(path, wanted))
    np.testing.assert_array_equal(crops[5:], crops[:5, :, :, ::-1])
    assert len({crop.tobytes() for crop in crops}) == 10
    moved = read_crops(path, {"": wanted.replace(modality="flow")})[""]
    np.testing.assert_array_equal(moved[5], np.stack([mirror(step) for step in moved[0]]))


def test_three_crops_are_ends_and_center_of_the_longer_side(data: Path) -> None:
    path = data / "clips" / "v_Basketball_g01_c01.avi"
    wanted = ClipSpec(frames=2, height=56, width=56, resize="fit", resize_to=64)
    (canvas,) = read_canvases(path, [wanted])
    wide = canvas[:, 4:60]  # all that the three see
    assert wide.shape[2] == 85
    crops = read_crops(path, {"": wanted}, crops=3)[""]
    for crop, left in zip(crops, (0, 14, 29), strict=True):
        np.testing.assert_array_equal(crop, wide[:, :, left : left + 56])
    np.testing.assert_array_equal(crops[1], read_clip(path, wanted))
    tall = three_crops(np.swapaxes(canvas, 1, 2), wanted)
    np.testing.assert_array_equal(tall, np.swapaxes(crops, 2, 3))


def test_brightness_contrast_and_a_function_of_ones_own() -> None:
    clip = np.full((2, 8, 8, 3), 100, np.uint8)
    lighter = Augmentation(zoom=0, flip=False, rotation=0, width_shift=0, height_shift=0, brightness=0.3, contrast=0.5)
    levels = {int(lighter(clip, np.random.default_rng(n))[0, 0, 0, 0]) for n in range(40)}
    assert len(levels) > 20 and min(levels) < 60 and max(levels) > 140

    def blank(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clip[:, : int(rng.integers(1, 8))] = 0  # in place is allowed
        return clip

    own = Augmentation(zoom=0, flip=False, rotation=0, width_shift=0, height_shift=0, function=blank)
    first, again = (own(clip, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first == 0).any() and (clip == 100).all()
    wrong = Augmentation(function=lambda clip, rng: clip[:1])
    with pytest.raises(ClipzooError, match="must return uint8"):
        wrong(clip, np.random.default_rng(0))
