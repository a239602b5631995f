"""The input contract: what it refuses, and that it survives as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import ClipSpec, ClipzooError

SPEC = ClipSpec(frames=5, height=112, width=96)


def test_shape_has_time_first_and_channels_last() -> None:
    assert SPEC.shape == (5, 112, 96, 3)
    assert SPEC.replace(modality="gray").shape == (5, 112, 96, 1)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("frames", 0, "frames (0)"),
        ("frames", 2.0, "frames (2.0)"),
        ("height", True, "height (True)"),
        ("modality", "smell", "'smell'"),
        ("interpolation", "magic", "'magic'"),
        ("schema", 0, "schema 0"),
        ("resize_to", 128, "resize='fit'"),
    ],
)
def test_a_field_out_of_range_is_named_with_its_value(field: str, value: Any, said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        SPEC.replace(**{field: value})
    assert said in str(error.value)


def test_resize_to_must_cover_the_crop() -> None:
    with pytest.raises(ClipzooError, match="resize_to"):
        ClipSpec(frames=1, height=224, width=224, resize="fit", resize_to=200)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"colour": "rgb"}, "no field 'colour'"), ({"schema": 2}, "newer"), ({"channels": 4}, "channels")],
)
def test_unknown_fields_and_newer_schemas_are_errors(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        ClipSpec.from_dict({**SPEC.to_dict(), **change})
    assert said in str(error.value)


def test_a_missing_field_is_named() -> None:
    fields = SPEC.to_dict()
    del fields["frames"]
    with pytest.raises(ClipzooError, match="lacks frames"):
        ClipSpec.from_dict(fields)


@given(
    frames=st.integers(1, 64),
    height=st.integers(1, 512),
    width=st.integers(1, 512),
    modality=st.sampled_from(["rgb", "gray"]),
    fit=st.none() | st.integers(512, 600),
)
def test_json_gives_the_same_spec(frames: int, height: int, width: int, modality: Any, fit: int | None) -> None:
    spec = ClipSpec(
        frames=frames, height=height, width=width, modality=modality, resize="fit" if fit else "stretch", resize_to=fit
    )
    assert ClipSpec.from_dict(json.loads(spec.to_json())) == spec
