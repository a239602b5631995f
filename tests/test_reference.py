"""Image networks with the weights of others compute what the originals compute (tests/reference/activations.py)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from loaders import ClipSpec, ClipzooError
from tests.reference.activations import HERE, LAYERS, SIZE, noise, sampled
from tests.support.archives import published
from zoo.backbones import backbone
from zoo.backbones import efficientnet_lite as lite
from zoo.backbones import mobilenetv2 as mobile
from zoo.backbones.inverted_residual import inverted_residual_network
from zoo.layers import ClipInput
from zoo.npz import read_npz
from zoo.weights import copy_weights

pytestmark = pytest.mark.keras
BUILT: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"stages": lite.STAGES, "epsilon": 1e-3, "padding": "same"},
    "mobilenetv2": {"stages": mobile.STAGES, "epsilon": 1e-5, "padding": "both"},
}


def differences(network: keras.Model, name: str) -> dict[str, float]:
    """The largest difference from the original in each activation, in shares of its largest value.

    Pixels go through the backbone's own normalization.
    """
    spec = ClipSpec(frames=1, height=SIZE[0], width=SIZE[1])
    normalize = ClipInput(spec, **backbone(name).normalization(spec))
    video = keras.Input(spec.shape[1:], dtype="uint8")
    depths = keras.Model(network.input, [network.get_layer(layer).output for layer in LAYERS[name]])
    both = keras.Model(video, depths(normalize(video)))
    found = {}
    with np.load(HERE / f"{name}.npz") as reference:
        for kind, pixels in {"noise": noise(), "frame": reference["frame"]}.items():
            for (layer, steps), ours in zip(LAYERS[name].items(), both.predict(pixels, verbose=0), strict=True):
                expected = reference[f"{kind}.{layer}"]
                assert np.ptp(expected) > 1
                found[f"{kind}.{layer}"] = float(np.abs(sampled(ours, steps) - expected).max() / np.abs(expected).max())
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_activations_are_the_original_s(name: str) -> None:
    file = published(name, "imagenet")
    pooled = backbone(name).create((*SIZE, 3), weights=file)
    found = differences(pooled, name)
    assert len(found) == 6
    assert max(found.values()) < 1e-4, found


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("efficientnet_lite0", {"epsilon": 1e-5}),
        ("efficientnet_lite0", {"padding": "both"}),
        ("mobilenetv2", {"epsilon": 1e-3}),
        ("mobilenetv2", {"padding": "same"}),
    ],
)
@pytest.mark.slow
def test_another_epsilon_or_padding_is_seen(name: str, change: dict[str, Any]) -> None:
    file = published(name, "imagenet")
    network = inverted_residual_network((*SIZE, 3), name=name, **{**BUILT[name], **change})
    copy_weights(read_npz(file), network, str(file))
    found = differences(network, name)
    assert min(found.values()) > 1e-3, found


@pytest.mark.parametrize("name", LAYERS)
def test_what_enters_a_residual_branch_can_be_changed(name: str) -> None:
    met: list[tuple[str, tuple[int | None, ...]]] = []

    def entry(x: Any, block: str) -> Any:
        met.append((block, tuple(x.shape)))
        return keras.layers.Rescaling(0.0, name=f"{block}_entry")(x)

    build = backbone(name).build
    plain, changed = build((32, 32, 3), None), build((32, 32, 3), None, entry)
    added = [layer.name.removesuffix("_add") for layer in plain.layers if isinstance(layer, keras.layers.Add)]
    assert [block for block, _ in met] == added and len(added) == (9 if name == "efficientnet_lite0" else 10)
    changed.set_weights(plain.get_weights())
    # Nothing enters the branches now: what a block gives is its shortcut and a constant.
    block = changed.get_layer("block3_add")
    before = changed.get_layer("block2_project_norm").output
    shortcut, whole = keras.Model(changed.input, [before, block.output]).predict(noise()[:, :32, :32], verbose=0)
    constant = (whole - shortcut)[:, 2:-2, 2:-2]  # borders pad the constant with zeros
    np.testing.assert_allclose(constant, np.broadcast_to(constant[:, :1, :1], constant.shape), atol=1e-4)
    assert "entry" not in backbone(name).options  # it is no option of users


@pytest.mark.parametrize("arrays", [lite.arrays, mobile.arrays])
def test_weights_of_another_network_are_named(arrays: Any) -> None:
    with pytest.raises(ClipzooError, match=r"the weights have no '.*weight'; they are of another network"):
        arrays({"classifier.weight": np.zeros(3, np.float32)})


@pytest.mark.either
@pytest.mark.parametrize("alpha", [pytest.param(0.35, marks=pytest.mark.slow), 1.4])
def test_alpha_gives_mobilenetv2_the_channels_that_keras_gives_its_own(alpha: float) -> None:
    theirs = keras.applications.MobileNetV2((32, 32, 3), alpha=alpha, include_top=False, weights=None)
    assert backbone("mobilenetv2").build((32, 32, 3), None, alpha=alpha).count_params() == theirs.count_params()


@pytest.mark.either
def test_an_alpha_out_of_its_range_is_named() -> None:
    with pytest.raises(ClipzooError, match=r"alpha \(0\) must be a number >= 0.03125 and at most 2"):
        backbone("mobilenetv2").build((32, 32, 3), None, alpha=0)
