"""What a new user's try of the loaders broke, so that it stays mended."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from loaders import (
    Clip,
    ClipIndex,
    ClipSpec,
    ClipzooError,
    DiskCache,
    FlowSpec,
    VideoError,
    clip_from_frames,
    index_csv,
    index_pattern,
    read_clip,
    write_csv,
)
from loaders.flow import diff_mask, quantize
from loaders.spec import PAIRED
from tests.support.commands import invoke, refused

SPEC = ClipSpec(frames=3, height=16, width=16)


def test_groups_that_share_a_file_stay_together() -> None:
    clips = [Clip(f"{n}.mp4", "ab"[n % 2], group=f"g{n + k}", start=k, end=k + 1) for n in range(12) for k in (0, 1)]
    lone = [Clip(f"x{n}.mp4", "ab"[n % 2], group=f"x{n}") for n in range(20)]
    split = ClipIndex(Path(), (*clips, *lone)).split(validation=0.2, test=0.2, seed=0)
    parts: dict[str, set[str]] = {}
    for clip in split:
        parts.setdefault(str(clip.group), set()).add(str(clip.split))
    assert all(len(found) == 1 for found in parts.values())


def test_windows_stay_inside_the_spans_of_their_clips(motion: ClipIndex) -> None:
    file = motion[0].file
    index = ClipIndex(motion.root, (Clip(file, "a", start=0.0, end=0.2), Clip(file, "b", start=0.2, end=0.5)))
    slid = index.windows(0.1, stride=0.1)
    for clip in slid:
        low, high = (0.0, 0.21) if clip.label == "a" else (0.19, 0.54)
        assert clip.start is not None and clip.end is not None and low <= clip.start < clip.end <= high
    assert len({clip.span for clip in slid}) == len(slid)
    with pytest.raises(ClipzooError, match=r"window \(inf\) must be a finite number above 0 seconds"):
        index.windows(float("inf"))
    with pytest.raises(ClipzooError, match=r"stride between windows \(0\) must be a number above 0 seconds"):
        index.windows(1.0, stride=0)


@pytest.mark.parametrize("kind", ["short", "none"])
def test_a_header_that_counts_too_few_refuses_nothing(
    motion: ClipIndex, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import loaders.decode

    real = loaders.decode.open_video

    class Lying:
        """A capture whose header counts 1 frame, or none."""

        def __init__(self, path: Path) -> None:
            self.capture = real(path)

        def get(self, name: int) -> float:
            if name == cv2.CAP_PROP_FRAME_COUNT:
                return 1.0 if kind == "short" else -1.0
            return self.capture.get(name)

        def __getattr__(self, name: str) -> object:
            return getattr(self.capture, name)

    spec = SPEC.replace(short="error")
    expected = read_clip(motion.path(0), spec, span=(0.2, 0.5))
    loaders.decode._COUNTS.clear()
    monkeypatch.setattr(loaders.decode, "open_video", Lying)
    np.testing.assert_array_equal(read_clip(motion.path(0), spec, span=(0.2, 0.5)), expected)


def test_one_column_of_0_and_1_is_one_label(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,walk\na.mp4,1\nb.mp4,0\n")
    index = index_csv(tmp_path / "list.csv", label="walk", task="multilabel")
    assert index.labels == ("walk",)
    assert index.encode().tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("file,Jump,jump\na,1,0\n", {"label": ["Jump", "jump"], "task": "multilabel"}, ""),
        ("file,label,label\na,1,0\n", {}, "label twice"),
        ("file,split\na,1\n", {"label": ["split"], "task": "multilabel"}, "cannot be labels"),
        ("file,x\na,nan\n", {"label": "x", "task": "regression"}, "must be numbers"),
        ("file,label,start,end\na,x,0,1\na,x,0.0,1.0\n", {}, "second time"),
        ("file,label\na,x\n", {"task": "regresion"}, "'regresion'"),
    ],
)
def test_columns_mean_what_they_say(tmp_path: Path, text: str, options: dict[str, object], said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    if not said:
        index = index_csv(tmp_path / "list.csv", **options)  # type: ignore[arg-type]
        write_csv(index, tmp_path / "again.csv")
        assert index_csv(tmp_path / "again.csv", **options) == index  # type: ignore[arg-type]
        return
    with pytest.raises(ClipzooError, match=said):
        index_csv(tmp_path / "list.csv", **options)  # type: ignore[arg-type]


def test_masks_weigh_the_channels_in_their_order() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    turned = diff_mask(first[..., ::-1].copy(), second[..., ::-1].copy(), "bgr")
    np.testing.assert_array_equal(turned[..., ::-1], diff_mask(first, second))


def test_nothing_moving_is_128_for_every_bound() -> None:
    for bound in (*range(1, 200), 0.1, 0.3, 2.5, 7.7, 1000):
        assert quantize(np.zeros((1, 1, 2), np.float32), bound).tolist() == [[[128, 128]]]


@pytest.mark.parametrize("modality", PAIRED)
@pytest.mark.parametrize("sampling", ["dense", "segments"])
def test_pairs_among_sampled_frames_are_drawn_too(motion: ClipIndex, modality: str, sampling: str) -> None:
    spec = ClipSpec(frames=3, height=16, width=16, modality=modality, pairs="sampled", sampling=sampling)  # type: ignore[arg-type]
    assert read_clip(motion.path(0), spec, split="train", rng=np.random.default_rng(0)).shape == spec.shape


def test_pictures_of_flow_have_a_bound_of_their_own() -> None:
    for modality, bound in (("flow", 20.0), ("flow_hsv", 5.0), ("flow_mask", 5.0)):
        spec = ClipSpec(frames=2, height=16, width=16, modality=modality, flow=FlowSpec(method="farneback"))  # type: ignore[arg-type]
        assert spec.flow is not None and spec.flow.bound == bound
        assert ClipSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("opener", ["pathlib.Path.read_bytes", "numpy.lib.format.open_memmap"])
def test_an_entry_that_cannot_be_opened_now_is_not_thrown_away(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opener: str
) -> None:
    cache = DiskCache(tmp_path)
    clip = read_clip(motion.path(0), SPEC, cache=cache)
    (entry,) = tmp_path.glob("??/*.npy")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(opener, full)
    assert cache.get(entry.stem) is None
    monkeypatch.undo()
    assert entry.exists()
    np.testing.assert_array_equal(read_clip(motion.path(0), SPEC, cache=cache), clip)


def test_a_short_file_is_named_with_a_cache_too(motion: ClipIndex, tmp_path: Path) -> None:
    spec = SPEC.replace(sampling="dense", stride=9, short="error")
    with pytest.raises(VideoError, match=r"0000\.avi"):
        read_clip(motion.path(0), spec, split="train", rng=np.random.default_rng(0), cache=DiskCache(tmp_path))


def test_a_cache_filled_for_training_serves_validation_and_test(motion: ClipIndex, tmp_path: Path) -> None:
    spec = "frames=3,size=16,sampling=dense,stride=2"
    done = invoke("cache", motion.root, "--spec", spec, "--out", tmp_path / "c", "--train")
    assert done.returncode == 0, done.stderr
    cache = DiskCache(tmp_path / "c")
    before = set(cache.folder.glob("??/*.npy"))
    assert before
    wanted = SPEC.replace(sampling="dense", stride=2)
    for split in ("train", "validation", "test"):
        read_clip(motion.path(3), wanted, split=split, rng=np.random.default_rng(0), cache=cache)  # type: ignore[arg-type]
    odd = motion.root / ".." / motion.root.name / motion[3].file
    read_clip(odd, wanted, cache=cache)
    assert set(cache.folder.glob("??/*.npy")) == before
    refused(
        invoke("cache", motion.root, "--spec", spec + ",modality=diff,pairs=sampled", "--out", tmp_path, "--train"),
        "every pair",
    )
    refused(
        invoke("cache", motion.root, "--spec", "frames=2,size=16,modality=flow,method=tvl1", "--out", tmp_path),
        "opencv-contrib",
    )


def test_lists_without_labels_are_enough_to_scan_and_show(motion: ClipIndex, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("file,s,u\n" + "".join(f"{clip.file},1,0\n" for clip in motion.clips[:4]))
    assert "4 files" in invoke("scan", motion.root, "--list", listed).stdout
    done = invoke("show", motion.root, "--list", listed, "--spec", "frames=2,size=16", "--out", tmp_path / "g.png")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ['{"specs": [1]}', '{"specs": {}}', "[]"])
def test_a_wrong_spec_file_is_named(tmp_path: Path, motion: ClipIndex, text: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    refused(invoke("show", motion.root, "--spec", tmp_path / "spec.json"))


def test_mistakes_in_python_are_sentences(motion: ClipIndex) -> None:
    for span in ((-1.0, 0.5), (0.0, float("nan")), (0.5, 0.1)):
        with pytest.raises(ClipzooError, match="0 <= start < end"):
            read_clip(motion.path(0), SPEC, span=span)
    with pytest.raises(ClipzooError, match="split"):
        read_clip(motion.path(0), SPEC, split="training")  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match="one size"):
        clip_from_frames([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], SPEC)
    with pytest.raises(ClipzooError, match=r"a frame of \(0, 4, 3\) has no pixel"):
        clip_from_frames(np.zeros((2, 0, 4, 3), np.uint8), SPEC)
    assert len(index_pattern(Path(f"{motion.root}/{{label}}/*.avi"))) == 48
    with pytest.raises(ClipzooError, match="folds are too many"):
        ClipIndex(Path(), tuple(Clip(str(n), "a", group=f"g{n % 2}") for n in range(12))).folds(4)


@pytest.mark.keras
def test_training_resumes_in_fit(motion: ClipIndex, stripes: str) -> None:
    import keras

    import zoo
    from loaders import ClipDataset
    from zoo.recipe import Recipe
    from zoo.training import fit

    model = zoo.create_model(stripes, classes=motion.labels, frames=3, size=16)
    dataset = ClipDataset(motion, SPEC, batch_size=10, shuffle=True)
    dataset.epoch = 5
    state = dataset.state(3)
    again = ClipDataset(motion, SPEC, batch_size=10, shuffle=True)
    again.resume(state)
    seen: list[tuple[int, int]] = []
    real = again._read

    def noted(epoch: int, batch: int) -> object:
        seen.append((epoch, batch))
        return real(epoch, batch)

    again._ahead._read = noted  # type: ignore[assignment]
    steps: list[int] = []
    counter = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(batch))
    history = fit(model, again, recipe=Recipe(epochs=3), callbacks=[counter])
    assert len(history) == 3
    assert steps == [0, 1, *range(5), *range(5)]
    wanted = {(5, 3), (5, 4), *((epoch, batch) for epoch in (6, 7) for batch in range(5))}
    assert wanted <= set(seen)
    assert not any(epoch in (5,) and batch < 3 for epoch, batch in seen)


@pytest.mark.keras
def test_shards_of_a_generator_keep_what_it_adds(motion: ClipIndex) -> None:
    from loaders.compat import VideoFrameGenerator

    generator = VideoFrameGenerator(glob_pattern=f"{motion.root}/{{classname}}/*.avi", target_shape=(16, 16))
    assert generator.shard(0, 2)[0][0].dtype == np.float32
    assert copy.copy(generator)[0][0].dtype == np.float32


@pytest.mark.keras
def test_a_listed_test_split_is_never_trained_on(motion: ClipIndex) -> None:
    from zoo.recipe import Recipe
    from zoo.splitting import settle_splits

    clips = tuple(
        Clip(clip.file, clip.label, part, start=start, end=start + 0.2)
        for clip in motion.clips
        for part, start in (("train", 0.0), ("test", 0.25))
    )
    index, _ = settle_splits(ClipIndex(motion.root, clips), Recipe(validation=0.2, test=0.1))
    for before, after in zip(clips, index, strict=True):
        assert (before.split == "test") == (after.split == "test")
    assert {clip.split for clip in index} == {"train", "validation", "test"}


def test_a_number_that_is_none_is_json(tmp_path: Path) -> None:
    from dataclasses import asdict

    from export.runtime import Prediction

    found = Prediction(label="", probability=None, probabilities={}, values={"x": 1.0})
    assert json.loads(json.dumps(asdict(found)))["probability"] is None
