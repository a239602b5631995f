"""The average over time: what it computes, and what it takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import zoo
from loaders import ClipzooError
from tests.support.models import LABELS, SMALL, clips_for, lively

pytestmark = pytest.mark.keras


def test_the_average_is_that_of_the_frames_logits_in_any_order() -> None:
    options = {**SMALL["mobilenet_average"], "frames": 4}
    model = zoo.with_logits(lively("mobilenet_average", **options))
    one = zoo.with_logits(zoo.create_model("mobilenet_average", classes=LABELS, **{**options, "frames": 1}))
    one.set_weights(model.get_weights())
    clips = clips_for(model)
    logits = model.predict(clips, verbose=0)["logits"]
    alone = [one.predict(clips[:, t : t + 1], verbose=0)["logits"] for t in range(4)]
    assert np.ptp(alone, axis=0).max() > 0.05
    np.testing.assert_allclose(logits, np.mean(alone, axis=0), atol=1e-5 * np.abs(alone).max())
    backwards = model.predict(clips[:, ::-1], verbose=0)["logits"]
    np.testing.assert_allclose(backwards, logits, atol=1e-5 * np.abs(alone).max())


def test_the_head_is_pooling_mean_dropout_and_one_dense_layer() -> None:
    model = zoo.create_model("mobilenet_average", classes=5, dropout=0.3, **SMALL["mobilenet_average"])
    assert [layer.name for layer in model.layers] == [
        "video", "clip_input", "frames", "average", "dropout", "logits", "probabilities",
    ]  # fmt: skip
    assert isinstance(model.get_layer("frames").layer.layers[-1], keras.layers.GlobalAveragePooling2D)
    assert model.get_layer("dropout").rate == 0.3
    spec = zoo.model_info("mobilenet_average").spec
    assert (spec.sampling, spec.resize) == ("segments", "fit")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"units": 8}, "no option 'units'"),
        ({"bidirectional": True}, "no option 'bidirectional'"),
        ({"backbone": "vgg16"}, "settles it"),
        ({"dropout": 1}, "dropout (1)"),
        ({"backbone_weights": 3}, "backbone_weights (3)"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        zoo.create_model("mobilenet_average", classes=2, **{**SMALL["mobilenet_average"], **options})
    assert said in str(error.value)
