"""Models that are built to be filled draw nothing, and all else draws as ever."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from tests.support.models import SMALL
from zoo.i3d import trunk
from zoo.skip_init import DRAWS, skip_init

pytestmark = pytest.mark.keras


def spread(initializer: keras.initializers.Initializer) -> float:
    return float(np.ptp(np.asarray(keras.ops.convert_to_numpy(initializer((4, 4), "float32")))))


def test_only_this_thread_draws_nothing_and_only_inside() -> None:
    kinds = [*DRAWS, keras.initializers.GlorotUniform, keras.initializers.HeNormal]
    elsewhere: list[float] = []
    with skip_init():
        with skip_init():
            assert [spread(kind()) for kind in kinds] == [0] * len(kinds)
        assert [spread(kind()) for kind in kinds] == [0] * len(kinds)
        thread = threading.Thread(target=lambda: elsewhere.extend(spread(kind()) for kind in kinds))
        thread.start()
        thread.join()
        assert keras.initializers.RandomNormal()((2,), "bfloat16").dtype == keras.ops.zeros((), "bfloat16").dtype
    assert len(elsewhere) == len(kinds) and min(elsewhere) > 0
    assert min(spread(kind()) for kind in kinds) > 0


@pytest.mark.either
def test_what_is_loaded_is_not_drawn_and_the_head_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    with skip_init():  # JAX is slow at drawing kernels of many shapes
        first = trunk((8, 112, 112, 3), width=0.125)
    first.set_weights([rng.random(weight.shape, np.float32) for weight in first.weights])
    first.save(tmp_path / "trunk.keras")
    drawn: list[tuple[int, ...]] = []
    for kind in (keras.initializers.VarianceScaling, keras.initializers.RandomNormal):

        def watch(
            initializer: Any, shape: tuple[int, ...], *args: Any, draw: Any = kind.__call__, **options: Any
        ) -> Any:
            drawn.append(tuple(shape))
            return draw(initializer, shape, *args, **options)

        monkeypatch.setattr(kind, "__call__", watch)
    model = zoo.create_model("i3d", classes=3, backbone_weights=str(tmp_path / "trunk.keras"), **SMALL["i3d"])
    assert drawn == [(128, 3)]  # the head
    for ours, theirs in zip(model.get_layer("trunk").get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.ptp(model.get_layer("logits").get_weights()[0]) > 0
    drawn.clear()
    model.save(tmp_path / "model.keras")
    again = zoo.load_model(tmp_path / "model.keras")
    assert drawn == []
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    layer = again.get_layer("trunk").get_layer("Conv3d_1a_7x7")
    assert spread(type(layer).from_config(layer.get_config()).kernel_initializer) > 0  # a clone draws as ever
