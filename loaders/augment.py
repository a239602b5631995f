"""One random draw a clip, the same for all its frames."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from loaders.errors import ClipzooError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The article's set: zoom, mirror, rotation and shifts, drawn once a clip.

    Attributes:
        zoom: scale drawn from 1 - zoom to 1 + zoom, 0 <= zoom < 1.
        flip: mirror left and right with probability 1/2. Leave it out where a mirror changes the class.
        rotation: angle drawn from -rotation to rotation, degrees.
        width_shift: shift drawn from -width_shift to width_shift, a share of the width.
        height_shift: likewise, of the height.

    Raises:
        ClipzooError: a field is out of its range.
    """

    zoom: float = 0.1
    flip: bool = True
    rotation: float = 8.0
    width_shift: float = 0.2
    height_shift: float = 0.2

    def __post_init__(self) -> None:
        for name in ("zoom", "width_shift", "height_shift"):
            if not 0 <= getattr(self, name) < 1:
                raise ClipzooError(f"Augmentation {name} ({getattr(self, name)}) must be in [0, 1)")
        if not 0 <= self.rotation <= 180:
            raise ClipzooError(f"Augmentation rotation ({self.rotation}) must be in 0 to 180 degrees")

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Applies one draw to a whole clip.

        Args:
            clip: uint8 (frames, height, width, channels).
            rng: where the draw comes from; equal states give equal clips.

        Returns:
            A new uint8 clip of the same shape; where the image ends, its border is repeated.
        """
        matrix = self._draw(clip.shape[2], clip.shape[1], rng)
        out = np.empty_like(clip)
        size = (clip.shape[2], clip.shape[1])
        for frame, target in zip(clip, out, strict=True):
            warped = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            target[...] = warped.reshape(target.shape)  # OpenCV drops a single channel's axis
        return out

    def _draw(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """A 2x3 matrix from source to target pixels: about the centre, so that the mirror keeps its place."""
        scale = 1 + rng.uniform(-self.zoom, self.zoom)
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        mirror = -1.0 if self.flip and rng.random() < 0.5 else 1.0
        shift = np.array(
            [
                rng.uniform(-self.width_shift, self.width_shift) * width,
                rng.uniform(-self.height_shift, self.height_shift) * height,
            ]
        )
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = linear @ np.diag([mirror, 1.0])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        return np.column_stack([linear, centre - linear @ centre + shift])
