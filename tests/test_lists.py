"""Where indexes come from: patterns, tables of labels, official lists, plain files; and how they are split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loaders import (
    Clip,
    ClipIndex,
    ClipzooError,
    index_csv,
    index_files,
    index_folder,
    index_hmdb51,
    index_pattern,
    index_ucf101,
    write_csv,
)


@pytest.fixture
def tree(tmp_path: Path, motion: ClipIndex) -> Path:
    for name in (
        "run/a_g01_c1.avi",
        "run/a_g01_c2.AVI",
        "Füße heben/deep/er/b_g02_c1.avi",
        "run/.hidden.avi",
        "run/n.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(motion.path(0), tmp_path / name)
    return tmp_path


def test_patterns_find_classes_and_groups(tree: Path) -> None:
    index = index_pattern(f"{tree}/{{label}}/**/*_g{{group}}_c*.avi")
    assert [(clip.file, clip.label, clip.group) for clip in index] == [
        ("Füße heben/deep/er/b_g02_c1.avi", "Füße heben", "02"),
        ("run/a_g01_c1.avi", "run", "01"),
    ]
    assert [clip.file for clip in index_pattern(f"{tree}/{{classname}}/*.AVI")] == ["run/a_g01_c2.AVI"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{root}/*/*.avi", "no {label}"),
        ("{root}/{label}/{what}.avi", "{what}"),
        ("{root}/{label}/*.mp4", "no file fits"),
        ("{root}/nowhere/{label}/*", "no such folder"),
    ],
)
def test_a_pattern_that_finds_nothing_says_why(tree: Path, pattern: str, said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        index_pattern(pattern.replace("{root}", str(tree)))
    assert said in str(error.value)


def test_folders_named_as_splits_hold_the_classes(tmp_path: Path, motion: ClipIndex) -> None:
    for name in ("Train/run/a.avi", "Train/walk/b.avi", "val/run/c.avi", "test/walk/deep/d.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(motion.path(0), tmp_path / name)
    index = index_folder(tmp_path)
    assert index.labels == ("run", "walk") and index.counts() == {"train": 2, "validation": 1, "test": 1}
    shutil.copy(motion.path(0), tmp_path / "test/e.avi")  # then they are classes as any others
    index = index_folder(tmp_path)
    assert index.labels == ("Train", "test", "val") and not index.is_split and len(index) == 5


def test_links_are_followed_and_circles_end(tree: Path) -> None:
    (tree / "linked").symlink_to(tree / "run", target_is_directory=True)
    (tree / "run" / "circle").symlink_to(tree, target_is_directory=True)
    (tree / "run" / "one.avi").symlink_to(tree / "run" / "a_g01_c1.avi")
    files = [clip.file for clip in index_folder(tree) if clip.label == "linked"]
    assert "linked/one.avi" in files


def test_files_without_labels_are_an_index_too(tree: Path) -> None:
    index = index_files(tree)
    assert [clip.file for clip in index] == ["Füße heben/deep/er/b_g02_c1.avi", "run/a_g01_c1.avi", "run/a_g01_c2.AVI"]
    assert not index.labeled
    with pytest.raises(ClipzooError, match="has no label"):
        index.encode()
    some = index_files([tree / "run", tree / "Füße heben" / "deep" / "er" / "b_g02_c1.avi"])
    assert [path.name for path in some.paths] == ["a_g01_c1.avi", "a_g01_c2.AVI", "b_g02_c1.avi"]
    (tree / "empty").mkdir()
    with pytest.raises(ClipzooError, match="no video file"):
        index_files(tree / "empty")


def test_tables_of_labels(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "File,Tags,run,jump,Speed,height,Split,source\n"
        "a.mp4,run; jump,1,1,2.5,-1,train,s1\n"
        "b.mp4,,0,0,0,1e3,val,s2\n"
        "c.mp4,jump,0,1,-3,0.5,test,s1\n"
    )
    tags = index_csv(table, label="tags", task="multilabel")
    flags = index_csv(table, label=("run", "jump"), task="multilabel")
    assert tags.labels == ("jump", "run") and flags.labels == ("run", "jump")
    assert tags.encode().tolist() == [[1, 1], [0, 0], [1, 0]]
    assert flags.encode([2, 0]).tolist() == [[0, 1], [1, 1]]
    numbers = index_csv(table, label=["speed", "height"], task="regression")
    assert numbers.labels == ("Speed", "height")
    assert numbers.encode().tolist() == [[2.5, -1], [0, 1000], [-3, 0.5]]
    assert not index_csv(table, label=None).labeled
    assert [clip.split for clip in numbers] == ["train", "validation", "test"]
    for index, label in ((flags, ("run", "jump")), (numbers, ("speed", "HEIGHT"))):
        write_csv(index, tmp_path / "again.csv")
        assert index_csv(tmp_path / "again.csv", label=label, task=index.task) == index


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("file,label\na,x\n", {"label": "class"}, "no column 'class'"),
        ("file,speed\na,fast\n", {"label": "speed", "task": "regression"}, "line 2 has 'fast', which must be numbers"),
        ("file,x,y\na,1,2\n", {"label": ("x", "y"), "task": "multilabel"}, "0 or 1"),
        ("file,x,y\na,1,2\n", {"label": ("x", "y")}, "task='multilabel'"),
        ("file,label,start,end\na,x,3,2\n", {}, "0 <= start < end"),
        ("file,label,start,end\na,x,,2\n", {}, "0 <= start < end"),
        ("file,label,start,end\na,x,1,2\na,x,1,2\n", {}, "a second time"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path: Path, text: str, options: dict[str, object], said: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ClipzooError) as error:
        index_csv(tmp_path / "table.csv", **options)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_spans_make_several_clips_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,label,start,end\na.mp4,x,0,1.5\na.mp4,y,1.5,3\n")
    index = index_csv(tmp_path / "list.csv")
    assert [clip.span for clip in index] == [(0.0, 1.5), (1.5, 3.0)]
    write_csv(index, tmp_path / "again.csv")
    assert index_csv(tmp_path / "again.csv") == index


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_the_official_lists_of_ucf101(data: Path, tmp_path: Path, split: int, train: int, test: int) -> None:
    index = index_ucf101(tmp_path, data / "splits" / "ucf101", fold=split)
    assert (len(index.only("train")), len(index.only("test")), len(index.labels)) == (train, test, 101)
    assert index.labels[0] == "ApplyEyeMakeup"
    first = {1: "01", 2: "08", 3: "15"}[split]
    assert index.only("test")[0].file == f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{first}_c01.avi"
    # The official split tears no group, and a validation part taken from train does not either.
    groups = [{clip.group for clip in index.only(part)} for part in ("train", "test")]
    assert not groups[0] & groups[1]
    inner = index.only("train").split(validation=0.1, test=0, seed=0)
    assert not {clip.group for clip in inner.only("train")} & {clip.group for clip in inner.only("validation")}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_official_lists_of_hmdb51(data: Path, tmp_path: Path, split: int) -> None:
    index = index_hmdb51(tmp_path, data / "splits" / "hmdb51", fold=split)
    assert (len(index.only("train")), len(index.only("test")), len(index.labels)) == (3570, 1530, 51)
    assert set(Counter(clip.label for clip in index.only("test")).values()) == {30}
    assert "brush_hair" in index.labels
    assert all(clip.file == f"{clip.label}/{Path(clip.file).name}" and clip.file.endswith(".avi") for clip in index)
    with pytest.raises(ClipzooError, match="_test_split4"):
        index_hmdb51(tmp_path, data / "splits" / "hmdb51", fold=4)


def test_official_lists_of_some_classes_and_of_what_is_there(data: Path) -> None:
    folder, lists = data / "hmdb21", data / "splits" / "hmdb51"
    index = index_hmdb51(folder, lists, only_present=True)
    assert (len(index), len(index.labels), index.counts()["test"]) == (922, 21, 257)
    assert len(index_hmdb51(folder, lists)) == 5100 and len(index_hmdb51(folder, lists).labels) == 51
    three = index_hmdb51(folder, lists, classes=["shoot_ball", "golf"], only_present=True)
    assert three.labels == ("shoot_ball", "golf") and {clip.label for clip in three} == {"shoot_ball", "golf"}
    assert all(path.is_file() for path in three.paths)
    with pytest.raises(ClipzooError, match=r"no class 'gulf'; did you mean golf"):
        index_hmdb51(folder, lists, classes=["gulf"])
    with pytest.raises(ClipzooError, match="must be a list of names"):
        index_hmdb51(folder, lists, classes="golf")
    with pytest.raises(ClipzooError, match="has none of the clips"):
        index_hmdb51(folder, lists, classes=["dribble"], only_present=True)
    with pytest.raises(ClipzooError, match="has none of the clips"):
        index_ucf101(folder, data / "splits" / "ucf101", only_present=True)


def balanced(clips: int = 40, groups: int = 20) -> ClipIndex:
    return ClipIndex(Path(), tuple(Clip(f"{n}.mp4", "ab"[n % 2], group=f"g{n % groups}") for n in range(clips)))


def test_folds_test_every_clip_once_and_tear_no_group() -> None:
    index = balanced()
    folds = index.folds(4, validation=0.2, seed=3)
    tested = [clip.file for fold in folds for clip in fold.only("test")]
    assert sorted(tested) == sorted(clip.file for clip in index)
    for fold in folds:
        assert [clip.file for clip in fold] == [clip.file for clip in index]
        parts = {name: {clip.group for clip in fold.only(name)} for name in ("train", "validation", "test")}
        assert not parts["train"] & parts["validation"] and not parts["train"] & parts["test"]
        assert not parts["validation"] & parts["test"]
        assert abs(len(fold.only("test")) - 10) <= 2
    assert index.folds(4, validation=0.2, seed=3) == folds
    assert index.folds(4, seed=4) != index.folds(4, seed=3)
    with pytest.raises(ClipzooError, match="folds"):
        index.folds(1)


def test_either_share_may_be_alone() -> None:
    only_test = balanced().split(validation=0, test=0.25, seed=0)
    assert Counter(clip.split for clip in only_test) == {"train": 30, "test": 10}
    only_validation = balanced().split(validation=0.25, test=0, seed=0)
    assert Counter(clip.split for clip in only_validation) == {"train": 30, "validation": 10}


def test_class_weights_balance_the_classes() -> None:
    index = ClipIndex(Path(), tuple(Clip(str(n), "rare" if n < 2 else "often") for n in range(10)))
    assert index.class_weights() == {0: 10 / (2 * 8), 1: 10 / (2 * 2)}
    numbers = ClipIndex(Path(), (Clip("a", (1.0,)),), ("x",), "regression")
    with pytest.raises(ClipzooError, match="regression"):
        numbers.class_weights()


def test_windows_are_clips_of_their_own_with_their_own_frames(motion: ClipIndex) -> None:
    from loaders import ClipSpec, read_clip

    index = ClipIndex(motion.root, motion.clips[:3])
    slid = index.windows(0.2, stride=0.1)
    assert len(slid) > len(index)
    assert slid.labels == index.labels
    first = [clip for clip in slid if clip.file == index[0].file]
    spec = ClipSpec(frames=2, height=16, width=16)
    pixels = [read_clip(slid.root / clip.file, spec, span=clip.span).tobytes() for clip in first]
    assert len(set(pixels)) == len(pixels)  # the peer's windows all hold the same frames
    whole = read_clip(index.path(0), spec.replace(frames=8))
    last = read_clip(index.path(0), spec, span=first[-1].span)
    np.testing.assert_array_equal(last[-1], whole[-1])
    split = slid.split(validation=0.4, test=0, seed=0)
    assert {clip.split for clip in split} == {"train", "validation"}
    assert all(len({c.split for c in split if c.file == clip.file}) == 1 for clip in split)  # no file is torn
    with pytest.raises(ClipzooError, match="above 0"):
        index.windows(0)


def test_a_long_list_is_read_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "list.csv"
    path.write_text(
        "file,label,split,group\n" + "".join(f"c{n % 51}/{n}.mp4,c{n % 51},train,g{n // 7}\n" for n in range(20_000))
    )
    tracemalloc.start()
    index = index_csv(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(index) == 20_000 and len(index.labels) == 51
    assert peak < 40 * 2**20  # 2 KiB a clip


@pytest.mark.parametrize("name", ["start", "Group", "label"])
def test_a_label_that_would_be_another_column_is_refused(tmp_path: Path, name: str) -> None:
    """The list of a run has a column for each of several labels."""
    (tmp_path / "list.csv").write_text(f"file,label\na.avi,walk\nb.avi,{name};walk\n")
    with pytest.raises(ClipzooError, match=f"line 3 has '{name}', which cannot be one of several labels"):
        index_csv(tmp_path / "list.csv", task="multilabel")
    assert index_csv(tmp_path / "list.csv")  # one class of that name is no column
