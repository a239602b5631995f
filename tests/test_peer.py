"""The eleven faults of keras-video-generators 1.0.14, one test each: here they are gone. Then its users' wishes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import (
    Augmentation,
    Clip,
    ClipDataset,
    ClipIndex,
    ClipSpec,
    ClipzooError,
    DiskCache,
    MemoryCache,
    VideoError,
    index_files,
    index_pattern,
    read_clip,
)
from loaders.compat import (
    METHOD_ABS_DIFF,
    METHOD_DIFF_MASK,
    METHOD_FLOW_MASK,
    METHOD_OPTICAL_FLOW,
    OpticalFlowGenerator,
    SlidingFrameGenerator,
    VideoFrameGenerator,
)

pytestmark = [pytest.mark.keras, pytest.mark.either]
SPEC = ClipSpec(frames=4, height=16, width=16)


@pytest.fixture
def pattern(motion: ClipIndex) -> str:
    return f"{motion.root}/{{classname}}/*.avi"


def test_1_it_imports_and_gives_batches_on_keras_3(pattern: str) -> None:
    generator = VideoFrameGenerator(glob_pattern=pattern, target_shape=(24, 16), nb_frames=3, batch_size=5)
    clips, labels = generator[0]
    assert (clips.dtype, clips.shape, labels.shape) == (np.float32, (5, 3, 24, 16, 3), (5, 6))
    assert 0 < clips.max() <= 1


def test_2_sliding_slides(pattern: str) -> None:
    short, long = (
        SlidingFrameGenerator(sequence_time=time, glob_pattern=pattern, target_shape=(16, 16), nb_frames=2)
        for time in (0.2, 0.4)
    )
    assert len(short.index) > len(long.index) > 48
    one = [position for position, clip in enumerate(short.index) if clip.file == short.index[0].file]
    clips = [read_clip(short.index.path(p), SPEC, span=short.index[p].span).tobytes() for p in one]
    assert len(set(clips)) == len(clips)


def test_3_nothing_is_cached_unless_asked_for_and_a_limit_is_kept(pattern: str, motion: ClipIndex) -> None:
    assert VideoFrameGenerator(glob_pattern=pattern, target_shape=(16, 16)).cache is None
    cache = MemoryCache(limit=10_000)
    dataset = ClipDataset(motion, SPEC, cache=cache)
    for _ in range(2):
        for _ in dataset:
            assert cache.used <= 10_000


def test_4_either_share_alone_with_a_seed_groups_and_lists(pattern: str) -> None:
    both = [
        VideoFrameGenerator(glob_pattern=pattern, split_test=0.25, seed=n, target_shape=(16, 16)) for n in (1, 1, 2)
    ]
    tests = [[clip.file for clip in generator.get_test_generator().index] for generator in both]
    assert tests[0] == tests[1] != tests[2]
    assert len(tests[0]) == 12
    with pytest.raises(ClipzooError, match="no clip in the split 'validation'"):
        both[0].get_validation_generator()


@pytest.mark.parametrize("method", [METHOD_OPTICAL_FLOW, METHOD_FLOW_MASK, METHOD_DIFF_MASK, METHOD_ABS_DIFF])
def test_5_motion_is_pixels_and_validation_keeps_its_parameters(pattern: str, method: int) -> None:
    generator = OpticalFlowGenerator(
        method=method, flowlevel=2, winsize=9, iterations=2, glob_pattern=pattern, target_shape=(16, 16), split_val=0.25
    )
    clips, _ = generator[0]
    assert clips.shape[1:] == (5, 16, 16, 3)
    assert 0 <= clips.min() <= clips.max() <= 1
    assert clips.max() > 0.05
    validation = generator.get_validation_generator()
    assert validation.specs == generator.specs
    if method in (METHOD_OPTICAL_FLOW, METHOD_FLOW_MASK):
        flow = validation.specs[""].flow
        assert flow is not None and (flow.method, flow.levels, flow.window, flow.iterations) == ("farneback", 2, 9, 2)


def test_6_the_last_frame_is_among_them(motion: ClipIndex) -> None:
    whole = read_clip(motion.path(0), SPEC.replace(frames=8))
    clip = read_clip(motion.path(0), SPEC)
    np.testing.assert_array_equal(clip[0], whole[0])
    np.testing.assert_array_equal(clip[-1], whole[-1])


def test_7_a_broken_file_is_named_and_no_batch_shrinks(motion: ClipIndex, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copy(motion.path(number), tmp_path / f"{number}.avi")
    (tmp_path / "broken.avi").write_bytes(b"no video at all")
    index = ClipIndex(tmp_path, tuple(Clip(f"{name}.avi", "x") for name in ("0", "1", "broken", "2")))
    with pytest.raises(VideoError, match=r"broken\.avi"):
        ClipDataset(index, SPEC, batch_size=4)[0]
    kept, left_out = index.readable()
    assert [Path(error.path).name for error in left_out] == ["broken.avi"]
    assert [len(clips) for clips, _ in ClipDataset(kept, SPEC, batch_size=2)] == [2, 1]


def test_8_the_last_batch_is_kept_and_iteration_ends(motion: ClipIndex) -> None:
    few = ClipIndex(motion.root, motion.clips[:3], motion.labels)
    assert len(ClipDataset(few, SPEC, batch_size=16)) == 1
    sizes = [len(labels) for _, labels in ClipDataset(motion, SPEC, batch_size=20)]
    assert sizes == [20, 20, 8]


def test_9_only_training_is_shuffled_and_unknown_keywords_are_errors(pattern: str) -> None:
    generator = VideoFrameGenerator(glob_pattern=pattern, split_val=0.25, target_shape=(16, 16))
    validation = generator.get_validation_generator()
    assert validation.order(0).tolist() == validation.order(1).tolist() == list(range(12))
    assert generator.order(0).tolist() != generator.order(1).tolist()
    with pytest.raises(ClipzooError, match=r"VideoFrameGenerator has no parameter 'nb_frame'; did you mean nb_frames"):
        VideoFrameGenerator(glob_pattern=pattern, nb_frame=5)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (VideoFrameGenerator, {"shape": (8, 8)}, r"no parameter 'shape'; did you mean .*target_shape"),
        (
            SlidingFrameGenerator,
            {"sequence_tim": 1},
            r"SlidingFrameGenerator .* 'sequence_tim'; did you mean sequence_time",
        ),
        (OpticalFlowGenerator, {"flow_level": 1}, r"OpticalFlowGenerator .* 'flow_level'; did you mean flowlevel"),
        (VideoFrameGenerator, {"zzzzzzzz": 1}, r"'zzzzzzzz'; there are batch_size, classes, glob_pattern, nb_channel"),
        (
            VideoFrameGenerator,
            {"split": 0.2, "split_val": 0.3},
            r"split \(0\.2\) is the old name of split_val \(0\.3\)",
        ),
        (VideoFrameGenerator, {"target_shape": 224}, r"target_shape \(224\) must be \(height, width\)"),
        (VideoFrameGenerator, {"rescale": "no"}, r"rescale \('no'\) must be a number"),
    ],
)
def test_a_wrong_parameter_is_one_sentence_with_near_names(pattern: str, kind: Any, options: Any, said: str) -> None:
    with pytest.raises(ClipzooError, match=said) as error:
        kind(glob_pattern=pattern, **options)
    assert "\n" not in str(error.value)


def test_split_is_what_the_article_calls_the_share_for_validation(pattern: str) -> None:
    """The peer takes `split` for `split_val`, and so do we; a share given alone leaves the other at 0."""
    for generator in (
        VideoFrameGenerator(glob_pattern=pattern, target_shape=(16, 16), split=0.25),
        SlidingFrameGenerator(glob_pattern=pattern, target_shape=(16, 16), split_val=0.25),
    ):
        assert len(generator.get_validation_generator().index) == 12
        assert len(generator.index) == 36  # all others: 24 of issue 14
        with pytest.raises(ClipzooError, match="no clip in the split 'test'"):
            generator.get_test_generator()
    assert len(VideoFrameGenerator(glob_pattern=pattern, target_shape=(16, 16)).index) == 48
    both = VideoFrameGenerator(glob_pattern=pattern, target_shape=(16, 16), split=0.25, split_test=0.25)
    assert [len(each.index) for each in (both, both.get_validation_generator(), both.get_test_generator())] == [
        24,
        12,
        12,
    ]


def test_10_shapes_are_height_then_width_and_grey_is_grey(pattern: str, motion: ClipIndex) -> None:
    generator = VideoFrameGenerator(glob_pattern=pattern, target_shape=(24, 16), nb_channel=1, shuffle=False)
    clips, _ = generator[0]
    assert clips.shape[2:] == (24, 16, 1)
    rgb = read_clip(generator.index.path(0), SPEC.replace(frames=5, height=24))
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(clips[0, ..., 0] * 255, luma, atol=2)


def test_11_one_frame_is_the_middle_one(motion: ClipIndex) -> None:
    one = read_clip(motion.path(0), SPEC.replace(frames=1))
    np.testing.assert_array_equal(one[0], read_clip(motion.path(0), SPEC.replace(frames=8))[3])


def test_only_augmentations_of_ours_are_taken(pattern: str) -> None:
    with pytest.raises(ClipzooError, match="zoom_range is zoom"):
        VideoFrameGenerator(glob_pattern=pattern, transformation=object())  # type: ignore[arg-type]
    changed = VideoFrameGenerator(glob_pattern=pattern, transformation=Augmentation(), target_shape=(16, 16))
    assert changed[0][0].shape == (16, 5, 16, 16, 3)
    chosen = VideoFrameGenerator(glob_pattern=pattern, classes=["up", "left"], target_shape=(16, 16))
    assert chosen.index.labels == ("up", "left") and len(chosen.index) == 16


def test_unlabeled_clips_are_predicted_and_every_sample_has_its_name(motion: ClipIndex) -> None:
    dataset = ClipDataset(index_files(motion.root), SPEC, batch_size=20)
    (clips,) = dataset[2]
    assert clips.shape == (8, *SPEC.shape)
    assert [clip.file for clip in dataset.clips(2)] == sorted(clip.file for clip in motion)[40:]
    windows = ClipDataset(index_files(motion.path(0)).windows(0.2), SPEC, batch_size=3)
    assert all(clip.start is not None and clip.end is not None for clip in windows.clips(0))


def test_shards_are_equal_and_cover_every_clip(motion: ClipIndex) -> None:
    dataset = ClipDataset(motion, SPEC, batch_size=4, shuffle=True, seed=3)
    for hosts in (1, 2, 5):
        shards = [dataset.shard(host, hosts) for host in range(hosts)]
        assert len({len(shard) for shard in shards}) == 1
        for epoch in range(2):
            orders = [shard.order(epoch) for shard in shards]
            assert len({len(order) for order in orders}) == 1
            assert set(np.concatenate(orders).tolist()) == set(range(48))
    np.testing.assert_array_equal(dataset.shard(0, 1)[0][0], dataset[0][0])
    with pytest.raises(ClipzooError, match="shard"):
        dataset.shard(2, 2)


@pytest.mark.parametrize("done", [0, 2, 5])
def test_training_goes_on_in_the_middle_of_an_epoch(motion: ClipIndex, done: int) -> None:
    def fresh(**options: Any) -> ClipDataset:
        return ClipDataset(
            motion, SPEC, **{"batch_size": 10, "shuffle": True, "seed": 1, "augmentation": Augmentation(), **options}
        )

    whole = fresh()
    epochs = [[clips.tobytes() for clips, _ in whole] for _ in range(3)]
    first = fresh()
    for _ in first:
        pass  # the first epoch
    state = first.state(done)
    again = fresh(workers=5)
    again.resume(state)
    rest = [[clips.tobytes() for clips, _ in again] for _ in range(2)]
    wanted = [epochs[1][done:], epochs[2]] if done < 5 else [epochs[2]]
    assert rest[: len(wanted)] == wanted
    for options, said in (({"seed": 2}, "seed"), ({"batch_size": 3}, "batch_size")):
        with pytest.raises(ClipzooError, match=said):
            fresh(**options).resume(state)
    with pytest.raises(ClipzooError, match="damaged"):
        again.resume({**state, "batch": 99})


def test_mixup_mixes_clips_and_labels_alike(motion: ClipIndex) -> None:
    plain, mixed = (
        ClipDataset(motion, SPEC, batch_size=8, mixup=alpha, seed=2, shuffle=True, split="test")[1]
        for alpha in (0.0, 0.4)
    )
    assert mixed[0].dtype == np.uint8 and mixed[1].dtype == np.float32
    np.testing.assert_allclose(mixed[1].sum(axis=1), 1, atol=1e-6)
    rows = [row for row in range(8) if 0.05 < mixed[1][row].max() < 0.95]
    assert rows
    for row in rows:
        fits = [
            np.abs(share * plain[0][row] + (1 - share) * plain[0][partner] - mixed[0][row]).max() <= 1
            for share in {float(mixed[1][row][plain[1][row].argmax()])}
            for partner in range(8)
        ]
        assert any(fits)
    with pytest.raises(ClipzooError, match="mixup"):
        ClipDataset(motion, SPEC.replace(modality="flow"), mixup=0.2)


def test_a_cached_dataset_gives_what_a_fresh_one_gives(motion: ClipIndex, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 16, "shuffle": True, "augmentation": Augmentation(), "seed": 4}
    spec = {"rgb": SPEC, "flow": SPEC.replace(modality="flow", stack=2, sampling="segments")}
    fresh = ClipDataset(motion, spec, **options)
    for cache in ("memory", str(tmp_path), DiskCache(tmp_path)):
        cached = ClipDataset(motion, spec, cache=cache, workers=3, **options)
        fresh.epoch = cached.epoch = 0
        for _ in range(2):
            for (wanted, labels), (clips, found) in zip(list(fresh), list(cached), strict=True):
                np.testing.assert_array_equal(labels, found)
                for name in spec:
                    np.testing.assert_array_equal(wanted[name], clips[name])


def test_a_pattern_reads_what_the_peer_read(pattern: str) -> None:
    assert len(index_pattern(pattern)) == 48


@pytest.mark.parametrize("kind", [VideoFrameGenerator, SlidingFrameGenerator, OpticalFlowGenerator])
def test_unscaled_batches_are_the_same_as_uint8(pattern: str, kind: Any) -> None:
    def fresh(**options: Any) -> VideoFrameGenerator:
        return kind(
            glob_pattern=pattern, target_shape=(16, 16), nb_frames=3, batch_size=10, split_val=0.25, seed=3,
            transformation=Augmentation(), use_frame_cache=True, **options,
        )  # fmt: skip

    scaled, bare = fresh(), fresh(rescale=None)
    pixels = scaled.unscaled()
    assert len(pixels) == len(scaled) and pixels.cache is scaled.cache and pixels.index is scaled.index
    for _ in range(2):  # epochs
        for (a, labels), (b, those), (c, _) in zip(list(scaled), list(pixels), list(bare), strict=True):
            assert (a.dtype, b.dtype) == (np.float32, np.uint8)
            np.testing.assert_array_equal(b, c)
            np.testing.assert_array_equal(a, b * np.float32(1 / 255))
            np.testing.assert_array_equal(labels, those)
    assert scaled.epoch == pixels.epoch == 2
    assert scaled.read_now(0)[0].dtype == np.float32 and pixels.read_now(0)[0].dtype == np.uint8
    validation = scaled.get_validation_generator()
    assert isinstance(validation, VideoFrameGenerator)
    assert validation[0][0].dtype == np.float32 and validation.unscaled()[0][0].dtype == np.uint8
    assert pixels.get_validation_generator()[0][0].dtype == np.uint8
    assert pixels.shard(0, 2)[0][0].dtype == np.uint8
    assert scaled[0][0].dtype == np.float32  # it is as it was


def test_a_zoo_model_learns_from_pixels_by_plain_fit_and_nothing_from_floats(pattern: str) -> None:
    """What `model.fit` does: floats 0 to 1 are scaled a second time, and every clip looks black."""
    import keras

    from zoo.layers import ClipInput

    options: dict[str, Any] = {"glob_pattern": pattern, "target_shape": (16, 16), "nb_frames": 3, "shuffle": False}
    floats, pixels = VideoFrameGenerator(**options), VideoFrameGenerator(rescale=None, **options)
    spec = floats.specs[""]
    layers = keras.layers
    model = keras.Sequential(  # what all models of the zoo begin with
        [layers.Input(spec.shape, dtype="uint8"), ClipInput(spec), layers.Flatten(), layers.Dense(6, "softmax")]
    )
    model.compile("adam", "categorical_crossentropy")
    model.fit(pixels, epochs=1, shuffle=False, verbose=0)
    seen = model.predict_on_batch(pixels[0][0])
    np.testing.assert_allclose(model.predict_on_batch(floats.unscaled()[0][0]), seen, atol=1e-6)
    black = model.predict_on_batch(np.zeros_like(pixels[0][0]))
    wrong = model.predict_on_batch(floats[0][0])
    assert np.abs(wrong - black).max() < 0.1 * np.abs(seen - black).max()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "ClipDataset batch_size (0) must be a whole number >= 1"),
        ({"workers": 1.5}, "ClipDataset workers (1.5) must be a whole number >= 1"),
        ({"seed": -1}, "ClipDataset seed (-1) must be a whole number >= 0"),
        ({"mixup": float("inf")}, "ClipDataset mixup (inf) must be a finite number >= 0"),
        ({"split": "training"}, "ClipDataset split ('training') must be one of train, validation, test"),
    ],
)
def test_an_argument_out_of_range_names_itself(motion: ClipIndex, options: Any, said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        ClipDataset(motion, SPEC, **options)
    assert said in str(error.value)
    with pytest.raises(ClipzooError, match=r"batch \(4\) must be a whole number from 0 to 3"):
        ClipDataset(motion, SPEC, batch_size=np.int64(16)).state(4)
    assert json.dumps(ClipDataset(motion, SPEC, batch_size=np.int64(16), seed=np.int64(3)).state(1))
