"""Label smoothing and mixup: what the loss and the batches of a training are, beside NumPy alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import zoo
from loaders import Augmentation, ClipIndex, ClipzooError
from loaders.cache import MemoryCache
from loaders.dataset import mixed
from tests.support.models import clips_for, lively
from zoo.features import FeatureDataset
from zoo.frozen import cut, freeze
from zoo.recipe import Recipe
from zoo.training import compile_model


def test_rows_are_mixed_alike_in_all_arrays() -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 4, 4), np.uint8), np.eye(6, dtype=np.float32)
    found, shares = mixed([pixels, labels], alpha=0.5, rng=np.random.default_rng(1))
    assert found.dtype == np.uint8 and shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert ((shares > 0.05) & (shares < 0.95)).any()  # else nothing was mixed
    np.testing.assert_allclose(found, np.tensordot(shares, pixels.astype(float), 1), atol=0.51)


@pytest.mark.keras
def test_the_loss_is_that_of_smoothed_labels() -> None:
    model = lively("convnet_gru")
    clips, labels = clips_for(model), np.eye(3, dtype=np.float32)
    said = np.log(model.predict(clips, verbose=0))
    losses = []
    for smoothing in (0.0, 0.3):
        compile_model(model, Recipe(label_smoothing=smoothing))
        losses.append(model.evaluate(clips, labels, verbose=0, return_dict=True)["loss"])
        smoothed = labels * (1 - smoothing) + smoothing / 3
        assert losses[-1] == pytest.approx(float(-(smoothed * said).sum(axis=1).mean()), abs=1e-5)
    assert losses[0] != pytest.approx(losses[1], abs=1e-4)
    several = lively("convnet_gru", task="multilabel")
    with pytest.raises(ClipzooError, match=r"label_smoothing \(0.3\) is for one class a clip, not for multilabel"):
        compile_model(several, Recipe(label_smoothing=0.3))


@pytest.mark.keras
@pytest.mark.either
def test_features_are_mixed_with_their_labels(motion: ClipIndex) -> None:
    model = lively("convnet_gru", classes=motion.labels)
    freeze(model, "head")
    few = ClipIndex(motion.root, motion.clips[::6], motion.labels)
    common: dict[str, Any] = {
        "cache": MemoryCache(), "batch_size": len(few), "draws": 1, "augmentation": Augmentation(), "shuffle": True,
    }  # fmt: skip
    frozen = cut(model, "head").frozen
    plain, soft = (FeatureDataset(frozen, zoo.specs(model), few, mixup=alpha, **common) for alpha in (0.0, 0.4))
    (values, labels), (found, shares) = plain[0], soft[0]
    mixing = np.random.default_rng((0, 0, 0, *b"mixup"))
    expected = mixed([np.asarray(values), labels], alpha=0.4, rng=mixing)
    np.testing.assert_array_equal(found, expected[0])
    np.testing.assert_array_equal(shares, expected[1])
    assert np.abs(np.asarray(found) - np.asarray(values)).max() > 1e-3 and not np.array_equal(shares, labels)
    np.testing.assert_array_equal(soft[0][0], found)  # of seed, epoch and batch alone
    soft.on_epoch_end()
    assert not np.array_equal(soft[0][0], found)


@pytest.mark.keras
@pytest.mark.slow
def test_a_head_trains_on_mixed_features_and_smoothed_labels(motion: ClipIndex, tmp_path: Any) -> None:
    zoo.create_model("convnet_gru", classes=2, frames=3, size=16, width=0.125).get_layer("frames").layer.save(
        tmp_path / "backbone.keras"
    )
    options = {"frames": 3, "size": 16, "width": 0.125, "backbone_weights": tmp_path / "backbone.keras"}
    recipe = Recipe(epochs=2, train_from="head", draws=1, mixup=0.4, label_smoothing=0.1)
    run = zoo.train(motion, "convnet_gru", recipe, out=tmp_path / "run", options=options)
    saved = run.read_record()["recipe"]
    assert (saved["mixup"], saved["label_smoothing"]) == (0.4, 0.1)
    assert isinstance(zoo.load_model(run.folder), keras.Model) and len(run.read_history()) == 2
