"""Every model of the zoo, small; and clips for them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import zoo
from benchmarks.harness.models import randomize
from zoo.skip_init import skip_init

STREAM: dict[str, Any] = {"frames": 6, "size": 16, "backbone": "convnet", "width": 0.125}
INFLATED: dict[str, Any] = {"frames": 8, "size": 112, "width": 0.125}
SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("dtpp", "dtpp_rgb", "dtpp_flow", "dtpp_diff"), STREAM),
    "convnet_gru": {"frames": 3, "size": 16, "width": 0.125},
    "convnet_lstm": {"frames": 3, "size": 16, "width": 0.125},
    **dict.fromkeys(("i3d", "i3d_flow"), INFLATED),
    "mobilenet_gru": {"frames": 2, "size": 32, "alpha": 0.25},
    "mobilenet_lstm": {"frames": 2, "size": 32, "alpha": 0.25},
    "mobilenetv2_gru": {"frames": 2, "size": 32, "alpha": 0.35},
    "efficientnet_lite0_gru": {"frames": 2, "size": 32},
    "vgg16_gru": {"frames": 1, "size": 32},
    "mobilenet_average": {"frames": 2, "size": 32, "alpha": 0.25},
    "mobilenetv2_average": {"frames": 2, "size": 32, "alpha": 0.35},
    "efficientnet_lite0_average": {"frames": 2, "size": 32},
    "tsm_mobilenetv2": {"frames": 3, "size": 32},
    "tsm_efficientnet_lite0": {"frames": 3, "size": 32},
}
# One of each kind, for `make test`; I3D, the slowest to build, has test_i3d.py. `make test-all` takes every model.
KINDS = ("convnet_gru", "mobilenet_gru", "mobilenet_average", "tsm_mobilenetv2", "dtpp_rgb", "dtpp")
LABELS = ("jump", "run", "ride a bike")


def lively(name: str, *, classes: tuple[str, ...] | int = LABELS, **options: Any) -> keras.Model:
    """A small model of the zoo that answers each clip its own way: see `benchmarks.harness.models.randomize`."""
    with skip_init():  # all weights are set next
        model = zoo.create_model(name, classes=classes, **{**SMALL[name], **options})
    return randomize(model)


def clips_for(model: keras.Model, count: int = 3) -> Any:
    """Random clips: an array, or a dict of them for several inputs."""
    rng = np.random.default_rng(1)
    clips = {name: rng.integers(0, 256, (count, *s.shape), np.uint8) for name, s in zoo.specs(model).items()}
    return clips if len(clips) > 1 else next(iter(clips.values()))
