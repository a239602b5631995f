"""Measures each arrow from video to answer. Each module is a script and a function."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from benchmarks.inference import bench

__all__ = ["bench"]

__getattr__, __dir__ = lazily(__name__, {"bench": "inference"})
