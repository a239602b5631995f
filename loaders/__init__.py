"""How a video becomes arrays: specs, indexes, decoding, augmentation, batches. Imports Keras for ClipDataset alone."""

import os
from typing import TYPE_CHECKING

from loaders.lazy import lazily

# Read when cv2 is imported, and when it opens its first file: FFmpeg's own noise shall not stand beside our sentences.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

if TYPE_CHECKING:
    from loaders.augment import Augmentation
    from loaders.cache import DiskCache, MemoryCache
    from loaders.clip import clip_from_frames, read_clip, read_crops, read_inputs
    from loaders.dataset import ClipDataset
    from loaders.errors import ClipzooError, VideoError
    from loaders.index import Clip, ClipIndex
    from loaders.lists import index_csv, index_files, index_folder, index_pattern, write_csv
    from loaders.motion import draw_motion_clips
    from loaders.official import index_hmdb51, index_ucf101
    from loaders.pictures import show
    from loaders.scanning import Scan, scan
    from loaders.spec import ClipSpec, FlowSpec

__all__ = [
    "Augmentation",
    "Clip",
    "ClipDataset",
    "ClipIndex",
    "ClipSpec",
    "ClipzooError",
    "DiskCache",
    "FlowSpec",
    "MemoryCache",
    "Scan",
    "VideoError",
    "clip_from_frames",
    "draw_motion_clips",
    "index_csv",
    "index_files",
    "index_folder",
    "index_hmdb51",
    "index_pattern",
    "index_ucf101",
    "read_clip",
    "read_crops",
    "read_inputs",
    "scan",
    "show",
    "write_csv",
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
        "DiskCache": "cache",
        "FlowSpec": "spec",
        "MemoryCache": "cache",
        "Scan": "scanning",
        "VideoError": "errors",
        "clip_from_frames": "clip",
        "draw_motion_clips": "motion",
        "index_csv": "lists",
        "index_files": "lists",
        "index_folder": "lists",
        "index_hmdb51": "official",
        "index_pattern": "lists",
        "index_ucf101": "official",
        "read_clip": "clip",
        "read_crops": "clip",
        "read_inputs": "clip",
        "scan": "scanning",
        "show": "pictures",
        "write_csv": "lists",
    },
)
