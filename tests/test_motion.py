"""The made clips: real files whose classes only motion tells apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loaders import ClipIndex, ClipSpec, ClipzooError, clip_from_frames, draw_motion_clips, read_clip
from loaders.motion import MOTIONS, motion_frames
from loaders.pictures import draw_clips

SPEC = ClipSpec(frames=6, height=12, width=12)


def test_the_files_are_real_and_the_same_for_the_same_seed(motion: ClipIndex, tmp_path: Path) -> None:
    assert Counter(clip.label for clip in motion) == dict.fromkeys(MOTIONS, 8)
    again = draw_motion_clips(tmp_path / "a", clips=6, frames=8, seed=5)
    np.testing.assert_array_equal(read_clip(again.path(0), SPEC), read_clip(motion.path(0), SPEC))
    other = draw_motion_clips(tmp_path / "b", clips=6, frames=8, seed=6)
    assert (read_clip(other.path(0), SPEC) != read_clip(motion.path(0), SPEC)).any()


def nearest_neighbour(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of the second half whose nearest clip in the first half has the same motion."""
    half = len(features) // 2
    distances = ((features[half:, None] - features[None, :half]) ** 2).sum(axis=-1)
    return float((labels[:half][distances.argmin(axis=1)] == labels[half:]).mean())


def test_a_single_frame_says_nothing_and_the_whole_clip_a_lot() -> None:
    rng = np.random.default_rng(0)
    clips, labels = [], np.arange(1200) % len(MOTIONS)
    for number, label in enumerate(labels):
        frames = motion_frames(MOTIONS[label], frames=6, size=24, rng=np.random.default_rng((9, number)))
        clips.append(clip_from_frames(frames, SPEC).astype(np.float32))
    whole = np.stack(clips)
    single = whole[np.arange(len(whole)), rng.integers(0, 6, len(whole))].reshape(len(whole), -1)
    chance = 1 / len(MOTIONS)
    assert nearest_neighbour(single, labels) < chance + 4 * np.sqrt(chance * (1 - chance) / 600)
    assert nearest_neighbour((whole[:, 1:] - whole[:, :-1]).reshape(len(whole), -1), labels) > 0.5


def test_too_small_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match=r"clips \(3\)"):
        draw_motion_clips(tmp_path, clips=3)


def test_the_grid_is_a_picture(motion: ClipIndex, tmp_path: Path) -> None:
    clips = np.stack([read_clip(path, SPEC) for path in motion.paths[:2]])
    draw_clips(clips, ["a", "b"], tmp_path / "grid.png")
    draw_clips(clips[..., :1], ["a", "b"], tmp_path / "gray.png")
    assert {path.read_bytes()[:4] for path in tmp_path.iterdir()} == {b"\x89PNG"}
