"""The same frames read by others: decord, torchcodec, PyAV, and the way of keras-video-generators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from loaders.canvas import INTERPOLATIONS
from loaders.clip import read_clip
from loaders.sampling import uniform
from loaders.spec import ClipSpec

Reader = Callable[[Path], np.ndarray]


def clipzoo(spec: ClipSpec) -> Reader:
    """This project's own."""
    return lambda path: read_clip(path, spec)


def decord(spec: ClipSpec) -> Reader:
    """decord's exact random access, one thread a file."""
    from decord import VideoReader, cpu

    def read(path: Path) -> np.ndarray:
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
        return _resized(reader.get_batch(uniform(len(reader), spec.frames)).asnumpy(), spec)

    return read


def torchcodec(spec: ClipSpec) -> Reader:
    """torchcodec's exact seek mode, one thread a file."""
    from torchcodec.decoders import VideoDecoder

    def read(path: Path) -> np.ndarray:
        decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
        return _resized(decoder.get_frames_at(uniform(len(decoder), spec.frames)).data.numpy(), spec)

    return read


def pyav(spec: ClipSpec, threads: int = 1) -> Reader:
    """PyAV forward, converting the wanted frames alone; `threads` of the codec."""
    import av

    def read(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            wanted = set(uniform(stream.frames, spec.frames))
            frames = {
                number: frame.to_ndarray(format="rgb24")
                for number, frame in enumerate(container.decode(stream))
                if number in wanted
            }
        return _resized(np.stack([frames[number] for number in uniform(max(frames) + 1, spec.frames)]), spec)

    return read


def keras_video_generators(spec: ClipSpec) -> Reader:
    """The algorithm of that package: frames are read and converted up to the last one that it keeps.

    Its step is floor(count / (frames - 1)), the count made even, so that 5 of 30 are 0, 6, 13, 20, 27.
    """

    def read(path: Path) -> np.ndarray:
        capture = cv2.VideoCapture(str(path))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        step = max(1, (count + count % 2) // (spec.frames - 1))
        kept: list[np.ndarray] = []
        number = 0
        while len(kept) < spec.frames:
            ok, frame = capture.read()
            if not ok:
                break
            number += 1
            if number in (1, count) or number % step == 0:
                frame = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (spec.width, spec.height))
                kept.append(frame.astype(np.float32) * (1 / 255))
        capture.release()
        return np.stack(kept)

    return read


def decode_fully(path: str | Path, spec: ClipSpec) -> list[np.ndarray]:
    """Every frame of a file that OpenCV decodes in order, resized, RGB: what all exact reading is held against."""
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        small = cv2.resize(frame, (spec.width, spec.height), interpolation=INTERPOLATIONS[spec.interpolation])
        frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def _resized(frames: np.ndarray, spec: ClipSpec) -> np.ndarray:
    size = (spec.width, spec.height)
    return np.stack([cv2.resize(frame, size, interpolation=INTERPOLATIONS[spec.interpolation]) for frame in frames])
