"""ClipSpec: the input contract. Everything that decides which numbers reach a model's input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from loaders.check import choice, names, number, whole
from loaders.errors import ClipzooError
from loaders.schema import RENAMED, SCHEMA, upgraded

Modality = Literal["rgb", "gray", "grouped", "diff", "rgb_diff", "diff_mask", "flow_mask", "flow_hsv", "flow"]
Sampling = Literal["uniform", "dense", "segments"]
Short = Literal["spread", "repeat_last", "wrap", "error"]
Pairs = Literal["neighbors", "sampled"]
Resize = Literal["stretch", "fit"]
Interpolation = Literal["area", "linear", "cubic", "nearest"]
ColorOrder = Literal["rgb", "bgr"]
FlowMethod = Literal["farneback", "dis", "tvl1"]

MOST = 16384  # frames, rows or columns; more is a slip of the keyboard
PAIRED = ("diff", "rgb_diff", "diff_mask", "flow_mask", "flow_hsv", "flow")  # made of pairs of frames
FLOW_BOUND, PICTURE_BOUND = 20.0, 5.0  # pixels a frame
FLOWS = ("flow_mask", "flow_hsv", "flow")
_CHOICES = {
    "modality": get_args(Modality),
    "sampling": get_args(Sampling),
    "short": get_args(Short),
    "pairs": get_args(Pairs),
    "resize": get_args(Resize),
    "interpolation": get_args(Interpolation),
    "color_order": get_args(ColorOrder),
}


@dataclass(frozen=True, kw_only=True)
class FlowSpec:
    """How optical flow is computed: between two gray frames, after resizing and before cropping.

    Attributes:
        method: `dis` (Kroeger et al., ECCV 2016; fast), `farneback` (SCIA 2003), or `tvl1` (Zach et al., DAGM 2007;
            needs opencv-contrib).
        bound: pixels a frame; larger motions are clipped. -bound..bound becomes 0..255, nothing moving is 128. Left
            out, a ClipSpec settles it: 20 for `flow`, as the two-stream models have it, and 5 for its pictures, in
            which 20 would be nearly black.
        levels: pyramid levels of `farneback`.
        window: its averaging window, pixels.
        iterations: at each of its levels.
    """

    method: FlowMethod = "dis"
    bound: float = 0.0
    levels: int = 3
    window: int = 15
    iterations: int = 3

    def __post_init__(self) -> None:
        choice("FlowSpec method", self.method, get_args(FlowMethod))
        number("FlowSpec bound", self.bound, least=0, most=MOST, unit="pixels")
        _plain(self, "bound", float)
        for name, most in (("levels", 16), ("window", 255), ("iterations", 1000)):
            whole(f"FlowSpec {name}", getattr(self, name), most=most)
            _plain(self, name, int)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FlowSpec:
        """Reads a table of fields; raises ClipzooError for unknown ones and values out of range."""
        names("FlowSpec", fields, (field.name for field in dataclasses.fields(cls)))
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """What one input of a model takes: uint8 (frames, height, width, channels), values 0 to 255.

    Attributes:
        frames: steps in a clip, T >= 1: frames, or what is made of several frames each.
        height: rows of a frame, pixels.
        width: columns of a frame, pixels.
        modality: `rgb` (3 channels); `gray` (1; ITU-R BT.601 luma as OpenCV computes it); `grouped` (3; the luma of
            three frames, a sampled one and the two that follow it, in their order; after the frame grouping of
            10.1109/ACCESS.2021.3083273, which averages the colors); made of two frames each: `diff` (3;
            their absolute difference), `rgb_diff` (3; 128 + the second - the first, clipped to 0..255, so that gray is
            no change: the RGB difference of arXiv 1608.00859), `diff_mask` (3; the second frame where they differ),
            `flow_mask` (3; the mean of both where something moves), `flow_hsv` (3; direction as hue, speed as value),
            and `flow` (2 * stack; x, y, x, y ... of consecutive optical flow fields).
        sampling: `uniform`: T frames spread over the whole file, the first and the last among them; `dense`: every
            `stride`-th frame, from a random start to train and from the middle otherwise; `segments`: one from each
            of T equal parts, as arXiv 1711.04161 takes them. See `loaders.sampling`.
        stride: of `dense`, frames.
        interval: of `dense`, seconds; in place of `stride`, whatever the frame rate.
        short: files with fewer frames than the clip: `spread` (frames repeat where they stand), `repeat_last`,
            `wrap` (from the beginning again), or `error`.
        pairs: of what is made of two frames, or of the three of `grouped`: `neighbors` in the file, or neighbors among
            the `sampled` frames.
        stack: flow fields in a step of `flow`.
        flow: how the flow is computed, `FlowSpec()` if left out; None where there is none.
        resize: `stretch` to (height, width) whatever the shape of the frame; `fit` the shorter side to
            `resize_to`, keeping the shape, then crop (height, width) from the center.
        resize_to: for `fit`, the shorter side before the crop, pixels; None: the larger of height and width.
        interpolation: OpenCV's interpolation; `area` averages where it shrinks, so that nothing aliases.
        color_order: of the three channels of `rgb`.
        schema: version of this contract.

    Raises:
        ClipzooError: a field is out of its range; the message names field, value and rule.
    """

    frames: int
    height: int
    width: int
    modality: Modality = "rgb"
    sampling: Sampling = "uniform"
    stride: int = 1
    interval: float | None = None
    short: Short = "spread"
    pairs: Pairs = "neighbors"
    stack: int = 1
    flow: FlowSpec | None = None
    resize: Resize = "stretch"
    resize_to: int | None = None
    interpolation: Interpolation = "area"
    color_order: ColorOrder = "rgb"
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width", "stride", "stack"):
            whole(f"ClipSpec {name}", getattr(self, name), most=MOST)
            _plain(self, name, int)
        for name, choices in _CHOICES.items():
            choice(f"ClipSpec {name}", getattr(self, name), choices, renamed=RENAMED.get(name))
        if self.schema == 1:
            raise ClipzooError(f"ClipSpec schema (1) must be {SCHEMA}; ClipSpec.from_dict reads a table of schema 1")
        if self.schema != SCHEMA:
            raise ClipzooError(
                f"ClipSpec schema {self.schema!r} is not {SCHEMA}, the one that this clipzoo knows; install the "
                "clipzoo that wrote the file, or a newer one"
            )
        if self.modality in FLOWS and (self.flow is None or (isinstance(self.flow, FlowSpec) and not self.flow.bound)):
            bound = FLOW_BOUND if self.modality == "flow" else PICTURE_BOUND
            object.__setattr__(self, "flow", dataclasses.replace(self.flow or FlowSpec(), bound=bound))
        self._check_together()

    def _check_together(self) -> None:
        """Fields that only mean something beside certain others."""
        if self.resize_to is not None:
            if self.resize != "fit":
                raise ClipzooError(f"ClipSpec resize_to ({self.resize_to}) needs resize='fit', not {self.resize!r}")
            whole("ClipSpec resize_to", self.resize_to, most=MOST)
            _plain(self, "resize_to", int)
            if self.resize_to < max(self.height, self.width):
                raise ClipzooError(
                    f"ClipSpec resize_to ({self.resize_to}) must be >= height and width ({self.height}x{self.width})"
                )
        if (self.stride != 1 or self.interval is not None) and self.sampling != "dense":
            raise ClipzooError(f"ClipSpec stride and interval need sampling='dense', not {self.sampling!r}")
        if self.interval is not None:
            number("ClipSpec interval", self.interval, above=0, most=86400, unit="seconds")
            _plain(self, "interval", float)
            if self.stride != 1:
                raise ClipzooError(f"ClipSpec stride ({self.stride}) and interval ({self.interval}) exclude each other")
        if self.stack != 1 and self.modality != "flow":
            raise ClipzooError(f"ClipSpec stack ({self.stack}) needs modality='flow', not {self.modality!r}")
        if self.pairs != "neighbors" and (self.group == 1 or self.stack != 1):
            raise ClipzooError(
                "ClipSpec pairs='sampled' needs a modality of two frames a step (and stack=1), or grouped"
            )
        if self.flow is not None and (self.modality not in FLOWS or not isinstance(self.flow, FlowSpec)):
            raise ClipzooError(f"ClipSpec flow ({self.flow!r}) must be a FlowSpec, with one of {', '.join(FLOWS)}")

    @property
    def group(self) -> int:
        """Frames that one picture or flow field is made of: 1, 2 or 3."""
        return 3 if self.modality == "grouped" else 2 if self.modality in PAIRED else 1

    @property
    def reach(self) -> int:
        """Consecutive frames that a step takes from the file."""
        return self.stack + self.group - 1

    @property
    def channels(self) -> int:
        """Channels of a frame, as the modality has them."""
        return {"gray": 1, "flow": 2 * self.stack}.get(self.modality, 3)

    @property
    def colors(self) -> bool:
        """Whether the channels are three colors, whose order `color_order` says; those of `grouped` are moments."""
        return self.channels == 3 and self.modality != "grouped"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frames, height, width, channels) of one clip."""
        return self.frames, self.height, self.width, self.channels

    def replace(self, **changes: Any) -> ClipSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields and `channels`, ready for JSON."""
        return {**dataclasses.asdict(self), "channels": self.channels}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ClipSpec:
        """Reads what `to_dict` wrote, under this schema or under schema 1.

        Raises:
            ClipzooError: a field is unknown, missing or out of range, or the schema is a newer one.
        """
        if not isinstance(fields, Mapping):
            raise ClipzooError(f"a ClipSpec is a table of fields, not {fields!r}")
        fields = upgraded(fields)
        names("ClipSpec", set(fields) - {"channels"}, (field.name for field in dataclasses.fields(cls)))
        missing = sorted({"frames", "height", "width", "schema"} - set(fields))
        if missing:
            raise ClipzooError(f"ClipSpec lacks {', '.join(missing)}")
        values = {name: value for name, value in fields.items() if name != "channels"}
        if isinstance(values.get("flow"), Mapping):
            values["flow"] = FlowSpec.from_dict(values["flow"])
        spec = cls(**values)
        if fields.get("channels", spec.channels) != spec.channels:
            raise ClipzooError(
                f"ClipSpec channels ({fields['channels']!r}) must be {spec.channels} for modality {spec.modality!r}"
            )
        return spec

    def to_json(self) -> str:
        """`to_dict` as JSON text, keys sorted: equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)


def _plain(spec: FlowSpec | ClipSpec, name: str, kind: type[int] | type[float]) -> None:
    """NumPy's numbers as Python's, which JSON has."""
    value = getattr(spec, name)
    if not isinstance(value, int | float):
        object.__setattr__(spec, name, kind(value))
