"""What ONNX Runtime is told of TensorRT: an engine for every batch up to the largest, built once and kept.

Left alone, TensorRT builds an engine for each shape that comes, which takes minutes (onnxruntime#12120, #18272).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from loaders.spec import ClipSpec

FOLDER = "CLIPZOO_TENSORRT"  # the variable that names another folder for engines


def shape_profile(specs: Mapping[str, ClipSpec], *, most: int, usual: int | None = None) -> dict[str, str]:
    """The batches that one engine is built for.

    Args:
        specs: input name -> ClipSpec.
        most: clips in the largest batch, >= 1.
        usual: clips in the batch that it is fastest at; the largest if left out.

    Returns:
        `trt_profile_min_shapes`, `_opt_shapes` and `_max_shapes`, as `input:1x16x224x224x3`.
    """
    return {
        f"trt_profile_{end}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, (size, *spec.shape)))}" for name, spec in specs.items()
        )
        for end, size in {"min": 1, "opt": usual or most, "max": most}.items()
    }


def engine_options(specs: Mapping[str, ClipSpec], *, most: int, folder: Path | None = None) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider.

    Args:
        specs: input name -> ClipSpec.
        most: clips in the largest batch, >= 1.
        folder: of engines and of what was timed to choose them; by default the one that `CLIPZOO_TENSORRT` names, else
            `~/.cache/clipzoo/tensorrt`. An engine is of its graph, profile, TensorRT and GPU: another one gets another.
    """
    kept = str(folder or os.environ.get(FOLDER) or Path.home() / ".cache" / "clipzoo" / "tensorrt")
    return {
        **shape_profile(specs, most=most),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": kept,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": kept,
    }
