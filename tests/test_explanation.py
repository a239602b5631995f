"""Where a model looks: at what its answer hangs on, the same on both backends, and drawn where it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

import zoo
from benchmarks.harness.models import randomize
from loaders import ClipSpec, ClipzooError, read_inputs
from loaders.motion_jpeg import write_motion_jpeg
from tests.support import squares
from tests.support.commands import invoke, refused
from tests.support.models import KINDS, clips_for, lively
from zoo.contract import head
from zoo.explained import Explained, Panel, draw_strip, explain_clip, write_film
from zoo.explanation import GradCam
from zoo.layers import ClipInput

pytestmark = pytest.mark.keras
REFERENCE = Path(__file__).parent / "reference" / "heat.npz"
MARKS = {"dtpp": (), "convnet_gru": pytest.mark.either, "i3d": pytest.mark.either}
SPEC = ClipSpec(frames=4, height=12, width=12)


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    with squares.registered() as found:
        yield found


@pytest.fixture(scope="module")
def trained(name: str) -> keras.Model:
    """Knows the color of the square. Weights and order are settled, so that both backends learn the same."""
    clips, classes, _ = squares.draw(240, seed=1)
    model = randomize(zoo.create_model(name, classes=squares.LABELS), seed=20)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy")
    model.fit(clips, classes, batch_size=16, epochs=10, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames, eight a second, of a red square."""
    clip = squares.draw(1, seed=3)[0][0]
    path = tmp_path_factory.mktemp("video") / "a clip.avi"
    write_motion_jpeg(path, [clip[place // 2][..., ::-1] for place in range(7)], 8)
    return path


@pytest.fixture(scope="module")
def file(trained: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    trained.save(path)
    return path


def colored(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips that have a red or a green square, other ones than those of the training."""
    clips, classes, there = squares.draw(count, seed=2)
    kept = classes < len(squares.COLORS)
    return clips[kept], classes[kept], there[kept]


@pytest.mark.either
def test_a_trained_model_looks_at_the_square_that_it_was_trained_on(trained: keras.Model) -> None:
    clips, classes, there = colored(96)
    answer = keras.ops.convert_to_numpy(trained(clips))
    np.testing.assert_array_equal(answer.argmax(axis=1), classes)
    heat = zoo.explain(trained, clips)
    assert heat.dtype == np.float32 and heat.shape == there.shape
    assert squares.pointing(heat, there) > 0.9  # 1.0 was seen; by chance it is 0.14
    other = zoo.explain(trained, clips[classes == 1], label="red")
    assert squares.pointing(other, there[classes == 1]) < 0.5


@pytest.mark.either
def test_with_random_weights_it_looks_anywhere(name: str) -> None:
    clips, _, there = colored(96)
    seeds = [randomize(zoo.create_model(name, classes=squares.LABELS), seed) for seed in range(6)]
    assert np.mean([squares.pointing(zoo.explain(model, clips), there) for model in seeds]) < 0.5  # 0.32 was seen


def test_of_a_model_that_averages_it_is_the_map_times_the_head(trained: keras.Model) -> None:
    clips = colored(12)[0]
    network = trained.get_layer("frames").layer
    maps = keras.Model(network.input, network.get_layer("square2").output)
    pixels = keras.ops.convert_to_numpy(trained.get_layer("clip_input")(clips))
    kernel = keras.ops.convert_to_numpy(trained.get_layer("logits").kernel)
    heat = zoo.explain(trained, clips, label="green")
    for clip, found in zip(pixels, heat, strict=True):
        warm = np.maximum(0, keras.ops.convert_to_numpy(maps(clip)) @ kernel[:, 1])
        full = np.stack([cv2.resize(each, found.shape[1:], interpolation=cv2.INTER_LINEAR) for each in warm])
        np.testing.assert_allclose(found, full / full.max(), atol=1e-4)


def explained(kind: str) -> tuple[keras.Model, Any]:
    """A model of that kind, and its heat of one clip for its answer."""
    model = lively(kind, **({"size": 64} if "mobilenet" in kind else {}))  # else a map has one place
    return model, zoo.explain(model, clips_for(model, count=1))


def sampled(heat: np.ndarray) -> np.ndarray:
    """Some of the places, for a file that is small."""
    return heat[..., :: heat.shape[-2] // 8, :: heat.shape[-1] // 8]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, pytest.mark.slow)) for kind in KINDS])
def test_every_kind_of_model_has_heat_and_it_is_the_same_on_both_backends(kind: str) -> None:
    model, heat = explained(kind)
    with np.load(REFERENCE) as kept:  # of TensorFlow; python -m tests.test_explanation writes it
        for each, spec in zoo.specs(model).items():
            found = heat[each] if isinstance(heat, dict) else heat
            assert found.dtype == np.float32 and found.shape == (1, *spec.shape[:3])
            assert found.min() >= 0 and found.max() == 1 and np.ptp(found) > 1e-3
            np.testing.assert_allclose(sampled(found), kept[f"{kind}/{each}"], atol=1e-4)


def test_the_gradient_is_what_the_logit_changes_by_and_its_mean_the_weight() -> None:
    model = lively("dtpp_rgb")
    cam = GradCam(model)
    seen = cam.look(clips_for(model, count=2))
    maps = keras.ops.convert_to_numpy(seen.maps[0])
    (gradient,) = cam.gradients(seen.maps, np.eye(3, dtype=np.float32)[[1, 2]])
    place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    ends = []
    for step in (-1e-2, 1e-2):
        moved = maps.copy()
        moved[place] += step
        ends.append(keras.ops.convert_to_numpy(cam._back(keras.ops.convert_to_tensor(moved))["logits"]))
    change = (ends[1] - ends[0]) / 2e-2
    clip = place[0]
    assert change[clip, [1, 2][clip]] == pytest.approx(gradient[place], rel=0.02)
    assert np.abs(change[1 - clip]).max() == 0  # the other clip of the batch has no part in it
    warm = np.maximum(0, np.einsum("bthwc,btc->bthw", maps, gradient.mean(axis=(2, 3))))
    for each, found in zip(warm, cam.heat(seen, [1, 2])["rgb"], strict=True):
        full = np.stack([cv2.resize(frame, found.shape[1:], interpolation=cv2.INTER_LINEAR) for frame in each])
        np.testing.assert_allclose(found, full / full.max(), atol=1e-4)


def numbers(name: str, task: Any, bias: tuple[float, float]) -> keras.Model:
    model = randomize(zoo.create_model(name, classes=("left", "right/wrong"), task=task))
    model.get_layer("logits").bias.assign(np.array(bias, np.float32))
    return model


@pytest.mark.either
@pytest.mark.parametrize(("bias", "said"), [((90, 90), [0, 1]), ((-90, 90), [1]), ((-90, -60), [1])])
def test_of_several_labels_each_that_is_there_is_explained_or_the_highest(
    name: str, bias: tuple[float, float], said: list[int]
) -> None:
    model = numbers(name, "multilabel", bias)
    clip = colored(3)[0][0]
    found = explain_clip(model, {"video": clip})
    assert [each.label for each in found] == [zoo.labels(model)[place] for place in said]
    for each in found:
        np.testing.assert_array_equal(each.panels["video"].heat, zoo.explain(model, clip[None], label=each.label)[0])


def test_of_numbers_it_is_the_gradient_of_the_number(name: str) -> None:
    model = numbers(name, "regression", (0, 0))
    model.get_layer("values").scale.assign([1.0, 1.0])
    clips = colored(3)[0]
    cam = GradCam(model)
    wanted = np.eye(2, dtype=np.float32)[[1] * len(clips)]
    (plain,) = cam.gradients(cam.look(clips).maps, wanted)
    model.get_layer("values").scale.assign([3.0, 5.0])
    (scaled,) = cam.gradients(cam.look(clips).maps, wanted)
    np.testing.assert_allclose(scaled, 5 * plain, rtol=1e-5)
    assert [each.label for each in explain_clip(model, {"video": clips[0]})] == ["left", "right/wrong"]
    np.testing.assert_array_equal(zoo.explain(model, clips), zoo.explain(model, clips, label="left"))


def own(*layers: keras.layers.Layer) -> keras.Model:
    """A model of somebody's own, flat."""
    x = given = keras.Input(SPEC.shape, dtype="uint8", name="video")
    for layer in (ClipInput(SPEC), *layers):
        x = layer(x)
    return keras.Model(given, head(x, ("a", "b"), "classification"), name="own")


def test_a_model_of_one_s_own_needs_a_map_and_no_more() -> None:
    volumes = own(
        keras.layers.Conv3D(4, 3, strides=2, padding="same"),
        keras.layers.AveragePooling3D((1, 2, 2)),  # the map is the one before any pooling
        keras.layers.GlobalAveragePooling3D(),
    )
    clips = clips_for(randomize(volumes))
    seen = GradCam(volumes).look(clips)
    assert seen.maps[0].shape == (3, 2, 6, 6, 4)
    heat = zoo.explain(volumes, clips)
    warm = np.maximum(0, keras.ops.convert_to_numpy(seen.maps[0]) @ np.asarray(volumes.get_layer("logits").kernel))
    warm = warm[np.arange(3), ..., seen.answer.argmax(axis=1)]
    # The middle of the first step of the map lies between the frames 0 and 1, where the frame 0 is flat already.
    first = np.stack([cv2.resize(each, (12, 12)) for each in warm[:, 0]])
    np.testing.assert_allclose(
        heat[:, 0] * first.max(axis=(1, 2), keepdims=True),
        first * heat[:, 0].max(axis=(1, 2), keepdims=True),
        atol=1e-4,
    )


@pytest.mark.either
def test_what_cannot_be_explained_is_said_in_one_sentence(name: str) -> None:
    flat = own(keras.layers.Flatten())
    with pytest.raises(ClipzooError, match="'own' has no feature map over time and space"):
        zoo.explain(flat, clips_for(flat))
    model = zoo.create_model(name, classes=squares.LABELS)
    clips = clips_for(model)
    with pytest.raises(ClipzooError, match="has no label 'gren'; did you mean green"):
        zoo.explain(model, clips, label="gren")
    with pytest.raises(
        ClipzooError, match=r"clips for 'video' must be uint8 \(clips, \*\(4, 32, 32, 3\)\); got float32"
    ):
        zoo.explain(model, clips.astype(np.float32))
    with pytest.raises(ClipzooError, match="takes video, not rgb, flow"):
        zoo.explain(model, {"rgb": clips, "flow": clips})


@pytest.mark.slow
def test_of_a_real_clip_i3d_looks_at_the_climber(data: Path, i3d_weights: Path) -> None:
    model = zoo.load_preset("i3d_kinetics400")
    clip = read_inputs(data / "clips" / "abseiling_k400.mp4", zoo.specs(model))
    (found,) = explain_clip(model, clip)
    assert found.label == "abseiling"
    heat = found.panels["video"].heat
    _, y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(y - 125) < 40 and abs(x - 176) < 40  # pixels of 224; one place of the map is 32


def test_where_it_is_cold_the_frame_is_gray_and_heat_has_color() -> None:
    frames = np.full((1, 2, 2, 3), (200, 100, 50), np.uint8)
    heat = np.array([[[0, 1], [0, 0]]], np.float32)
    overlay = Panel(frames=frames, heat=heat).overlay
    np.testing.assert_array_equal(overlay[0, 0, 0], [124, 124, 124])  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert np.ptp(overlay[0, 0, 1].astype(int)) > 50
    assert Explained(label="a", title="a", panels={"": Panel(frames=frames, heat=0 * heat)}).cold
    assert not Explained(label="a", title="a", panels={"": Panel(frames=frames, heat=heat)}).cold


@pytest.mark.either
def test_gray_inputs_and_several_of_unequal_length_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    panels = {
        each: Panel(
            frames=rng.integers(0, 256, (count, *size, channels), np.uint8), heat=rng.random((count, *size), np.float32)
        )
        for each, count, size, channels in (("gray", 12, (33, 47), 1), ("rgb", 5, (20, 20), 3))
    }  # fmt: skip
    found = Explained(label="a", title="a label of very many words " * 9, panels=panels)
    draw_strip(found, tmp_path / "strip.png")
    write_film(found, tmp_path / "film.avi")
    picture = cv2.imread(str(tmp_path / "strip.png"))
    assert picture.shape[1] > 8 * 100 and picture.std() > 20
    film = frames_of(tmp_path / "film.avi")
    assert film.shape == (12, 33 * 7 + 20 * 12 + 1, 2 * 47 * 7, 3)  # an even number of rows


def frames_of(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    return np.stack([frame for ok, frame in iter(capture.read, (False, None)) if ok])[..., ::-1]


def test_the_command_writes_a_strip_and_a_film(trained: keras.Model, file: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = invoke("explain", file, video, "--out", out)
    assert done.returncode == 0, done.stderr
    strip, film = out / "a clip-red.png", out / "a clip-red.avi"
    assert f"wrote {strip}, {film}" in done.stdout and "\nred 9" in done.stdout
    assert cv2.imread(str(strip)).shape[1] > 500
    assert cv2.VideoCapture(str(film)).get(cv2.CAP_PROP_FPS) == 4  # every other frame of 8 a second
    frames, clip = frames_of(film), read_inputs(video, zoo.specs(trained))["video"]
    assert frames.shape == (4, 224, 448, 3)
    zoomed = clip.repeat(7, axis=1).repeat(7, axis=2)
    assert np.abs(frames[:, :, :224].astype(int) - zoomed).mean() < 5
    colors = np.ptp(frames[:, :, 224:].astype(int), axis=-1).reshape(4, 32, 7, 32, 7).mean(axis=(2, 4))
    heat = zoo.explain(trained, clip[None])[0]
    assert np.corrcoef(colors.ravel(), heat.ravel())[0, 1] > 0.8
    done = invoke("explain", file, video, "--out", out, "--label", "green")
    assert done.returncode == 0, done.stderr
    assert "green 0.0%; the answer is red 9" in done.stdout or "green 0" in done.stdout
    assert (out / "a clip-green.png").is_file()


@pytest.mark.either
def test_each_label_has_files_of_its_own_and_what_is_cold_is_said(name: str, video: Path, tmp_path: Path) -> None:
    model = randomize(zoo.create_model(name, classes=("a b", "a/b"), task="multilabel"))
    logits = model.get_layer("logits")
    logits.kernel.assign(np.array(logits.kernel) * [1, 0])
    logits.bias.assign([90, 90])
    model.save(tmp_path / "model.keras")
    done = invoke("explain", tmp_path / "model.keras", video, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "note: nothing in these frames speaks for a/b: its heat is 0 everywhere" in done.stderr
    written = {f"a clip-{stem}{suffix}" for stem in ("a_b", "a_b_") for suffix in (".png", ".avi")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written
    assert all(str(tmp_path / "out" / each) in done.stdout for each in written)


def test_the_command_says_what_it_cannot_take(file: Path, video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video")
    refused(invoke("explain", file, broken, "--out", tmp_path), "broken.mp4: is not a video")
    refused(invoke("explain", tmp_path / "model.onnx", video), "model.onnx: holds no gradients; give the run")
    refused(invoke("explain", "i3d_kinetcs400", video), "no preset; did you mean i3d_kinetics400")
    refused(invoke("explain", file, video, "--out", broken), "broken.mp4: is a file; give a folder")
    refused(invoke("explain", file, video, "--out", tmp_path, "--label", "gren"), "no label 'gren'; did you mean green")


if __name__ == "__main__":
    made = {}
    for kind in KINDS:
        model, found = explained(kind)
        for each in zoo.specs(model):
            made[f"{kind}/{each}"] = sampled(found[each] if isinstance(found, dict) else found)
    np.savez_compressed(REFERENCE, **made)
