"""How a video becomes arrays: specs, indexes, decoding, augmentation, batches. Imports Keras for ClipDataset alone."""

import os
from typing import TYPE_CHECKING

from loaders.lazy import lazily

# Read when cv2 is imported, and when it opens its first file: FFmpeg's own noise shall not stand beside our sentences.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

if TYPE_CHECKING:
    from loaders.augment import Augmentation
    from loaders.clip import clip_from_frames, read_clip
    from loaders.dataset import ClipDataset
    from loaders.errors import ClipzooError, VideoError
    from loaders.index import Clip, ClipIndex, index_csv, index_folder
    from loaders.motion import draw_motion_clips
    from loaders.spec import ClipSpec

__all__ = [
    "Augmentation",
    "Clip",
    "ClipDataset",
    "ClipIndex",
    "ClipSpec",
    "ClipzooError",
    "VideoError",
    "clip_from_frames",
    "draw_motion_clips",
    "index_csv",
    "index_folder",
    "read_clip",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Augmentation": "augment",
        "Clip": "index",
        "ClipDataset": "dataset",
        "ClipIndex": "index",
        "ClipSpec": "spec",
        "ClipzooError": "errors",
        "VideoError": "errors",
        "clip_from_frames": "clip",
        "draw_motion_clips": "motion",
        "index_csv": "index",
        "index_folder": "index",
        "read_clip": "clip",
    },
)
