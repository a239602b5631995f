"""The input contract: what it refuses, and that it survives as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import (
    Augmentation,
    Clip,
    ClipIndex,
    ClipSpec,
    ClipzooError,
    FlowSpec,
    MemoryCache,
    read_crops,
    scan,
)
from loaders.sampling import uniform

SPEC = ClipSpec(frames=5, height=112, width=96)
INDEX = ClipIndex(Path(), tuple(Clip(f"{n}", "x") for n in range(4)))


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
        ("stride", "4", "ClipSpec stride ('4') must be a whole number from 1 to 16384"),
        ("sampling", ["dense"], "ClipSpec sampling (['dense']) must be one of uniform, dense, segments"),
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
    [
        ({"color": "rgb"}, "no field 'color'"),
        ({"schema": 3}, "schema 3 is newer than 2"),
        ({"channels": 4}, "channels"),
    ],
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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: SPEC.replace(sampling="dense", interval=0),
            "ClipSpec interval (0) must be a number above 0 and at most",
        ),
        (
            lambda: SPEC.replace(sampling="dense", interval=float("nan")),
            "ClipSpec interval (nan) must be a finite number",
        ),
        (lambda: SPEC.replace(resize="fit", resize_to=7.5), "ClipSpec resize_to (7.5) must be a whole number"),
        (lambda: FlowSpec(bound=-1), "FlowSpec bound (-1) must be a number >= 0 and at most 16384 pixels"),
        (lambda: FlowSpec(method=3), "FlowSpec method (3) must be one of farneback, dis, tvl1"),
        (lambda: FlowSpec(window=0), "FlowSpec window (0) must be a whole number from 1 to 255"),
        (lambda: Augmentation(zoom=1), "Augmentation zoom (1) must be a number >= 0 and below 1"),
        (lambda: Augmentation(contrast="x"), "Augmentation contrast ('x') must be a number >= 0 and at most 1"),
        (
            lambda: Augmentation(rotation=200),
            "Augmentation rotation (200) must be a number >= 0 and at most 180 degrees",
        ),
        (lambda: Augmentation(crop="left"), "Augmentation crop ('left') must be one of center, multiscale"),
        (lambda: Augmentation(scales=(1, 0)), "Augmentation scales (0) must be a number above 0 and at most 1"),
        (lambda: Augmentation(scales=()), "Augmentation scales (()) must be numbers, one or more"),
        (lambda: MemoryCache(limit=-1), "cache limit (-1) must be a number >= 0 bytes"),
        (lambda: scan(INDEX, workers=0), "scan workers (0) must be a whole number >= 1"),
        (lambda: scan(INDEX, time_limit=0), "scan time_limit (0) must be a number above 0 seconds"),
        (lambda: INDEX.split(validation="x"), "split share validation ('x') must be a number >= 0 and below 1"),
        (lambda: INDEX.folds(1), "folds (1) must be a whole number from 2"),
        (lambda: read_crops("x", {"": SPEC}, crops=5), "crops (5) must be 1, 3 or 10"),
        (lambda: read_crops("x", {"": SPEC}, views=0), "views (0) must be a whole number >= 1"),
        (lambda: uniform(0, 3), "sampling count (0) must be a whole number >= 1"),
    ],
)
def test_a_value_out_of_range_names_itself_and_its_rule(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        make()
    assert said in str(error.value)


def test_numbers_of_numpy_are_numbers_and_still_json() -> None:
    spec = ClipSpec(
        frames=np.int64(5), height=np.uint8(8), width=8, sampling="dense", interval=np.float32(0.5),
        modality="flow", flow=FlowSpec(bound=np.float32(3), window=np.int32(9)),
    )  # fmt: skip
    plain = ClipSpec(
        frames=5, height=8, width=8, sampling="dense", interval=0.5, modality="flow", flow=FlowSpec(bound=3.0, window=9)
    )
    assert spec == plain and spec.to_json() == plain.to_json()
    assert Augmentation(zoom=np.float32(0.25), rotation=np.int64(3)).zoom == 0.25


@pytest.mark.parametrize(
    "spec",
    [
        ClipSpec(frames=2, height=8, width=9, sampling="dense", stride=3, short="wrap", color_order="bgr"),
        ClipSpec(frames=2, height=8, width=8, sampling="dense", interval=0.5, resize="fit", resize_to=10),
        ClipSpec(frames=2, height=8, width=8, modality="gray", interpolation="cubic", sampling="segments"),
        ClipSpec(frames=2, height=8, width=8, modality="diff", pairs="sampled", short="repeat_last"),
        ClipSpec(
            frames=2, height=8, width=8, modality="flow", stack=4,
            flow=FlowSpec(method="farneback", bound=7, levels=2, window=9, iterations=1),
        ),
    ],
)  # fmt: skip
def test_every_field_travels(spec: ClipSpec) -> None:
    written = json.loads(spec.to_json())
    assert set(written) == {field.name for field in dataclasses.fields(ClipSpec)} | {"channels"}
    assert ClipSpec.from_dict(written) == spec
