"""Small H.264 files, whose colors and frames are known."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_h264(path: Path, *, frames: int = 30, rate: int = 25, pixels: str = "yuv420p", **x264: str) -> Path:
    """Draws a moving square on stripes, 130x98; `x264` are x264's own parameters."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 130, 98, pixels
        stream.options = {"x264-params": ":".join(f"{key}={value}" for key, value in {"keyint": "12", **x264}.items())}
        for place in range(frames):
            picture = np.full((98, 130, 3), rng.integers(0, 256, 3), np.uint8)
            picture[place % 60 : place % 60 + 30, 2 * place % 90 : 2 * place % 90 + 40] = (200, 30, 60)
            picture[70:] = np.arange(130)[None, :, None]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def remux(source: Path, path: Path) -> Path:
    """Puts the H.264 stream of a file into MP4, as it is."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path
