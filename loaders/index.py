"""Which clips there are: files, labels, parts and groups, from folders or CSV lists."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from loaders.atomic import write_text
from loaders.decode import check_readable
from loaders.errors import ClipzooError, VideoError
from loaders.split import assign_parts

VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
PARTS = ("train", "validation", "test")
_PART_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
               "validation": "validation", "test": "test"}  # fmt: skip
OnError = Literal["skip", "fail"]


class Clip(NamedTuple):
    """One clip of an index: file (relative to the root), class, part of the split, and group that must not be torn."""

    file: str
    label: str
    part: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class ClipIndex:
    """A list of labelled clips under one folder.

    Attributes:
        root: the folder that the files are relative to.
        clips: the clips.
        labels: names of the classes; their order is that of the model's outputs. Found from the clips if left out.
    """

    root: Path
    clips: tuple[Clip, ...]
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", tuple(sorted({clip.label for clip in self.clips})))

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def path(self, position: int) -> Path:
        """Where the clip at `position` lies."""
        return self.root / self.clips[position].file

    @property
    def paths(self) -> list[Path]:
        """Where the clips lie, in order."""
        return [self.root / clip.file for clip in self.clips]

    @property
    def targets(self) -> list[int]:
        """Position of each clip's class among `labels`."""
        positions = {label: position for position, label in enumerate(self.labels)}
        return [positions[clip.label] for clip in self.clips]

    @property
    def has_parts(self) -> bool:
        """Whether a split is given with the clips."""
        return any(clip.part for clip in self.clips)

    @property
    def has_groups(self) -> bool:
        """Whether groups are given with the clips."""
        return any(clip.group for clip in self.clips)

    def part(self, name: str) -> ClipIndex:
        """The clips of one part, with the labels of the whole.

        Raises:
            ClipzooError: no such part, or no clip in it.
        """
        wanted = _PART_NAMES.get(name.strip().lower())
        chosen = tuple(clip for clip in self.clips if clip.part == wanted) if wanted else ()
        if not chosen:
            parts = ", ".join(
                f"{part} ({n})" for part, n in Counter(clip.part or "no part" for clip in self.clips).items()
            )
            raise ClipzooError(f"{self.root}: no clip in the part {name!r}; there are {parts or 'no clips'}")
        return replace(self, clips=chosen)

    def split(self, *, validation: float = 0.15, test: float = 0.15, seed: int = 0) -> ClipIndex:
        """Gives every clip a part: seeded, stratified by class, and no group torn between parts.

        Args:
            validation: share of the clips for validation, 0 <= validation < 1; likewise `test`; together below 1.
            seed: equal seeds give equal splits, whatever the order of the clips.

        Raises:
            ClipzooError: shares out of range, or a class that would have no clip to train on.
        """
        if not (validation >= 0 and test >= 0 and validation + test < 1):
            raise ClipzooError(
                f"split shares validation ({validation}) and test ({test}) must be >= 0, together below 1"
            )
        shares = {"train": 1 - validation - test, "validation": validation, "test": test}
        parts = assign_parts(
            [(clip.file, clip.label, clip.group or f"\0{clip.file}") for clip in self.clips],
            shares=shares,
            seed=seed,
        )
        done = replace(self, clips=tuple(clip._replace(part=parts[clip.file]) for clip in self.clips))
        done.require_every_class("train")
        return done

    def require_every_class(self, part: str) -> None:
        """Raises ClipzooError where a class has no clip in `part`."""
        held = {clip.label for clip in self.clips if clip.part == part}
        missing = [label for label in self.labels if label not in held]
        if missing:
            raise ClipzooError(
                f"{self.root}: no clip of {_some(missing)} in the part {part}; give more clips, smaller shares, "
                "or a --split list"
            )

    def readable(
        self, *, on_error: OnError = "skip", workers: int = 2, advance: Callable[[], object] = lambda: None
    ) -> tuple[ClipIndex, list[VideoError]]:
        """Opens every file and decodes one frame, so that training meets no broken one.

        Args:
            on_error: `skip` leaves broken files out, `fail` raises for the first.
            workers: threads.
            advance: called after each file, to show progress.

        Returns:
            The clips that can be read, and the error of each that cannot; each file is named once.

        Raises:
            VideoError: with `fail`, the first broken file.
            ClipzooError: a class has no readable clip.
        """
        errors = check_readable(self.paths, workers=workers, advance=advance)
        broken = [error for error in errors if error]
        if broken and on_error == "fail":
            raise broken[0]
        kept = tuple(clip for clip, error in zip(self.clips, errors, strict=True) if error is None)
        for label in self.labels:
            if any(clip.label == label for clip in self.clips) and not any(clip.label == label for clip in kept):
                raise ClipzooError(
                    f"{self.root}: class {label!r} has no readable clip; the first of its files: "
                    f"{next(error for clip, error in zip(self.clips, errors, strict=True) if clip.label == label)}"
                )
        return replace(self, clips=kept), broken

    def with_labels(self, labels: Sequence[str]) -> ClipIndex:
        """The same clips with the classes of a model, in its order.

        Raises:
            ClipzooError: a clip has a class that is not among `labels`.
        """
        foreign = sorted({clip.label for clip in self.clips} - set(labels))
        if foreign:
            raise ClipzooError(
                f"{self.root}: the labels do not fit the model: it does not know {_some(foreign)}; "
                f"it knows {_some(list(labels))}"
            )
        return replace(self, labels=tuple(labels))

    def to_csv(self, path: str | Path) -> None:
        """Writes `file,label,split,group`, as `index_csv` reads it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("file", "label", "split", "group"))
        writer.writerows((clip.file, clip.label, clip.part or "", clip.group or "") for clip in self.clips)
        write_text(path, text.getvalue())


def index_folder(path: str | Path) -> ClipIndex:
    """Indexes a folder with one sub-folder a class: `path/<label>/**/<clip>`, files with the suffix of a video.

    Raises:
        ClipzooError: no such folder, no sub-folder, or a sub-folder without a video file.
    """
    root = _existing_folder(path)
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise ClipzooError(
            f"{root}: no sub-folder; put the clips of each class into a folder with the name of the class"
        )
    clips: list[Clip] = []
    for folder in folders:
        if folder.name != folder.name.strip():
            raise ClipzooError(f"{root}: class {folder.name!r} begins or ends with a space; rename the folder")
        files = sorted(_videos(folder))
        if not files:
            raise ClipzooError(
                f"{folder}: class {folder.name!r} has no video file ({' '.join(sorted(VIDEO_SUFFIXES))})"
            )
        clips += [Clip(file=file.relative_to(root).as_posix(), label=folder.name) for file in files]
    return ClipIndex(root, tuple(clips))


def index_csv(path: str | Path, *, root: str | Path | None = None) -> ClipIndex:
    """Indexes a CSV list with the columns `file,label` and, if wanted, `split` and `group` (or `source`).

    Args:
        path: the list, UTF-8, with a header line.
        root: the folder that the files are relative to; the list's own folder if left out.

    Raises:
        ClipzooError: no such file, a column missing, an empty field, a file listed twice, or a split other than
            train, validation (val) and test. Files are looked for when they are read.
    """
    path = Path(path)
    root = _existing_folder(root if root is not None else path.parent)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClipzooError(f"{path}: cannot be read as a CSV list ({error})") from None
    for needed in ("file", "label"):
        if needed not in columns:
            raise ClipzooError(f"{path}: no column {needed!r}; the first line has {', '.join(columns) or 'nothing'}")
    group = "group" if "group" in columns else "source" if "source" in columns else None
    clips: list[Clip] = []
    seen: set[str] = set()
    for line, row in rows:
        name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if not name or not label:
            raise ClipzooError(f"{path}: line {line} has no {'file' if not name else 'label'}")
        if name in seen:
            raise ClipzooError(f"{path}: line {line} lists {name!r} a second time")
        seen.add(name)
        given = (row.get("split") or "").strip().lower()
        if given and given not in _PART_NAMES:
            raise ClipzooError(
                f"{path}: line {line} has the split {given!r}; it must be train, validation (val) or test"
            )
        clips.append(
            Clip(
                name,
                label,
                _PART_NAMES.get(given),
                ((row.get(group) or "").strip() or None) if group else None,
            )
        )
    if not clips:
        raise ClipzooError(f"{path}: lists no clip")
    return ClipIndex(root, tuple(clips))


def _existing_folder(path: str | Path) -> Path:
    root = Path(path)
    if not root.exists():
        raise ClipzooError(f"{root}: no such folder")
    if not root.is_dir():
        raise ClipzooError(f"{root}: is not a folder")
    return root


def _videos(folder: Path) -> Iterable[Path]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(parent, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122
        )


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
