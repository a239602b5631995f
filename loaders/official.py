"""The official splits of UCF101 and HMDB51, as their authors publish them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from loaders.check import near
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.lists import existing_folder


def index_ucf101(
    videos: str | Path,
    lists: str | Path,
    *,
    fold: int = 1,
    classes: Sequence[str] | None = None,
    only_present: bool = False,
) -> ClipIndex:
    """Indexes UCF101 by an official split: train and test, groups as the file names have them (g01 to g25).

    Args:
        videos: the folder with a sub-folder a class.
        lists: the folder with classInd.txt, trainlist0k.txt and testlist0k.txt.
        fold: which of the three official splits: 1, 2 or 3.
        classes: some of the 101, in the order of the labels; all, in the lists' order, if left out.
        only_present: leave out clips whose file is not in the folder, and classes that have none.

    Raises:
        ClipzooError: a list is missing or is not what it should be; no such class; or no clip is left.
    """
    lists = Path(lists)
    labels = tuple(line.split()[-1] for line in _lines(lists / "classInd.txt"))
    by_folder = {label.lower(): label for label in labels}  # HandStandPushups is a folder HandstandPushups
    clips = []
    for split, name in (("train", f"trainlist0{fold}.txt"), ("test", f"testlist0{fold}.txt")):
        for line in _lines(lists / name):
            file = line.split()[0]  # the train lists give the class's number too
            found = re.fullmatch(r"([^/]+)/v_.+_g(\d+)_c\d+\.avi", file)
            if not found or found[1].lower() not in by_folder:
                raise ClipzooError(f"{lists / name}: {line!r} is no line of an official UCF101 list")
            clips.append(Clip(file, by_folder[found[1].lower()], split, f"{found[1]} g{found[2]}"))
    return _chosen(existing_folder(videos), clips, labels, classes, only_present=only_present)


def index_hmdb51(
    videos: str | Path,
    lists: str | Path,
    *,
    fold: int = 1,
    classes: Sequence[str] | None = None,
    only_present: bool = False,
) -> ClipIndex:
    """Indexes HMDB51 by an official split: train and test, groups by the film that a clip was cut from.

    Args:
        videos: the folder with a sub-folder a class.
        lists: the folder with the files `<action>_test_split<k>.txt`.
        fold: which of the three official splits: 1, 2 or 3.
        classes: some of the 51, in the order of the labels; all, sorted, if left out.
        only_present: leave out clips whose file is not in the folder, and classes that have none.

    Raises:
        ClipzooError: no such lists, or a line that is not of one; no such class; or no clip is left.
    """
    lists, end = Path(lists), f"_test_split{fold}.txt"
    files = sorted(lists.glob(f"*{end}"))
    if not files:
        raise ClipzooError(f"{lists}: no file *{end}")
    clips = []
    for list_file in files:
        label = list_file.name.removesuffix(end)
        for line in _lines(list_file):
            name, _, use = line.rpartition(" ")
            if use not in ("0", "1", "2"):
                raise ClipzooError(f"{list_file}: {line!r} does not end in 0, 1 or 2")
            if use != "0":  # 0: in neither
                file = f"{label}/{name.strip()}"
                clips.append(Clip(file, label, "train" if use == "1" else "test", film(file)))
    labels = [file.name.removesuffix(end) for file in files]
    return _chosen(existing_folder(videos), clips, labels, classes, only_present=only_present)


def film(file: str) -> str:
    """The film that a clip of HMDB51, `ACTION/NAME`, was cut from, as its name has it."""
    label, _, name = file.rpartition("/")
    return name.partition(f"_{label}_")[0]


def _chosen(
    root: Path, clips: Sequence[Clip], labels: Sequence[str], classes: Sequence[str] | None, *, only_present: bool
) -> ClipIndex:
    """The clips of some classes, and those that are there."""
    if isinstance(classes, str):
        raise ClipzooError(f"classes ({classes!r}) must be a list of names, such as ['golf', 'kick_ball']")
    for name in classes or ():
        if name not in labels:
            raise ClipzooError(f"classes: the lists have no class {name!r}; {near(str(name), labels)}")
    kept = [clip for clip in clips if classes is None or clip.label in classes]
    if only_present:
        folders = [folder for folder in root.iterdir() if folder.is_dir()]
        there = {f"{folder.name}/{file.name}" for folder in folders for file in folder.iterdir()}
        # Copies of HMDB51, JHMDB's among them, have @ where the lists have # or &.
        kept = [clip._replace(file=name) for clip in kept for name in _names(clip.file) if name in there]
    if not kept:
        raise ClipzooError(f"{root}: has none of the clips that the lists name; it must hold a folder for each class")
    held = {clip.label for clip in kept}
    return ClipIndex(root, tuple(kept), tuple(name for name in classes or labels if name in held or not only_present))


def _names(file: str) -> Sequence[str]:
    return tuple(dict.fromkeys((file, re.sub("[#&]", "@", file))))


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ClipzooError(f"{path}: cannot be read ({error})") from None
