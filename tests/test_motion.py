"""The made clips: real files whose classes only motion tells apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import loaders.motion
import loaders.motion_jpeg
from loaders import ClipIndex, ClipSpec, ClipzooError, clip_from_frames, draw_motion_clips, read_clip
from loaders.errors import WriteError
from loaders.motion import MOTIONS, motion_frames
from loaders.motion_jpeg import motion_jpeg_bytes, write_motion_jpeg
from loaders.pictures import draw_clips

SPEC = ClipSpec(frames=6, height=12, width=12)


def test_the_files_are_real_and_the_same_for_the_same_seed(motion: ClipIndex, tmp_path: Path) -> None:
    assert Counter(clip.label for clip in motion) == dict.fromkeys(MOTIONS, 8)
    again = draw_motion_clips(tmp_path / "a", clips=6, frames=8, seed=5)
    np.testing.assert_array_equal(read_clip(again.path(0), SPEC), read_clip(motion.path(0), SPEC))
    other = draw_motion_clips(tmp_path / "b", clips=6, frames=8, seed=6)
    assert (read_clip(other.path(0), SPEC) != read_clip(motion.path(0), SPEC)).any()


def nearest_neighbor(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of the second half whose nearest clip in the first half has the same motion."""
    half = len(features) // 2
    distances = ((features[half:, None] - features[None, :half]) ** 2).sum(axis=-1)
    return float((labels[:half][distances.argmin(axis=1)] == labels[half:]).mean())


@pytest.mark.slow
def test_a_single_frame_says_nothing_and_the_whole_clip_a_lot() -> None:
    rng = np.random.default_rng(0)
    clips, labels = [], np.arange(1200) % len(MOTIONS)
    for number, label in enumerate(labels):
        frames = motion_frames(MOTIONS[label], frames=6, size=24, rng=np.random.default_rng((9, number)))
        clips.append(clip_from_frames(frames, SPEC).astype(np.float32))
    whole = np.stack(clips)
    single = whole[np.arange(len(whole)), rng.integers(0, 6, len(whole))].reshape(len(whole), -1)
    chance = 1 / len(MOTIONS)
    assert nearest_neighbor(single, labels) < chance + 4 * np.sqrt(chance * (1 - chance) / 600)
    assert nearest_neighbor((whole[:, 1:] - whole[:, :-1]).reshape(len(whole), -1), labels) > 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clips": 3}, r"motion clips \(3\) must be a whole number >= 6"),
        ({"frames": 1}, r"motion frames \(1\)"),
        ({"size": 8}, r"motion size \(8\)"),
        ({"fps": 0}, r"motion fps \(0\)"),
        ({"seed": -1}, r"motion seed \(-1\)"),
        ({"clips": 6.5}, r"motion clips \(6\.5\)"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        draw_motion_clips(tmp_path, **{"clips": 6, **options})
    assert not list(tmp_path.iterdir())


def test_a_smaller_draw_leaves_exactly_its_own_clips(tmp_path: Path) -> None:
    draw_motion_clips(tmp_path / "a", clips=20, frames=3, seed=1)
    (tmp_path / "a" / ".hidden").write_text("somebody's")
    small = draw_motion_clips(tmp_path / "a", clips=7, frames=2, seed=2)
    fresh = draw_motion_clips(tmp_path / "b", clips=7, frames=2, seed=2)
    assert small.clips == fresh.clips
    assert [path.read_bytes() for path in small.paths] == [path.read_bytes() for path in fresh.paths]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*MOTIONS, ".hidden"}


@pytest.mark.parametrize(
    "name", ["holiday/0001.avi", "left/mine.avi", "left/0001.avi", "notes.txt", "left/0001/0001.avi"]
)
def test_what_was_not_drawn_here_is_never_deleted(tmp_path: Path, name: str) -> None:
    draw_motion_clips(tmp_path, clips=6, frames=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.avi")}
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"RIFF of somebody")
    with pytest.raises(ClipzooError, match="which was not drawn here; give a folder that is empty"):
        draw_motion_clips(tmp_path, clips=6, frames=2)
    assert (tmp_path / name).read_bytes() == b"RIFF of somebody"
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "file").touch()
    with pytest.raises(ClipzooError, match="file: cannot be written"):
        draw_motion_clips(tmp_path / "file", clips=6)


def test_a_draw_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_motion_clips(tmp_path, clips=8, frames=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.avi")}
    real = loaders.motion_jpeg.motion_jpeg_bytes
    drawn: list[int] = []

    def stops() -> None:
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_motion_clips(tmp_path, clips=6, frames=2, seed=9, advance=stops)
    monkeypatch.setattr(loaders.motion_jpeg, "motion_jpeg_bytes", lambda path: real(path) + (".drawing" in str(path)))
    with pytest.raises(ClipzooError, match=r"down/0000\.avi: cannot be written \(the disk took only a part"):
        draw_motion_clips(tmp_path, clips=6, frames=2, seed=9)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.avi")} == before
    assert {path.name for path in tmp_path.iterdir()} == set(MOTIONS)


def test_the_grid_is_a_picture(motion: ClipIndex, tmp_path: Path) -> None:
    clips = np.stack([read_clip(path, SPEC) for path in motion.paths[:2]])
    draw_clips(clips, ["a", "b"], tmp_path / "grid.png")
    draw_clips(clips[..., :1], ["a", "b"], tmp_path / "gray.png")
    assert {path.read_bytes()[:4] for path in tmp_path.iterdir()} == {b"\x89PNG"}


def test_a_video_of_several_chunks_is_whole_and_one_that_was_never_opened_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV begins a second RIFF chunk at about 1 GiB, a third at 2."""
    path = tmp_path / "long.avi"
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    write_motion_jpeg(path, frames, 10.0)
    whole = path.read_bytes()
    more = b"RIFF" + (1000).to_bytes(4, "little") + b"AVIX" + bytes(996)
    path.write_bytes(whole + 2 * more)
    assert motion_jpeg_bytes(path) == path.stat().st_size == len(whole) + 2 * 1008
    path.write_bytes(whole + more + more[:-1])
    assert motion_jpeg_bytes(path) != path.stat().st_size
    path.write_bytes(b"")
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda writer: False)
    with pytest.raises(WriteError, match=r"long\.avi: cannot be written"):
        write_motion_jpeg(path, frames, 10.0)
