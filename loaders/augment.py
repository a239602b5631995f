"""One random draw a clip, the same for all its frames and all its inputs; and the crops of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np

from loaders.check import choice, number
from loaders.errors import ClipzooError
from loaders.flow import mirror, turn
from loaders.schema import RENAMED
from loaders.spec import ClipSpec

Box = tuple[int, int, int, int]  # top, left, height, width
RGB_SCALES, FLOW_SCALES = (1.0, 0.875, 0.75, 0.66), (1.0, 0.875, 0.75)
Crop = Literal["center", "multiscale"]
Function = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class AugmentationParams:
    """What one draw came to, free of units, so that inputs of different sizes move alike."""

    scale: float
    angle: float
    mirrored: bool
    shift: tuple[float, float]
    brightness: float
    contrast: float
    crop: tuple[float, float, float]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What changes a clip for training; the article's set unless told otherwise.

    Motion is moved with the pixels: the vectors of `flow` and `flow_hsv` are mirrored, turned and scaled too.

    Attributes:
        zoom: scale drawn from 1 - zoom to 1 + zoom, 0 <= zoom < 1.
        flip: mirror left and right with probability 1/2. Leave it out where a mirror changes the class.
        rotation: angle drawn from -rotation to rotation, degrees.
        width_shift: shift drawn from -width_shift to width_shift, a share of the width.
        height_shift: likewise, of the height.
        brightness: drawn from -brightness to brightness and added, a share of the range, 0 <= brightness <= 1;
            `rgb`, `gray` and `grouped` alone, like `contrast`.
        contrast: distance from gray 128 multiplied by 1 - contrast to 1 + contrast, 0 <= contrast <= 1.
        crop: `multiscale`: one of 13 fixed places and a size of `scales` times the shorter side, then resized
            (arXiv 1711.04161, after TSN; flow values stay as they are); `center`: the spec's own crop.
        scales: of `multiscale`; height and width are drawn apart, at most one place in this list apart. For flow the
            paper has FLOW_SCALES, without the smallest; `clipzoo train` takes them where an input is flow.
        function: the user's own, last: (uint8 (frames, height, width, channels), a Generator) -> the same shape and
            dtype (`flow_hsv` is still its 2 channels of flow then). Every input of a clip gets a Generator of the same
            state.

    Raises:
        ClipzooError: a field is out of its range.
    """

    zoom: float = 0.1
    flip: bool = True
    rotation: float = 8.0
    width_shift: float = 0.2
    height_shift: float = 0.2
    brightness: float = 0.0
    contrast: float = 0.0
    crop: Crop = "center"
    scales: Sequence[float] = RGB_SCALES
    function: Function | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("zoom", "width_shift", "height_shift"):
            number(f"Augmentation {name}", getattr(self, name), least=0, below=1)
        for name in ("brightness", "contrast"):
            number(f"Augmentation {name}", getattr(self, name), least=0, most=1)
        number("Augmentation rotation", self.rotation, least=0, most=180, unit="degrees")
        if not isinstance(self.flip, bool):
            raise ClipzooError(f"Augmentation flip ({self.flip!r}) must be true or false")
        if self.function is not None and not callable(self.function):
            raise ClipzooError(f"Augmentation function ({self.function!r}) must be a function of clips and a Generator")
        choice("Augmentation crop", self.crop, get_args(Crop), renamed=RENAMED["crop"])
        if not isinstance(self.scales, Sequence) or not self.scales:
            raise ClipzooError(f"Augmentation scales ({self.scales!r}) must be numbers, one or more")
        for scale in self.scales:
            number("Augmentation scales", scale, above=0, most=1)
        object.__setattr__(self, "scales", tuple(self.scales))  # of a file it is a list, and no other augmentation

    @classmethod
    def multiscale(cls, scales: Sequence[float] = RGB_SCALES) -> Augmentation:
        """The set of arXiv 1711.04161: the multi-scale crop and the mirror, nothing else."""
        return cls(zoom=0.0, rotation=0.0, width_shift=0.0, height_shift=0.0, crop="multiscale", scales=scales)

    def draw(self, rng: np.random.Generator) -> AugmentationParams:
        """Draws once; equal states of `rng` give equal draws."""
        return AugmentationParams(
            scale=1 + rng.uniform(-self.zoom, self.zoom),
            angle=np.deg2rad(rng.uniform(-self.rotation, self.rotation)),
            mirrored=bool(self.flip and rng.random() < 0.5),
            shift=(
                rng.uniform(-self.width_shift, self.width_shift),
                rng.uniform(-self.height_shift, self.height_shift),
            ),
            brightness=255 * rng.uniform(-self.brightness, self.brightness),
            contrast=1 + rng.uniform(-self.contrast, self.contrast),
            crop=(rng.random(), rng.random(), rng.random()),
            seed=int(rng.integers(2**63)),
        )

    def apply(self, canvas: np.ndarray, spec: ClipSpec, draw: AugmentationParams) -> np.ndarray:
        """Applies a draw to a whole clip before its crop.

        Args:
            canvas: uint8 (frames, H, W, channels), H >= spec.height and W >= spec.width.
            spec: what to make.
            draw: from `draw`.

        Returns:
            uint8 (frames, spec.height, spec.width, channels); where the image ends, its border is repeated.
        """
        box = self._box(canvas.shape[1], canvas.shape[2], spec, draw)
        linear = draw.scale * np.array(
            [[np.cos(draw.angle), -np.sin(draw.angle)], [np.sin(draw.angle), np.cos(draw.angle)]]
        )
        still = draw.scale == 1 and draw.angle == 0 and draw.shift == (0, 0)
        clip = cut(canvas, box, spec) if still else self._warp(canvas, box, spec, linear, draw)
        vectors = spec.modality in ("flow", "flow_hsv")
        if vectors and not still:
            clip = turn(clip, linear)
        if draw.mirrored:
            clip = np.stack([mirror(frame) for frame in clip]) if vectors else np.ascontiguousarray(clip[:, :, ::-1])
        if spec.modality in ("rgb", "gray", "grouped") and (draw.brightness != 0 or draw.contrast != 1):
            levels = (np.arange(256) - 128) * draw.contrast + 128 + draw.brightness
            clip = cv2.LUT(clip.reshape(-1), np.clip(np.rint(levels), 0, 255).astype(np.uint8)).reshape(clip.shape)
        if self.function is not None:
            changed = self.function(clip.copy(), np.random.default_rng(draw.seed))
            if not isinstance(changed, np.ndarray) or (changed.dtype, changed.shape) != (clip.dtype, clip.shape):
                found = f"{changed.dtype} {changed.shape}" if isinstance(changed, np.ndarray) else repr(changed)
                raise ClipzooError(f"Augmentation function must return uint8 {clip.shape}, not {found}")
            clip = changed
        return clip

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One draw on a clip of frames, uint8 (frames, height, width, channels), RGB or gray; the same shape."""
        frames, height, width, channels = clip.shape
        modality: Literal["rgb", "gray"] = "gray" if channels == 1 else "rgb"
        return self.apply(clip, ClipSpec(frames=frames, height=height, width=width, modality=modality), self.draw(rng))

    def _box(self, height: int, width: int, spec: ClipSpec, draw: AugmentationParams) -> Box:
        if self.crop == "center":
            return center(height, width, spec)
        pairs = [(a, b) for i, a in enumerate(self.scales) for j, b in enumerate(self.scales) if abs(i - j) <= 1]
        scale = pairs[int(draw.crop[0] * len(pairs))]
        tall, wide = (max(1, int(min(height, width) * share)) for share in scale)
        places = crop_places(height, width, tall, wide)
        top, left = places[int(draw.crop[1] * len(places))]
        return top, left, tall, wide

    @staticmethod
    def _warp(canvas: np.ndarray, box: Box, spec: ClipSpec, linear: np.ndarray, draw: AugmentationParams) -> np.ndarray:
        """Crop, scale, turn and shift at once: the image is interpolated once, and its surroundings come into view."""
        top, left, tall, wide = box
        stretch = np.diag([spec.width / wide, spec.height / tall])
        middle = np.array([left + (wide - 1) / 2, top + (tall - 1) / 2])
        center_out = np.array([(spec.width - 1) / 2, (spec.height - 1) / 2])
        shift = np.array(draw.shift) * (spec.width, spec.height)
        whole = linear @ stretch
        matrix = np.column_stack([whole, center_out + shift - whole @ middle])
        return _affine(canvas, matrix, spec)


def center(height: int, width: int, spec: ClipSpec) -> Box:
    """The crop of tests: spec.height x spec.width from the middle, odd pixels left below and right."""
    return (height - spec.height) // 2, (width - spec.width) // 2, spec.height, spec.width


def crop_places(height: int, width: int, tall: int, wide: int) -> list[tuple[int, int]]:
    """The 13 (top, left) of a crop: four corners, center, four edge centers, four quarter points (TSN's released code).

    Steps are quarters of the room that is left, rounded down.
    """
    y, x = (height - tall) // 4, (width - wide) // 4
    corners = [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
    edges = [(2 * y, 0), (2 * y, 4 * x), (4 * y, 2 * x), (0, 2 * x)]
    return corners + edges + [(y, x), (y, 3 * x), (3 * y, x), (3 * y, 3 * x)]


def center_crop(canvas: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """The clip of tests: uint8 (frames, spec.height, spec.width, channels) from the middle of a canvas."""
    return cut(canvas, center(canvas.shape[1], canvas.shape[2], spec), spec)


def cut(canvas: np.ndarray, box: Box, spec: ClipSpec) -> np.ndarray:
    """A crop of every frame, resized bilinearly to the spec's size where it has another."""
    top, left, tall, wide = box
    clip = canvas[:, top : top + tall, left : left + wide]
    if (tall, wide) == (spec.height, spec.width):
        return np.ascontiguousarray(clip)
    x, y = spec.width / wide, spec.height / tall
    matrix = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])  # pixel centers on pixel centers
    return _affine(np.ascontiguousarray(clip), matrix, spec)


def three_crops(canvas: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """The crops of tests that see the whole frame: both ends and the center of its longer side (arXiv 1812.03982,
    section 4).

    Args:
        canvas: uint8 (frames, H, W, channels).
        spec: what to make.

    Returns:
        uint8 (3, frames, spec.height, spec.width, channels).
    """
    down, right = canvas.shape[1] - spec.height, canvas.shape[2] - spec.width
    if right >= down:
        places = [(down // 2, left) for left in (0, right // 2, right)]
    else:
        places = [(top, right // 2) for top in (0, down // 2, down)]
    return np.stack([cut(canvas, (top, left, spec.height, spec.width), spec) for top, left in places])


def ten_crops(canvas: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """The crops of tests: four corners and the center, then each of them mirrored.

    Args:
        canvas: uint8 (frames, H, W, channels).
        spec: what to make.

    Returns:
        uint8 (10, frames, spec.height, spec.width, channels).
    """
    down, right = canvas.shape[1] - spec.height, canvas.shape[2] - spec.width
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = [cut(canvas, (top, left, spec.height, spec.width), spec) for top, left in places]
    vectors = spec.modality in ("flow", "flow_hsv")
    turned = [np.stack([mirror(frame) for frame in crop]) if vectors else crop[:, :, ::-1] for crop in crops]
    return np.stack(crops + turned)


CROPS: Mapping[int, Callable[[np.ndarray, ClipSpec], np.ndarray]] = {
    1: lambda canvas, spec: center_crop(canvas, spec)[None],
    3: three_crops,
    10: ten_crops,
}  # how many a test looks at -> canvas, spec -> the crops


def cropper(crops: int) -> Callable[[np.ndarray, ClipSpec], np.ndarray]:
    """Of `CROPS`; raises ClipzooError for another number."""
    if crops not in CROPS:
        raise ClipzooError(f"crops ({crops!r}) must be 1, 3 or 10")
    return CROPS[crops]


def _affine(canvas: np.ndarray, matrix: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """Source to target pixels, bilinear."""
    out = np.empty((len(canvas), spec.height, spec.width, canvas.shape[3]), np.uint8)
    for frame, target in zip(canvas, out, strict=True):
        warped = cv2.warpAffine(
            frame, matrix, (spec.width, spec.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        target[...] = warped.reshape(target.shape)  # OpenCV drops a single channel's axis
    return out
