"""ClipSpec: the input contract. Everything that decides which numbers reach a model's input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from loaders.errors import ClipzooError

Modality = Literal["rgb", "gray"]
Sampling = Literal["uniform"]
Resize = Literal["stretch", "fit"]
Interpolation = Literal["area", "linear", "cubic", "nearest"]
ColorOrder = Literal["rgb", "bgr"]

SCHEMA = 1
MOST = 16384  # frames, rows or columns; more is a slip of the keyboard
CHANNELS: Mapping[str, int] = {"rgb": 3, "gray": 1}
_CHOICES = {
    "modality": get_args(Modality),
    "sampling": get_args(Sampling),
    "resize": get_args(Resize),
    "interpolation": get_args(Interpolation),
    "color_order": get_args(ColorOrder),
}


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """What one input of a model takes: uint8 (frames, height, width, channels), values 0 to 255.

    Attributes:
        frames: frames in a clip, T >= 1.
        height: rows of a frame, pixels.
        width: columns of a frame, pixels.
        modality: `rgb` (3 channels) or `gray` (1 channel, ITU-R BT.601 luma as OpenCV computes it).
        sampling: `uniform`: T frames spread over the whole file, the first and the last among them.
        resize: `stretch` to (height, width) whatever the shape of the frame; `fit` the shorter side to
            `resize_to`, keeping the shape, then crop (height, width) from the centre.
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
    resize: Resize = "stretch"
    resize_to: int | None = None
    interpolation: Interpolation = "area"
    color_order: ColorOrder = "rgb"
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
                raise ClipzooError(f"ClipSpec {name} ({value!r}) must be a whole number from 1 to {MOST}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ClipzooError(f"ClipSpec {name} ({getattr(self, name)!r}) must be one of {', '.join(choices)}")
        if self.schema != SCHEMA:
            raise ClipzooError(
                f"ClipSpec schema {self.schema!r} is not {SCHEMA}, the one that this clipzoo knows; install the "
                "clipzoo that wrote the file, or a newer one"
            )
        if self.resize_to is not None:
            if self.resize != "fit":
                raise ClipzooError(f"ClipSpec resize_to ({self.resize_to}) needs resize='fit', not {self.resize!r}")
            if self.resize_to < max(self.height, self.width):
                raise ClipzooError(
                    f"ClipSpec resize_to ({self.resize_to}) must be >= height and width ({self.height}x{self.width})"
                )

    @property
    def channels(self) -> int:
        """Channels of a frame, as the modality has them."""
        return CHANNELS[self.modality]

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
        """Reads what `to_dict` wrote.

        Raises:
            ClipzooError: a field is unknown, missing or out of range, or the schema is a newer one.
        """
        if not isinstance(fields, Mapping):
            raise ClipzooError(f"a ClipSpec is a table of fields, not {fields!r}")
        schema = fields.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise ClipzooError(
                f"ClipSpec schema {schema} is newer than {SCHEMA}, the one that this clipzoo knows; update clipzoo"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known - {"channels"})
        if unknown:
            raise ClipzooError(
                f"ClipSpec has no field {', '.join(map(repr, unknown))}; it has {', '.join(sorted(known))}"
            )
        missing = sorted({"frames", "height", "width", "schema"} - set(fields))
        if missing:
            raise ClipzooError(f"ClipSpec lacks {', '.join(missing)}")
        spec = cls(**{name: value for name, value in fields.items() if name != "channels"})
        if fields.get("channels", spec.channels) != spec.channels:
            raise ClipzooError(
                f"ClipSpec channels ({fields['channels']!r}) must be {spec.channels} for modality {spec.modality!r}"
            )
        return spec

    def to_json(self) -> str:
        """`to_dict` as JSON text, keys sorted: equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)
