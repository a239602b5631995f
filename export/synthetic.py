"""Clips that show whether two networks compute the same: unlike in all that a network of pixels can look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loaders.spec import ClipSpec

MADE, SEED = 8, 0


def synthetic_clips(specs: Mapping[str, ClipSpec], *, clips: int = MADE, seed: int = SEED) -> dict[str, np.ndarray]:
    """Seeded random clips of every brightness, contrast, grain and motion.

    Pixels drawn one by one are no fair clips: they all have one mean and one greatest value, so that a network that
    pools over frames gives all of them the same answer, a good one too. The first clip is such noise; the others are
    moving waves, from broad to narrow, dark to bright, faint to strong, with more or less grain over them.

    Args:
        specs: input name -> ClipSpec.
        clips: how many.
        seed: equal seeds give equal clips.

    Returns:
        Input name -> uint8 (clips, frames, height, width, channels).
    """
    rng = np.random.default_rng(seed)
    return {name: np.stack(_draw(spec, clips, rng)) for name, spec in specs.items()}


def _draw(spec: ClipSpec, clips: int, rng: np.random.Generator) -> list[np.ndarray]:
    levels, contrasts = (rng.permutation(np.linspace(low, high, clips)) for low, high in ((16, 240), (8, 120)))
    drawn = [rng.integers(0, 256, spec.shape, np.uint8)]
    frames, rows, columns, channels = np.ogrid[tuple(slice(size) for size in spec.shape)]
    for number in range(1, clips):
        waves = 2.0 ** rng.uniform(-1, 3, 2) * rng.choice((-1, 1), 2)  # over the height, over the width
        turn = waves[0] * rows / spec.height + waves[1] * columns / spec.width + rng.uniform(-0.4, 0.4) * frames
        tint, phase = rng.uniform(-40, 40, spec.channels)[channels], rng.uniform(size=spec.channels)[channels]
        pixels = levels[number] + tint + contrasts[number] * np.sin(2 * np.pi * (turn + phase))
        pixels = pixels + rng.normal(size=spec.shape) * (0, 4, 16, 64)[number % 4]
        drawn.append(np.clip(pixels, 0, 255).astype(np.uint8))
    return drawn[:clips]
