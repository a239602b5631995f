"""Training behind a frozen part: what is cut, what is kept, and that the whole model learns it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from benchmarks.harness.models import leaves, randomize
from export.scoring import score
from loaders import Augmentation, ClipDataset, ClipIndex, ClipzooError
from loaders.cache import DiskCache, MemoryCache
from tests.support.commands import invoke
from tests.support.models import SMALL, clips_for
from zoo import features
from zoo.features import FeatureDataset
from zoo.frozen import cut, freeze, thawed

pytestmark = pytest.mark.keras
CUTS = [
    ("mobilenet_gru", "head"), ("mobilenet_gru", "conv_pw_12"), ("dtpp", "head"),
    pytest.param("i3d", "MaxPool3d_5a_2x2", marks=pytest.mark.slow),
]  # fmt: skip
TINY: dict[str, Any] = {"frames": 2, "size": 8, "width": 1 / 16}


def small(name: str) -> keras.Model:
    return zoo.create_model(name, classes=3, **SMALL[name])


@pytest.mark.parametrize(("name", "train_from"), CUTS)
def test_the_two_parts_give_what_the_whole_gives(name: str, train_from: str) -> None:
    model = small(name)
    randomize(model)
    frozen = freeze(model, train_from)
    parts = cut(model, train_from)
    clips = clips_for(model)
    found = parts.rest.predict_on_batch(parts.frozen.predict_on_batch(clips))
    np.testing.assert_allclose(found, model.predict_on_batch(clips), atol=1e-6)
    assert zoo.labels(parts.rest) == zoo.labels(model) and zoo.task(parts.rest) == zoo.task(model)
    assert not parts.frozen.trainable_weights
    assert {id(w) for w in parts.rest.trainable_weights} == {id(w) for w in model.trainable_weights}
    assert frozen and not any(layer.trainable for layer in frozen)
    with thawed(frozen):
        assert all(layer.trainable for layer in leaves(model))
    assert not any(layer.trainable for layer in frozen)


def test_all_trains_unless_it_is_said() -> None:
    model = small("mobilenet_gru")
    assert freeze(model, "all") == [] and all(layer.trainable for layer in leaves(model))


@pytest.mark.parametrize(
    ("name", "train_from", "said"),
    [
        ("mobilenet_gru", "conv_pw12", "must be 'head', 'all' or a layer of the backbone; did you mean conv_pw_12"),
        pytest.param("i3d", "Mixed_5b_Branch_1_Conv3d_0b_3x3", "other layers stand beside it", marks=pytest.mark.slow),
        pytest.param("i3d", "Mixed_5b", "takes several inputs", marks=pytest.mark.slow),
    ],
)
def test_a_cut_that_cannot_be_made_is_named(name: str, train_from: str, said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        cut(small(name), train_from)


def test_the_old_option_has_a_sentence() -> None:
    with pytest.raises(ClipzooError, match=r"trainable_layers is no option.*recipe\.train_from=head"):
        zoo.create_model("mobilenet_gru", classes=2, trainable_layers=9)


def made(index: ClipIndex, cache: Any, **options: Any) -> tuple[FeatureDataset, keras.Model, keras.Model]:
    keras.utils.set_random_seed(1)
    model = zoo.create_model("convnet_gru", classes=index.labels, **TINY)
    freeze(model, "head")
    frozen = cut(model, "head").frozen
    return FeatureDataset(frozen, zoo.specs(model), index, cache=cache, batch_size=5, **options), frozen, model


def test_features_are_those_of_the_frozen_part_in_order(motion: ClipIndex, tmp_path: Path) -> None:
    dataset, frozen, model = made(motion, DiskCache(tmp_path))
    clips = ClipDataset(motion, zoo.specs(model), batch_size=5)
    for batch in (0, dataset.num_batches - 1):
        (pixels, labels), (values, targets) = clips[batch], dataset[batch]
        np.testing.assert_allclose(values, frozen.predict_on_batch(pixels), atol=1e-6)
        np.testing.assert_array_equal(labels, targets)


@pytest.mark.either
def test_each_draw_is_computed_once_and_epochs_take_turns(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[object] = []
    original = features.read_inputs
    monkeypatch.setattr(features, "read_inputs", lambda *a, **k: reads.append(a[0]) or original(*a, **k))
    options: dict[str, Any] = {"draws": 3, "augmentation": Augmentation(), "shuffle": True, "seed": 4}
    dataset, _, _ = made(motion, DiskCache(tmp_path), **options)
    assert len(reads) == 3 * len(motion)
    drawn = {dataset._kept.tensors(key)[0].tobytes() for keys in dataset._keys for key in keys}
    assert len(drawn) > 2 * len(motion)
    first = dataset[0]
    dataset.on_epoch_end()
    assert not np.array_equal(first[0], dataset[0][0])
    again, _, _ = made(motion, DiskCache(tmp_path), **options)
    of_a_file = Augmentation(scales=list(Augmentation().scales))
    made(motion, DiskCache(tmp_path), **{**options, "augmentation": of_a_file})
    assert len(reads) == 3 * len(motion)  # from the disk, whether the training begins or goes on
    np.testing.assert_array_equal(again[0][0], first[0])
    more, _, _ = made(motion, DiskCache(tmp_path), **{**options, "draws": 4})
    assert len(reads) == 4 * len(motion) and more.draws == 4
    other, _, _ = made(motion, DiskCache(tmp_path), **{**options, "seed": 5})
    assert len(reads) == 4 * len(motion)  # the same draws, in another order
    assert not np.array_equal(other[0][0], first[0])
    copied = shutil.copytree(motion.root, tmp_path / "copied", copy_function=shutil.copyfile)
    made(replace(motion, root=copied), DiskCache(tmp_path), **options)
    assert len(reads) == 4 * len(motion)  # the same clips, elsewhere and of another time
    held = motion.path(0).read_bytes()
    (copied / motion[0].file).write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    made(replace(motion, root=copied), DiskCache(tmp_path), **options)
    assert len(reads) == 4 * len(motion) + 3  # three draws of what is another file


@pytest.mark.either
def test_what_is_interrupted_says_what_is_kept(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, lines = features.read_inputs, list[str]()

    def interrupted(path: Path, *given: Any, **options: Any) -> Any:
        if path == motion.path(10):
            raise KeyboardInterrupt
        return original(path, *given, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(features, "read_inputs", interrupted)
        made(motion, DiskCache(tmp_path), say=lines.append)
    assert lines[-1] == "features: 8 of 48 are kept on disk; the same command goes on from there"
    made(motion, DiskCache(tmp_path), say=lines.append)
    assert lines[-1] == "features: 40 of 48 to compute, once: 48 clips, 1 draw(s) of each"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the open files of Linux")
@pytest.mark.parametrize("room", [features.MEMORY_BYTES, 1000])
@pytest.mark.either
def test_kept_features_hold_no_file_open_in_memory_and_beyond(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(features, "MEMORY_BYTES", room)
    options: dict[str, Any] = {"draws": 3, "augmentation": Augmentation(), "say": print}
    dataset, _, _ = made(motion, DiskCache(tmp_path), **options)
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(features, "read_inputs", lambda *a, **k: pytest.fail("computed again"))
    again, _, _ = made(motion, DiskCache(tmp_path), **options)
    for batch in range(dataset.num_batches):
        np.testing.assert_array_equal(again[batch][0], dataset[batch][0])
    assert len(list(Path("/proc/self/fd").iterdir())) < before + len(motion)
    shutil.rmtree(tmp_path)
    if room == 1000:
        with pytest.raises(ClipzooError, match="deleted while they were trained on"):
            [again[batch] for batch in range(again.num_batches)]
    else:
        np.testing.assert_array_equal(again[0][0], dataset[0][0])


@pytest.mark.either
def test_features_of_other_weights_are_not_taken(motion: ClipIndex, tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    dataset, frozen, model = made(motion, cache)
    for weight in frozen.weights:
        weight.assign(weight * 2 + 1)
    again = FeatureDataset(frozen, zoo.specs(model), motion, cache=cache, batch_size=5)
    assert not np.allclose(again[0][0], dataset[0][0])


def test_without_chance_one_draw_is_all(motion: ClipIndex) -> None:
    dataset, _, _ = made(motion, MemoryCache(), draws=5)
    assert dataset.draws == 1


@pytest.mark.slow
def test_a_run_from_the_head_learns_in_the_whole_model_and_goes_on(motion: ClipIndex, tmp_path: Path) -> None:
    recipe = zoo.Recipe(epochs=2, batch=8, train_from="head", draws=2, seed=2)
    said: list[str] = []
    run = zoo.train(
        motion, "convnet_gru", recipe, out=tmp_path / "run", options=TINY, cache=str(tmp_path / "kept"), say=said.append
    )
    assert any(line.startswith("features: ") for line in said)
    keras.utils.set_random_seed(recipe.seed)
    fresh = zoo.create_model("convnet_gru", classes=motion.labels, **TINY)
    last = zoo.load_model(run.last)
    pairs = [(a.path, np.array(a), np.array(b)) for a, b in zip(fresh.weights, last.weights, strict=True)]
    moved = {path.split("/")[0] for path, old, new in pairs if not np.array_equal(old, new)}
    assert "gru" in moved and not any(name.startswith(("conv", "norm")) for name in moved)
    assert all(layer.trainable for layer in leaves(last))  # the next training decides for itself
    # The figures of the part are those of the whole: evaluated on clips.
    index = run.index().only("validation")
    found = score(run.last, index).evaluate()
    assert found.top1 == pytest.approx(run.read_history()[-1]["val_accuracy"])
    said.clear()
    onward = zoo.train(motion, run.folder, zoo.Recipe(epochs=1, batch=24), out=tmp_path / "onward", say=said.append)
    assert "head: goes on, for the labels are the same" in said
    changed = [not np.array_equal(a, b) for a, b in zip(last.weights, zoo.load_model(onward.last).weights, strict=True)]
    assert sum(changed) > len(changed) // 2  # the backbone too


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"draws": 2}, "say train_from='head' too"),
        ({"label_smoothing": 1.0}, r"label_smoothing \(1.0\)"),
        ({"train_from": 9}, r"train_from \(9\)"),
        ({"draws": -1, "train_from": "head"}, r"draws \(-1\)"),
    ],
)
def test_what_does_not_go_together_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        zoo.Recipe(**fields)


def test_several_inputs_have_features_each(motion: ClipIndex) -> None:
    model = zoo.create_model(
        "dtpp", classes=motion.labels, frames=2, size=32, backbone="convnet", width=1 / 32, levels=[1],
        flow={"stack": 1}, spec={"resize": "stretch"},
    )  # fmt: skip
    freeze(model, "head")
    parts = cut(model, "head")
    dataset = FeatureDataset(parts.frozen, zoo.specs(model), motion, cache=MemoryCache(), batch_size=4)
    values, targets = dataset[0]
    assert isinstance(values, list) and [len(each) for each in values] == [4, 4]
    assert parts.rest.predict_on_batch(values).shape == targets.shape


@pytest.mark.slow
def test_the_command_trains_behind_weights_where_nobody_says_otherwise(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    model = zoo.create_model("convnet_gru", classes=2, **TINY)
    model.get_layer("frames").layer.save(tmp_path / "backbone.keras")
    tiny = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    command = ["train", videos, "--model", "convnet_gru", *tiny, "--epochs", "1"]
    weights = ["--set", f"backbone_weights={tmp_path / 'backbone.keras'}"]
    done = invoke(*command, *weights, "--out", tmp_path / "head")
    assert done.returncode == 0 and "trains head on 4 draws" in done.stdout and "features: " in done.stdout, done.stderr
    recipe = zoo.Run(tmp_path / "head").read_record()["recipe"]
    assert (recipe["train_from"], recipe["draws"]) == ("head", 4)
    assert list((tmp_path / "home" / "clipzoo" / "features").glob("*/*.npy"))
    for more in ([*weights, "--set", "recipe.train_from=all"], []):
        done = invoke(*command, *more, "--out", tmp_path / f"all{len(more)}")
        assert done.returncode == 0 and "trains all of it" in done.stdout, done.stderr
        assert zoo.Run(tmp_path / f"all{len(more)}").read_record()["recipe"]["train_from"] == "all"


def test_a_function_of_the_user_is_asked_anew(motion: ClipIndex, tmp_path: Path) -> None:
    """Code has no name that tells it from what it was yesterday."""

    def features_by(function: Any) -> np.ndarray:
        dataset, _, _ = made(motion, DiskCache(tmp_path), draws=1, augmentation=Augmentation(function=function))
        return np.asarray(dataset[0][0])

    as_it_is, black = features_by(lambda clip, rng: clip), features_by(lambda clip, rng: np.zeros_like(clip))
    assert not np.allclose(as_it_is, black)


def test_what_has_no_weights_decides_on_features_too() -> None:
    def way(scale: float) -> str:
        inputs = keras.Input((2, 4, 4, 3))  # Keras counts up the names of what follows
        return features._way(keras.Model(inputs, keras.layers.Rescaling(scale)(inputs)), None, "test")

    assert way(1 / 255) == way(1 / 255) != way(1 / 127.5)
