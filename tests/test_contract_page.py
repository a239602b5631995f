"""The contract page's reference reads what the loaders read, bit for bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.checksum import WITHOUT_CHECKSUM
from export.metadata import PREFIX, Metadata
from loaders import ClipIndex, ClipSpec, read_clip
from tests.support.commands import ROOT

PAGE = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
# Rotated; of variable rate; frames out of order; of 256 frames and more, in which the loaders seek; AVI, MOV and GIF.
CLIPS = (
    "abseiling_k400.mp4", "video_90.mov", "var_fps_video.mp4", "unordered.mov", "tree.avi", "nasa_13013.mp4",
    "newtonscradle.gif",
)  # fmt: skip
SAMPLINGS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "dense": {"stride": 3},
    "segments": {},
}
RESIZES: dict[str, dict[str, Any]] = {"stretch": {}, "fit": {"resize_to": 72}}
Read = Callable[[Path, dict[str, Any]], np.ndarray]


@pytest.fixture(scope="module")
def reference() -> Read:
    """`read` of the page's program."""
    found = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def read(" in block]
    assert len(found) == 1
    assert len(found[0].splitlines()) <= 30
    names: dict[str, Any] = {}
    exec(found[0], names)
    read: Read = names["read"]
    return read


def same(read: Read, path: Path, spec: ClipSpec) -> None:
    fields = json.loads(spec.to_json())  # as a file has them
    np.testing.assert_array_equal(read(path, fields), read_clip(path, spec), err_msg=f"{path.name} {fields}")


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_reference_reads_made_clips_as_the_loaders_do(
    reference: Read, motion: ClipIndex, sampling: Any, resize: Any
) -> None:
    for frames in (1, 2, 5, 12):  # the files have 8
        for short in ("spread", "repeat_last", "wrap"):
            spec = ClipSpec(
                frames=frames, height=40, width=24, sampling=sampling, resize=resize, short=short,
                **SAMPLINGS[sampling], **RESIZES[resize],
            )  # fmt: skip
            for path in motion.paths[::16]:
                same(reference, path, spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_the_reference_reads_real_clips_as_the_loaders_do(reference: Read, data: Path, name: str) -> None:
    for sampling, fields in SAMPLINGS.items():
        for resize, more in RESIZES.items():
            spec: Any = {"frames": 5, "height": 64, "width": 48, "sampling": sampling, "resize": resize}
            same(reference, data / "clips" / name, ClipSpec(**spec, **fields, **more))


def test_the_reference_knows_the_other_fields(reference: Read, data: Path) -> None:
    path = data / "clips" / "abseiling_k400.mp4"
    for fields in (
        {"interpolation": "linear", "color_order": "bgr"},
        {"interpolation": "cubic", "resize": "fit"},
        {"interpolation": "nearest", "sampling": "dense", "interval": 0.25},
    ):
        same(reference, path, ClipSpec(frames=4, height=32, width=48, **fields))  # type: ignore[arg-type]


def test_the_reference_refuses_what_the_loaders_refuse(reference: Read, motion: ClipIndex) -> None:
    with pytest.raises(ValueError, match="too few"):
        reference(motion.paths[0], ClipSpec(frames=9, height=8, width=8, short="error").to_dict())


def test_the_page_names_every_key_of_the_metadata() -> None:
    spec = ClipSpec(frames=1, height=1, width=1)
    metadata = Metadata(
        model="m", specs={"video": spec}, labels=("a", "b"), task="classification", parity={}, versions={},
        features="f", quantization={"clips": 100}, stream={"state_0": "next_state_0"},
    )  # fmt: skip
    keys = {*metadata.to_props(), *WITHOUT_CHECKSUM}
    assert all(key.startswith(PREFIX) for key in keys)
    assert set(re.findall(r"^\| `(clipzoo\.\w+)` \|", PAGE, re.MULTILINE)) == keys
