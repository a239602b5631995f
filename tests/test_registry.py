"""Models and backbones by name: what is in the zoo, and how a stranger adds to it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zoo
from loaders import ClipSpec, ClipzooError
from zoo.registry import input_specs


def test_listing_models_and_reading_what_goes_in_needs_neither_opencv_nor_keras() -> None:
    code = (
        "import sys, zoo; from zoo.registry import input_specs; from loaders.tasks import TASKS\n"
        "assert zoo.list_models() and zoo.model_info('dtpp') and input_specs('dtpp', frames=7) and TASKS\n"
        "assert not {'cv2', 'keras', 'tensorflow', 'jax'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_goes_in_is_known_before_a_model_is_built() -> None:
    assert list(input_specs("convnet_gru", frames=3, size=(16, 24)).values()) == [
        ClipSpec(frames=3, height=16, width=24)
    ]
    both = input_specs("dtpp", size=112, spec={"flow": {"method": "tvl1"}, "short": "wrap"})
    assert list(both) == ["rgb", "flow"]
    assert both["flow"].flow is not None and both["flow"].flow.method == "tvl1" and both["rgb"].flow is None
    assert {spec.short for spec in both.values()} == {"wrap"}
    assert both["rgb"].resize_to == 128
    flow = input_specs("dtpp", flow={"stack": 3, "flow": {"bound": 10}})["flow"]
    assert (flow.stack, flow.flow and flow.flow.bound) == (3, 10)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("convnet_gru", {"size": (16,)}, r"size \(\(16,\)\) must be a number of pixels, or \(height, width\)"),
        ("convnet_gru", {"size": (16, "a")}, "width"),
        ("convnet_gru", {"size": 0}, r"height \(0\)"),
        ("convnet_gru", {"spec": {"samplin": "dense"}}, "no field 'samplin'; did you mean sampling"),
        ("dtpp_flow", {"spec": {"flow": {"methd": "dis"}}}, "no field 'methd'; did you mean method"),
        ("dtpp", {"flow": 3}, r"flow \(3\) must be a table"),
        ("convnet_gru", {"flow": {}}, "no option 'flow'"),
        ("convnet_gro", {}, "did you mean convnet_gru"),
    ],
)
def test_what_cannot_go_in_is_named(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        input_specs(name, **options)  # type: ignore[arg-type]


@pytest.mark.keras
def test_a_stranger_adds_a_backbone_with_one_file_and_one_card(stripes: str) -> None:
    model = zoo.create_model(stripes, classes=("a", "b"), filters=6)
    assert model.get_layer("frames").layer.get_layer("stripes").filters == 6
    assert stripes in zoo.list_models("stripes*")
    with pytest.raises(ClipzooError, match="no option 'filter'; did you mean filters"):
        zoo.create_model(stripes, classes=2, filter=6)
    stream = zoo.create_model("dtpp_rgb", classes=2, backbone="stripes", frames=4, size=16)
    assert stream.get_layer("rgb_frames").layer.get_layer("stripes").filters == 4
    with pytest.raises(ClipzooError, match="registered already"):
        zoo.register_backbone("stripes", zoo.Backbone(build=lambda *_: model, mean=0, std=1))
    with pytest.raises(ClipzooError, match="registered already"):
        zoo.register(zoo.model_info(stripes))
    with pytest.raises(ClipzooError, match=r"backbone \('stripe'\) must be one of .*stripes"):
        zoo.create_model("dtpp_rgb", classes=2, backbone="stripe")
