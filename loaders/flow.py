"""Optical flow: two gray frames -> motion vectors -> uint8, and pictures of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec, ColorOrder, FlowSpec

REST = 128  # what no motion becomes
MASK_LEVELS = 32  # a gray difference of this many levels opens the mask of `diff_mask` wholly

_GREY = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}
_thread = threading.local()  # DIS and TV-L1 objects hold buffers: one each a thread


def optical_flow(first: np.ndarray, second: np.ndarray, spec: FlowSpec) -> np.ndarray:
    """Where the pixels of one frame went in the next.

    Args:
        first: uint8 (height, width), gray.
        second: likewise, the later one.
        spec: how.

    Returns:
        float32 (height, width, 2): motion to the right and down, pixels.

    Raises:
        ClipzooError: TV-L1 without opencv-contrib, or frames too small for the method.
    """
    require_method(spec)
    if first is second:
        return np.zeros((*first.shape, 2), np.float32)
    try:
        return _METHODS[spec.method](first, second, spec)
    except cv2.error as error:
        raise ClipzooError(
            f"flow method {spec.method!r} cannot take frames of {first.shape[0]}x{first.shape[1]} "
            f"({error.err or error.msg})"
        ) from None


def quantize(flow: np.ndarray, bound: float) -> np.ndarray:
    """Motion to uint8: -bound..bound pixels become 0..255, more is clipped, 0 becomes 128 (as TSN and DTPP do it)."""
    # In this order and in double precision no motion is 127.5 for every bound, which rint takes to the even 128.
    scaled = np.rint((flow.astype(np.float64) + bound) * 255 / (2 * bound))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def dequantize(field: np.ndarray, bound: float) -> np.ndarray:
    """uint8 back to motion, float32, pixels; off by half a step, bound / 255, at most (128 is 0)."""
    return (field.astype(np.float32) - REST) * np.float32(2 * bound / 255)


def mirror(field: np.ndarray) -> np.ndarray:
    """The field (height, width, 2 * n; x, y, x, y ...) of the mirrored frames: turned round, x changes its sign."""
    turned = field[:, ::-1].copy()
    turned[..., ::2] = 255 - turned[..., ::2]  # the paper's; 128 becomes 127, one level off
    return turned


def turn(field: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Vectors after their frames went through a linear map: (height, width, 2 * n) uint8 times `linear` (2, 2)."""
    vectors = field.reshape(-1, 2).astype(np.float32) - REST
    return np.clip(np.rint(vectors @ linear.T.astype(np.float32) + REST), 0, 255).astype(np.uint8).reshape(field.shape)


def chart(field: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """A picture of one field for people: white where nothing moves, direction as hue, speed as saturation.

    Args:
        field: uint8 (height, width, 2), quantized.
        gain: multiplies the speed; at 1 the flow's bound is fully saturated.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    hue, speed = _polar(field)
    hsv = np.stack([hue, np.clip(speed * 2 * gain, 0, 255).astype(np.uint8), np.full_like(hue, 255)], axis=-1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def color_wheel(field: np.ndarray) -> np.ndarray:
    """A picture of one field: direction as hue, speed as value.

    Args:
        field: uint8 (height, width, 2), quantized.

    Returns:
        uint8 (height, width, 3), RGB. Value is 255 at a speed of the flow's bound.
    """
    hue, speed = _polar(field)
    hsv = np.stack([hue, np.full_like(hue, 255), np.clip(speed * 2, 0, 255).astype(np.uint8)], axis=-1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _polar(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Direction as OpenCV's hue (180 steps, uint8), and speed in quantized steps, float32."""
    x, y = (field[..., axis].astype(np.float32) - REST for axis in (0, 1))
    speed, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    return (angle / 2).astype(np.uint8) % 180, speed


def flow_mask(first: np.ndarray, second: np.ndarray, spec: FlowSpec, order: ColorOrder = "rgb") -> np.ndarray:
    """The mean of two frames where something moves; black where nothing does, full at the bound."""
    gray = [cv2.cvtColor(frame, _GREY[order]) for frame in (first, second)]
    speed = np.hypot(*np.moveaxis(optical_flow(gray[0], gray[1], spec), -1, 0)) if first is not second else 0.0
    mask = np.broadcast_to(np.minimum(speed / spec.bound, 1.0), first.shape[:2])
    return np.rint(cv2.addWeighted(first, 0.5, second, 0.5, 0) * mask[..., None]).astype(np.uint8)


def diff_mask(first: np.ndarray, second: np.ndarray, order: ColorOrder = "rgb") -> np.ndarray:
    """The second frame where it differs from the first; black where it does not, full from MASK_LEVELS on."""
    gray = cv2.cvtColor(cv2.absdiff(first, second), _GREY[order])
    mask = np.minimum(gray.astype(np.float32) / MASK_LEVELS, 1.0)
    return np.rint(second * mask[..., None]).astype(np.uint8)


def _farneback(first: np.ndarray, second: np.ndarray, spec: FlowSpec) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(  # scale, neighborhood and sigma as keras-video-generators has them
        first, second, None, 0.5, spec.levels, spec.window, spec.iterations, 5, 1.1, 0
    )


def _dis(first: np.ndarray, second: np.ndarray, spec: FlowSpec) -> np.ndarray:
    return _mine("dis", lambda: cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)).calc(first, second, None)


def _tvl1(first: np.ndarray, second: np.ndarray, spec: FlowSpec) -> np.ndarray:
    contrib: Any = cv2  # of another distribution, which the types do not know
    return _mine("tvl1", contrib.optflow.DualTVL1OpticalFlow_create).calc(first, second, None)


def require_method(spec: FlowSpec) -> None:
    """Raises ClipzooError where this OpenCV has not the flow method."""
    if spec.method == "tvl1" and not hasattr(cv2, "optflow"):
        raise ClipzooError(
            "flow method 'tvl1' needs opencv-contrib: pip uninstall opencv-python-headless, then "
            "pip install opencv-contrib-python-headless; or use method 'dis'"
        )


def require_methods(specs: Iterable[ClipSpec]) -> None:
    """Raises ClipzooError where this OpenCV has not the flow method of a spec."""
    for spec in specs:
        if spec.flow is not None:
            require_method(spec.flow)


_METHODS: dict[str, Callable[[np.ndarray, np.ndarray, FlowSpec], np.ndarray]] = {
    "farneback": _farneback,
    "dis": _dis,
    "tvl1": _tvl1,
}


def _mine(name: str, create: Callable[[], cv2.DenseOpticalFlow]) -> cv2.DenseOpticalFlow:
    if not hasattr(_thread, name):
        setattr(_thread, name, create())
    made: cv2.DenseOpticalFlow = getattr(_thread, name)
    return made
