"""Folders, lists and splits."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders import Clip, ClipIndex, ClipzooError, VideoError, index_csv, index_folder, write_csv
from tests.support.commands import HANG


def test_a_folder_gives_one_class_a_sub_folder(tmp_path: Path, motion: ClipIndex) -> None:
    for name in ("ride a bike/one.AVI", "ride a bike/deep/two.mp4", "Füße/drei.mov", "Füße/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(motion.path(0), tmp_path / name)
    index = index_folder(tmp_path)
    assert index.labels == ("Füße", "ride a bike")
    assert [clip.file for clip in index] == ["Füße/drei.mov", "ride a bike/deep/two.mp4", "ride a bike/one.AVI"]
    assert index.targets.tolist() == [0, 1, 1]


def test_what_a_folder_lacks_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match="no such folder"):
        index_folder(tmp_path / "nowhere")
    with pytest.raises(ClipzooError, match="no sub-folder"):
        index_folder(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(ClipzooError, match="class 'run' has no video file"):
        index_folder(tmp_path)


def test_the_real_list_keeps_its_groups_whole(data: Path) -> None:
    index = index_csv(data / "fights" / "split.csv")
    assert [len(index.only(part)) for part in ("train", "val", "test")] == [180, 60, 60]
    parts_of: dict[str | None, set[str | None]] = {}
    for clip in index:
        parts_of.setdefault(clip.group, set()).add(clip.split)
    assert max(len(parts) for parts in parts_of.values()) == 1
    again = index.split(validation=0.2, test=0.2, seed=3)
    parts_of.clear()
    for clip in again:
        parts_of.setdefault(clip.group, set()).add(clip.split)
    assert max(len(parts) for parts in parts_of.values()) == 1
    for part in ("validation", "test"):
        by_class = Counter(clip.label for clip in again.only(part))
        assert all(25 <= n <= 35 for n in by_class.values()), by_class


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,split\na.mp4,train\n", "no column 'label'"),
        ("file,label\n,x\n", "line 2 has no file"),
        ("file,label\na.mp4,\n", "line 2 has no label"),
        ("file,label\na.mp4,x\na.mp4,y\n", "line 3 lists 'a.mp4' a second time"),
        ("file,label,split\n\n\na.mp4,x,trian\n", "line 4 has the split 'trian'"),
        ("file,label\n", "lists no clip"),
        ("", "no column 'file'"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ClipzooError) as error:
        index_csv(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_list_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes('\ufeffFile, Label ,split,source\r\n"a, b.mp4",x,val,s1\r\nc.mp4,y,,\r\n'.encode())
    index = index_csv(path)
    assert index.clips == (Clip("a, b.mp4", "x", "validation", "s1"), Clip("c.mp4", "y", None, None))
    write_csv(index, tmp_path / "again.csv")
    assert index_csv(tmp_path / "again.csv").clips == index.clips


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(5, 30), min_size=2, max_size=5), seed=st.integers(0, 10**6), share=st.floats(0.1, 0.3)
)
def test_a_split_is_stratified_to_a_clip_and_the_same_for_the_same_seed(
    sizes: list[int], seed: int, share: float
) -> None:
    clips = [Clip(f"{label}/{n}", str(label)) for label, size in enumerate(sizes) for n in range(size)]
    index = ClipIndex(Path(), tuple(clips)).split(validation=share, test=share, seed=seed)
    backwards = ClipIndex(Path(), tuple(reversed(clips))).split(validation=share, test=share, seed=seed)
    assert {clip.file: clip.split for clip in index} == {clip.file: clip.split for clip in backwards}
    for label, size in enumerate(sizes):
        counts = Counter(clip.split for clip in index if clip.label == str(label))
        for part in ("validation", "test"):
            assert abs(counts[part] - share * size) <= 1


def test_a_small_set_has_clips_in_every_part() -> None:
    clips = tuple(Clip(f"{label}/{n}", label) for label in "abcdef" for n in range(4))
    counts = Counter(clip.split for clip in ClipIndex(Path(), clips).split(seed=0))
    assert counts == {"train": 18, "validation": 3, "test": 3}


def test_a_class_that_a_list_could_not_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / " run ").mkdir()
    with pytest.raises(ClipzooError, match="begins or ends with a space"):
        index_folder(tmp_path)


@pytest.mark.parametrize("count", [2, 3])
def test_classes_of_few_clips_are_told_what_cures_it(count: int) -> None:
    """What the sentence offers is tried: it must cure."""
    clips = tuple(Clip(f"{label}/{n}", label) for label in "abc" for n in range(count))
    index = ClipIndex(Path("videos"), clips)
    with pytest.raises(ClipzooError, match=r"videos: no clip of .* in the split validation") as error:
        for seed in range(9):
            index.split(seed=seed).require_every_class("validation")
    said = str(error.value)
    assert f"whose share of {count} clips rounds to none; give validation=" in said
    share = re.search(r"give validation=(0\.\d+) \(--set recipe.validation=\1\), more clips of them, or a --list", said)
    assert share, said
    for test in (0.0, 0.15):
        for seed in range(5):
            index.split(validation=float(share[1]), test=test, seed=seed).require_every_class("validation")


def test_what_no_share_cures_is_not_offered_one() -> None:
    lone = ClipIndex(Path("videos"), tuple(Clip(f"{n}", "ab"[n // 9]) for n in range(10)))
    with pytest.raises(ClipzooError, match=r"of b in the split validation, whose share of 1 clip .*; give more clips"):
        lone.split(validation=0.2, seed=0).require_every_class("validation")
    groups = tuple(Clip(f"{label}{n}", label, group=label) for label in "ab" for n in range(50))
    with pytest.raises(ClipzooError, match=r"whose share of 1 group rounds to none; give more groups of them"):
        ClipIndex(Path("videos"), groups).split(seed=0).require_every_class("validation")


def test_a_share_given_alone_leaves_the_other_at_none() -> None:
    index = ClipIndex(Path(), tuple(Clip(f"{n}", "ab"[n % 2]) for n in range(40)))
    assert index.split(validation=0.25).counts() == {"train": 30, "validation": 10, "test": 0}
    assert index.split(test=0.25).counts() == {"train": 30, "validation": 0, "test": 10}
    assert index.split().counts() == {"train": 28, "validation": 6, "test": 6}


def test_other_seeds_give_other_splits() -> None:
    clips = tuple(Clip(str(n), str(n % 2)) for n in range(60))
    index = ClipIndex(Path(), clips)
    assert index.split(seed=0).clips == index.split(seed=0).clips
    assert index.split(seed=0).clips != index.split(seed=1).clips


def test_a_class_that_cannot_be_trained_is_an_error() -> None:
    clips = (Clip("a", "x", group="g"), Clip("b", "x", group="g"), Clip("c", "y", group="h"))
    with pytest.raises(ClipzooError, match=r"validation \(0\.7\)"):
        ClipIndex(Path(), clips).split(validation=0.7, test=0.4)
    torn = ClipIndex(Path(), tuple(Clip(str(n), "x" if n else "y", group="one") for n in range(4)))
    assert {clip.split for clip in torn.split(seed=0)} == {"train"}


def test_broken_files_are_left_out_by_name_or_raised(tmp_path: Path, motion: ClipIndex) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        shutil.copy(motion.path(0), tmp_path / label / "good.avi")
    (tmp_path / "a" / "bad.mp4").write_bytes(b"not a video")
    index = index_folder(tmp_path)
    steps: list[int] = []
    kept, broken = index.readable(advance=lambda: steps.append(1))
    assert (len(kept), len(steps)) == (2, 3)
    assert [Path(error.path).name for error in broken] == ["bad.mp4"]
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        index.readable(on_error="fail")
    (tmp_path / "a" / "good.avi").unlink()
    with pytest.raises(ClipzooError, match="class 'a' has no readable clip"):
        index_folder(tmp_path).readable()


def test_labels_that_a_model_does_not_know_are_named(motion: ClipIndex) -> None:
    with pytest.raises(ClipzooError, match="does not know turning"):
        motion.with_labels([label for label in motion.labels if label != "turning"])


def test_what_there_is_to_read_needs_neither_opencv_nor_keras() -> None:
    """In a fresh process: listing models and reading metadata begin with these."""
    code = (
        "import sys, loaders.index, loaders.lists, loaders.official, loaders.spec, loaders.split, loaders.tasks\n"
        "import loaders.check, loaders.errors, loaders.sampling, loaders.spans\n"
        "print({'cv2', 'keras', 'tensorflow', 'jax', 'matplotlib', 'rich', 'typer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_split_of_groups_that_share_files_is_that_of_the_list_in_any_order() -> None:
    clips = [
        Clip(f"v{n:02}.mp4", "ab"[n % 2], None, group, start, start + 1.0)
        for n in range(40)
        for group, start in ((f"person{n * 7 % 40:02}", 0.0), (f"scene{n:02}", 1.0))
    ]

    def split(clips: Sequence[Clip]) -> dict[object, object]:
        index = ClipIndex(Path(), tuple(clips)).split(validation=0.2, test=0.2, seed=0)
        return {(clip.file, clip.start): clip.split for clip in index}

    assert split(clips) == split(clips[::-1])
