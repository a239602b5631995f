"""Caches: the same pixels as without, a limit that is kept, files that survive whatever happens to them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import loaders.cache_filling
import loaders.canvas
import loaders.decode
import loaders.spread
from loaders import Clip, ClipIndex, ClipSpec, ClipzooError, DiskCache, MemoryCache, read_clip, read_inputs
from loaders.cache import Cache
from loaders.cache_filling import fill_cache, missing_bytes
from loaders.canvas import can_be_cached
from tests.support.commands import HANG

SPECS = {
    "uniform": ClipSpec(frames=4, height=16, width=16),
    "fit": ClipSpec(frames=3, height=12, width=12, resize="fit", resize_to=16),
    "dense": ClipSpec(frames=3, height=16, width=16, sampling="dense", interval=0.1),
    "segments": ClipSpec(frames=3, height=16, width=16, sampling="segments", modality="flow", stack=2),
    "gray": ClipSpec(frames=4, height=16, width=16, modality="gray", sampling="dense", stride=2),
    "grouped": ClipSpec(frames=3, height=16, width=16, modality="grouped", sampling="segments"),
    "grouped apart": ClipSpec(frames=3, height=16, width=16, modality="grouped", pairs="sampled"),
    "signed": ClipSpec(frames=3, height=16, width=16, modality="rgb_diff", sampling="segments"),
    "pairs": ClipSpec(frames=3, height=16, width=16, modality="diff", pairs="sampled", sampling="dense"),
    "wheel": ClipSpec(frames=2, height=16, width=16, modality="flow_hsv", short="wrap", sampling="segments"),
}


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded."""
    names: list[str] = []
    real = loaders.decode.read_frames

    def counted(path: Any, plan: Any) -> Any:
        names.append(Path(path).name)
        return real(path, plan)

    monkeypatch.setattr(loaders.canvas, "read_frames", counted)
    return names


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_cached_clips_are_those_that_decoding_gives(
    cache: Cache, motion: ClipIndex, name: str, split: Any, decoded: list[str]
) -> None:
    def read(seed: int, cache: Cache | None) -> np.ndarray:
        return read_clip(motion.path(1), SPECS[name], split=split, rng=np.random.default_rng(seed), cache=cache)

    plain = [read(seed, None) for seed in range(4)]
    decoded.clear()
    for _ in range(2):
        for seed in range(4):
            np.testing.assert_array_equal(read(seed, cache), plain[seed])
    # Once for all draws; pairs that are drawn apart are too many to be kept.
    assert len(decoded) == (8 if name == "pairs" and split == "train" else 1)


def test_spans_and_specs_have_entries_of_their_own(cache: Cache, motion: ClipIndex, decoded: list[str]) -> None:
    spec = SPECS["uniform"]
    whole = read_clip(motion.path(0), spec, cache=cache)
    part = read_clip(motion.path(0), spec, span=(0.0, 0.15), cache=cache)
    assert (part != whole).any()
    both = read_inputs(motion.path(0), {"a": spec, "b": spec.replace(height=8)}, cache=cache)
    np.testing.assert_array_equal(both["a"], whole)
    assert both["b"].shape == (4, 8, 16, 3)
    assert len(decoded) == 3
    read_clip(motion.path(0), spec, span=(0.0, 0.15), cache=cache)
    assert len(decoded) == 3


def test_a_changed_file_is_decoded_again(cache: Cache, motion: ClipIndex, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(motion.path(0).read_bytes())
    first = read_clip(path, SPECS["uniform"], cache=cache)
    path.write_bytes(motion.path(9).read_bytes())
    os.utime(path, ns=(1, 10**18))
    assert (read_clip(path, SPECS["uniform"], cache=cache) != first).any()


def test_memory_keeps_its_limit(motion: ClipIndex) -> None:
    size = 4 * 16 * 16 * 3
    cache = MemoryCache(limit=3 * size + 1)
    for position in range(6):
        read_clip(motion.path(position), SPECS["uniform"], cache=cache)
        assert cache.used <= cache.limit
    assert cache.used == 3 * size
    with pytest.raises(ClipzooError, match="limit"):
        MemoryCache(limit=-1)


def test_what_is_given_out_cannot_spoil_the_cache(motion: ClipIndex) -> None:
    cache = MemoryCache()
    clip = read_clip(motion.path(0), SPECS["uniform"], cache=cache)
    with pytest.raises(ValueError, match="read-only"):
        clip[:] = 0


@pytest.mark.parametrize("damage", ["truncate", "lengthen", "flip", "empty", "garbage", "no header", "facts"])
def test_a_damaged_entry_is_made_anew(motion: ClipIndex, tmp_path: Path, damage: str) -> None:
    clip = read_clip(motion.path(0), SPECS["uniform"], cache=DiskCache(tmp_path))
    (entry,) = tmp_path.glob("??/*.npy")
    if damage == "facts":
        entry = entry.with_suffix(".json")
    data = bytearray(entry.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
    changed = {
        "truncate": data[:-50],
        "lengthen": data + b"more",
        "flip": data,
        "empty": b"",
        "garbage": os.urandom(500),
        "no header": os.urandom(len(data)),
        "facts": data[: len(data) // 2],
    }[damage]
    entry.write_bytes(bytes(changed))
    assert (entry.stem in DiskCache(tmp_path)) == (
        damage in ("flip", "no header")
    )  # what its length betrays is not there
    with pytest.warns(UserWarning, match="made anew"):
        np.testing.assert_array_equal(read_clip(motion.path(0), SPECS["uniform"], cache=DiskCache(tmp_path)), clip)
    np.testing.assert_array_equal(read_clip(motion.path(0), SPECS["uniform"], cache=DiskCache(tmp_path)), clip)


def test_an_entry_is_a_plain_file_of_numpy_and_those_of_older_versions_go(motion: ClipIndex, tmp_path: Path) -> None:
    clip = read_clip(motion.path(0), SPECS["uniform"], cache=DiskCache(tmp_path))
    (entry,) = tmp_path.glob("??/*.npy")
    np.testing.assert_array_equal(np.load(entry), clip)  # RGB frames of the clip's size: nothing is left to do
    old, mine = entry.with_suffix(".clip"), entry.with_name("holiday.clip")
    for path in (old, mine):
        path.write_bytes(b"clipzoo1 and pixels")
    np.testing.assert_array_equal(read_clip(motion.path(0), SPECS["uniform"], cache=DiskCache(tmp_path)), clip)
    assert mine.exists() and not old.exists()


@pytest.mark.parametrize("name", [*SPECS, "whole"])
@pytest.mark.parametrize("splits", [("test",), ("train", "validation", "test")])
def test_what_a_cache_will_hold_is_known_before(motion: ClipIndex, tmp_path: Path, name: str, splits: Any) -> None:
    spec = SPECS.get(name, ClipSpec(frames=2, height=12, width=16, sampling="dense", modality="gray"))
    if splits != ("test",) and not can_be_cached(spec, "train"):
        pytest.skip("cannot be cached")
    few = ClipIndex(
        motion.root, (*motion.clips[:6], Clip("left/none.avi", "left"), motion[0]._replace(start=0, end=0.2))
    )
    cache = DiskCache(tmp_path)

    def fill_in(chosen: Any) -> None:
        for place in chosen:
            for split in splits:
                fill_cache(cache, few.path(place), [spec], span=few[place].span, split=split)

    told = missing_bytes(cache, few, range(8), [spec], splits)
    fill_in([0, 1])
    rest = missing_bytes(cache, few, range(8), [spec], splits)
    fill_in([2, 3, 4, 5, 7])
    held = sum(entry.array.nbytes for entry in map(cache.get, (p.stem for p in tmp_path.glob("??/*.npy"))) if entry)
    assert told == held
    assert 0 < rest < told
    assert missing_bytes(cache, few, range(8), [spec], splits) == 0


def test_the_size_of_many_is_estimated_from_some(motion: ClipIndex, tmp_path: Path) -> None:
    many = ClipIndex(motion.root, motion.clips * 20)
    spec = SPECS["uniform"]
    looked_at: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        real = loaders.cache_filling.open_video
        patch.setattr(loaders.cache_filling, "open_video", lambda path: looked_at.append(path) or real(path))
        told = missing_bytes(DiskCache(tmp_path), many, range(len(many)), [spec], ["test"])
    assert told == len(many) * 4 * 16 * 16 * 3
    assert len(looked_at) < 2 * 200 < len(many)


def test_a_full_disk_is_said_once_and_reading_goes_on(
    motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path)
    kept = read_clip(motion.path(0), SPECS["uniform"], cache=cache)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("loaders.cache.replacing", full)
    with pytest.warns(UserWarning, match="No space left on device") as said:
        for position in range(1, 5):
            assert read_clip(motion.path(position), SPECS["uniform"], cache=cache).any()
    assert len(said) == 1
    np.testing.assert_array_equal(read_clip(motion.path(0), SPECS["uniform"], cache=cache), kept)


def test_a_cache_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClipzooError, match="file"):
        DiskCache(tmp_path / "file")


FILL = """
import sys
from pathlib import Path
from loaders import ClipSpec, DiskCache, index_folder
from loaders.cache_filling import fill_cache
index, cache = index_folder(sys.argv[1]), DiskCache(sys.argv[2])
for number in range(10**6):
    spec = ClipSpec(frames=4, height=16 + number, width=16)
    for path in index.paths:
        fill_cache(cache, path, [spec], span=None, split="test")
        print(number, flush=True)
"""


def test_a_kill_leaves_whole_entries_alone(motion: ClipIndex, tmp_path: Path) -> None:
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", FILL, str(motion.root), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    cache = DiskCache(tmp_path)
    entries = list(tmp_path.glob("??/[!.]*.json"))
    assert entries
    assert all(cache.get(entry.stem) is not None for entry in entries)  # a warning would fail the test
    (entries[0].parent / f".{entries[0].name}").touch()  # as a kill may leave it
    for path in tmp_path.glob("??/.*"):
        os.utime(path, (1, 1))
    DiskCache(tmp_path)
    assert not list(tmp_path.glob("??/.*"))


def test_several_processes_share_a_folder(motion: ClipIndex, tmp_path: Path) -> None:
    code = FILL.replace("10**6", "2")
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(motion.root), str(tmp_path)], stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [process.wait(HANG) for process in running] == [0, 0, 0]
    cache = DiskCache(tmp_path)
    entries = list(tmp_path.glob("??/*.json"))
    assert len(entries) == 2 * len(motion)
    assert all(cache.get(entry.stem) is not None for entry in entries)


def test_what_a_worker_answers_with_nothing_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is asked again finds what the one that was killed had done, and has made nothing: 0."""

    class Cluster:
        asked = 0

        def map(self, chunks: Any, make: Any) -> Any:
            self.asked += 1
            return iter([(1, [1])] if self.asked == 1 else [(at, [0]) for at in chunks])  # of chunk 0 it was killed

    monkeypatch.setattr(loaders.spread, "_cluster", lambda *given, **options: nullcontext(Cluster()))
    found = loaders.spread.map_chunks({0: ["a", "b"], 1: ["c"]}, None, lost=lambda item: "lost", ray="local")  # type: ignore[arg-type, return-value]
    assert dict(found) == {1: [1], 0: [0, 0]}
