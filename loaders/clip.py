"""The only road from a file to pixels. Training, evaluation and the ONNX runtime all call it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from loaders.augment import Augmentation
from loaders.decode import read_frames
from loaders.errors import ClipzooError
from loaders.sampling import sample
from loaders.spec import ClipSpec, ColorOrder

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


def read_clip(
    path: str | Path,
    spec: ClipSpec,
    *,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Reads the clip that `spec` describes from a video file.

    Args:
        path: the video file.
        spec: what to read.
        augmentation: applied to the whole clip, if given; needs `rng`.
        rng: where its draw comes from.

    Returns:
        uint8 (frames, height, width, channels), 0 to 255.

    Raises:
        VideoError: no clip can be read; the message names the file.
    """
    frames = read_frames(path, lambda count: sample(count, spec), lambda frame: fit_frame(frame, spec, order="bgr"))
    clip = np.stack(frames)
    if augmentation is None:
        return clip
    if rng is None:
        raise ClipzooError("an augmentation needs rng, a numpy.random.Generator")
    return augmentation(clip, rng)


def clip_from_frames(frames: Sequence[np.ndarray] | np.ndarray, spec: ClipSpec) -> np.ndarray:
    """Makes the clip that `spec` describes from frames in memory, by the same rules as from a file.

    Args:
        frames: uint8 (count, height, width, 3), RGB, 0 to 255; any count >= 1 and any size.
        spec: what to make.

    Returns:
        uint8 (frames, height, width, channels), 0 to 255.

    Raises:
        ClipzooError: not uint8, not RGB, or no frame at all.
    """
    if len(frames) == 0:
        raise ClipzooError("no frames: a clip needs at least one")
    for frame in frames:
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise ClipzooError(f"frames must be uint8 (height, width, 3) in RGB order, 0 to 255; got {found}")
    return np.stack([fit_frame(frames[index], spec, order="rgb") for index in sample(len(frames), spec)])


def fit_frame(frame: np.ndarray, spec: ClipSpec, *, order: ColorOrder) -> np.ndarray:
    """Resizes, crops and colours one frame as `spec` says.

    Args:
        frame: uint8 (height, width, 3), its channels in `order`.
        spec: what to make.
        order: `rgb`, or `bgr` as OpenCV decodes.

    Returns:
        uint8 (spec.height, spec.width, spec.channels).
    """
    height, width = frame.shape[:2]
    if spec.resize == "fit":
        shorter = spec.resize_to or max(spec.height, spec.width)
        # The longer side rounds half up, in integers.
        size = (
            max(shorter, (2 * width * shorter + min(height, width)) // (2 * min(height, width))),
            max(shorter, (2 * height * shorter + min(height, width)) // (2 * min(height, width))),
        )
    else:
        size = (spec.width, spec.height)
    if size != (width, height):
        frame = cv2.resize(frame, size, interpolation=INTERPOLATIONS[spec.interpolation])
    top, left = (size[1] - spec.height) // 2, (size[0] - spec.width) // 2
    frame = frame[top : top + spec.height, left : left + spec.width]
    if spec.modality == "gray":
        return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY if order == "bgr" else cv2.COLOR_RGB2GRAY)[..., None]
    return frame if spec.color_order == order else np.ascontiguousarray(frame[..., ::-1])


def read_batches(
    paths: Sequence[str | Path], specs: Mapping[str, ClipSpec], *, batch_size: int, workers: int = 2
) -> Iterator[dict[str, np.ndarray]]:
    """Reads clips for inference, in order, by threads that stay one batch ahead.

    Args:
        paths: the video files.
        specs: input name -> what to read for it.
        batch_size: clips in a batch, >= 1; the last may be smaller.
        workers: threads, >= 1.

    Yields:
        Input name -> uint8 (B, frames, height, width, channels).

    Raises:
        VideoError: no clip can be read from a file; the message names it.
        ClipzooError: `batch_size` or `workers` below 1.
    """
    if batch_size < 1 or workers < 1:
        raise ClipzooError(f"batch_size ({batch_size}) and workers ({workers}) must be >= 1")

    def read(path: str | Path) -> dict[str, np.ndarray]:
        return {name: read_clip(path, spec) for name, spec in specs.items()}

    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead: deque[list[Future[dict[str, np.ndarray]]]] = deque()
        try:
            for start in range(0, len(paths), batch_size):
                ahead.append([pool.submit(read, path) for path in paths[start : start + batch_size]])
                if len(ahead) > 1:
                    yield _stack(ahead.popleft())
            while ahead:
                yield _stack(ahead.popleft())
        finally:
            for future in (future for batch in ahead for future in batch):
                future.cancel()


def _stack(futures: Sequence[Future[dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    clips = [future.result() for future in futures]
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
