"""Where indexes come from: folders, patterns, CSV lists, and plain files."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.printable import printable_name
from loaders.split import SPLIT_NAMES
from loaders.tasks import Task, label_names, task_kind

RESERVED = ("file", "split", "group", "source", "start", "end")  # columns of a list that are no labels
VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)


def index_folder(path: str | Path) -> ClipIndex:
    """Indexes a folder with one sub-folder a class: `path/<label>/**/<clip>`, files with the suffix of a video.

    Where all sub-folders are named as splits (`train`, `val`, `test` and the like) and hold nothing but folders, they
    are the splits, and the classes stand in them: `path/<split>/<label>/**/<clip>`.

    Raises:
        ClipzooError: no such folder, no sub-folder, or a sub-folder without a video file.
    """
    root = existing_folder(path)
    folders = _folders(root)
    if not folders:
        raise ClipzooError(
            f"{root}: no sub-folder; put the clips of each class into a folder with the name of the class"
        )
    splits = {folder: SPLIT_NAMES.get(folder.name.lower()) for folder in folders}
    if all(split and _holds_folders_alone(folder) for folder, split in splits.items()):
        splits = {inner: split for folder, split in splits.items() for inner in _folders(folder)}
    else:
        splits = dict.fromkeys(folders)
    clips: list[Clip] = []
    for folder, split in splits.items():
        if folder.name != folder.name.strip():
            raise ClipzooError(f"{root}: class {folder.name!r} begins or ends with a space; rename the folder")
        files = sorted(_videos(folder))
        if not files:
            raise ClipzooError(
                f"{folder}: class {folder.name!r} has no video file ({' '.join(sorted(VIDEO_SUFFIXES))})"
            )
        clips += [Clip(file=file.relative_to(root).as_posix(), label=folder.name, split=split) for file in files]
    return ClipIndex(root, tuple(clips))


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _holds_folders_alone(folder: Path) -> bool:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return bool(entries) and all(entry.is_dir() for entry in entries)


def index_pattern(pattern: str | Path) -> ClipIndex:
    """Indexes the files that fit a pattern such as `videos/{label}/**/*.avi` or `clips/v_{label}_g{group}_c*.avi`.

    `{label}` (or `{classname}`) is the class, `{group}` what must not be torn between splits; `*` and `?` stand for
    characters within a name, `**/` for any folders. Links are followed; suffixes are taken as they are written.

    Raises:
        ClipzooError: no `{label}`, another name in braces, no such folder, or no file that fits.
    """
    pattern = str(pattern)
    if not re.search(r"\{(label|classname)\}", pattern):
        raise ClipzooError(f"pattern {pattern!r} has no {{label}}: put it where the name of the class stands")
    parts = Path(pattern).parts
    fixed = next(n for n, part in enumerate(parts) if re.search(r"[*?{]", part))
    root = existing_folder(Path(*parts[:fixed]))
    fits = _pattern("/".join(parts[fixed:]), pattern)
    clips = []
    for file in sorted(path.relative_to(root).as_posix() for path in _files(root)):
        match = fits.fullmatch(file)
        if match:
            found = match.groupdict()
            clips.append(Clip(file, found["label"], group=found.get("group")))
    if not clips:
        raise ClipzooError(f"{root}: no file fits the pattern {pattern!r}")
    return ClipIndex(root, tuple(clips))


def _pattern(text: str, whole: str) -> re.Pattern[str]:
    meaning = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    out, names = "", set()
    for piece in re.split(r"(\*\*/|\*|\?|\{[^{}]*\})", text):
        if piece.startswith("{"):
            name = {"classname": "label"}.get(piece[1:-1], piece[1:-1])
            if name not in ("label", "group"):
                raise ClipzooError(f"pattern {whole!r}: {piece} is none of {{label}}, {{classname}}, {{group}}")
            out += f"(?P={name})" if name in names else f"(?P<{name}>[^/]+?)"
            names.add(name)
        else:
            out += meaning.get(piece, re.escape(piece))
    return re.compile(out)


def index_files(paths: str | Path | Iterable[str | Path]) -> ClipIndex:
    """Indexes files without labels, for prediction.

    Args:
        paths: files, or folders, in which all video files are taken, whatever the depth.

    Raises:
        ClipzooError: no video file in a folder, or nothing at all. Files are looked for when they are read.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    files: list[Path] = []
    for path in given:
        found = sorted(_videos(path)) if path.is_dir() else [path]
        if not found:
            raise ClipzooError(f"{path}: no video file in it ({' '.join(sorted(VIDEO_SUFFIXES))})")
        files += found
    if not files:
        raise ClipzooError("no files to index")
    if len(given) == 1 and given[0].is_dir():
        return ClipIndex(given[0], tuple(Clip(file.relative_to(given[0]).as_posix()) for file in files))
    return ClipIndex(Path(), tuple(Clip(file.as_posix()) for file in files))  # each as it was given


def index_csv(
    path: str | Path,
    *,
    root: str | Path | None = None,
    label: str | Sequence[str] | None = "label",
    task: Task = "classification",
    separator: str = ";",
) -> ClipIndex:
    """Indexes a CSV list: `file`, columns of labels, and if wanted `split`, `group` (or `source`), `start` and `end`.

    | task | label | what stands in the list |
    |---|---|---|
    | classification | a column | the class |
    | multilabel | a column | the classes, with `separator` between them; none is allowed |
    | multilabel | a column, or several | 0 or 1 in the column of each class |
    | regression | a column, or several | a number |

    Args:
        path: the list, UTF-8, with a header line.
        root: the folder that the files are relative to; the list's own folder if left out.
        label: the column, or columns, of labels; None: the clips have none, as for prediction.
        task: what they are.
        separator: see the table.

    Raises:
        ClipzooError: no such file, a column missing, an empty or wrong field, a clip listed twice, or a split other
            than train, validation (val) and test. Files are looked for when they are read.
    """
    path = Path(path)
    root = existing_folder(root if root is not None else path.parent)
    kind = task_kind(task)
    columns, rows = _rows(path)
    wanted = [_named(name, columns) for name in ([label] if isinstance(label, str) else list(label or ()))]
    for needed in ("file", *wanted):
        if needed not in columns:
            raise ClipzooError(f"{path}: no column {needed!r}; the first line has {', '.join(columns) or 'nothing'}")
    if task == "classification" and len(wanted) > 1:
        raise ClipzooError(f"{path}: one column holds the class, not {', '.join(wanted)}; or say task='multilabel'")
    if set(wanted) & set(RESERVED) or len(set(wanted)) < len(wanted):
        raise ClipzooError(f"{path}: {', '.join(wanted)} cannot be labels: {', '.join(RESERVED)} mean something else")
    one = task == "multilabel" and isinstance(label, str)
    if one and {row[wanted[0]].strip() for _, row in rows} <= {"0", "1"}:
        one = False  # a column of 0 and 1, as several columns have them
    group = "group" if "group" in columns else "source" if "source" in columns else ""
    clips: list[Clip] = []
    seen: set[tuple[str | float | None, ...]] = set()
    known: set[str] = set()
    for line, row in rows:
        name = row["file"].strip()
        if not name:
            raise ClipzooError(f"{path}: line {line} has no file")
        split = row.get("split", "").strip().lower()
        if split and split not in SPLIT_NAMES:
            raise ClipzooError(
                f"{path}: line {line} has the split {split!r}; it must be train, validation (val) or test"
            )
        try:
            values = [row[column].strip() for column in wanted]
            found = _separated(values[0], separator) if one else kind.parse(values, wanted) if wanted else None
            span = _span(row.get("start", "").strip(), row.get("end", "").strip())
        except ValueError as error:
            raise ClipzooError(f"{path}: line {line} {error}") from None
        for label_name in {*label_names(found)} - known:
            if one and label_name.lower() in (*RESERVED, "label"):
                raise ClipzooError(
                    f"{path}: line {line} has {label_name!r}, which cannot be one of several labels: as a column of a "
                    "list it means something else; give it another name"
                )
            if label_name != printable_name(label_name):
                raise ClipzooError(f"{path}: line {line} has {label_name!r}, which holds a control character")
            known.add(label_name)
        if (name, *span) in seen:
            raise ClipzooError(f"{path}: line {line} lists {name!r} a second time")
        seen.add((name, *span))
        clips.append(Clip(name, found, SPLIT_NAMES.get(split), row.get(group, "").strip() or None, *span))
    if not clips:
        raise ClipzooError(f"{path}: lists no clip")
    names = () if task == "classification" or one else tuple(wanted)
    return ClipIndex(root, tuple(clips), names, task)


def write_csv(index: ClipIndex, path: str | Path) -> None:
    """Writes a list that `index_csv` reads back: file, labels, split, group, and start and end where there are.

    One class is the column `label`; several classes are columns of 0 and 1, and numbers are columns, each with its
    name.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spans = any(clip.span for clip in index)
    writer.writerow(
        (
            "file",
            *index.kind.columns(index.labels),
            "split",
            "group",
            *(("start", "end") if spans else ()),
        )
    )
    for clip in index:
        span = (clip.start, clip.end) if spans else ()
        writer.writerow(
            (clip.file, *index.kind.cells(clip.label, index.labels), clip.split or "", clip.group or "", *span)
        )
    write_text(path, text.getvalue())


def _separated(text: str, separator: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(separator) if name.strip()))


def _span(start: str, end: str) -> tuple[float, float] | tuple[None, None]:
    if not start and not end:
        return None, None
    try:
        span = float(start), float(end)
    except ValueError:
        span = 0.0, 0.0
    if not 0 <= span[0] < span[1] < float("inf"):
        raise ClipzooError(f"has start {start!r} and end {end!r}, which must be seconds, 0 <= start < end")
    return span


def _named(name: str, columns: Sequence[str]) -> str:
    """The column of that name, or, where there is none, the only one that differs in capitals alone."""
    alike = [column for column in columns if column.lower() == name.lower()]
    return alike[0] if name not in columns and len(alike) == 1 else name


def csv_columns(path: str | Path) -> list[str]:
    """Names of the columns of a list; raises ClipzooError as `index_csv` does."""
    return _rows(Path(path))[0]


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns, and the lines with their numbers; a missing field is empty.

    The columns that mean something to us may be written in capitals.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = [name.strip() for name in next(reader, [])]
            columns = [name.lower() if name.lower() in (*RESERVED, "label") else name for name in columns]
            twice = sorted({name for name in columns if name and columns.count(name) > 1})
            if twice:
                raise ClipzooError(f"{path}: the first line has {', '.join(twice)} twice")
            width = len(columns)
            return columns, [
                (reader.line_num, dict(zip(columns, row + [""] * (width - len(row)), strict=False)))
                for row in reader
                if row
            ]
    except ClipzooError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # a name with a null character is a ValueError
        why = getattr(error, "strerror", None) or error
        raise ClipzooError(f"{path}: cannot be read as a CSV list ({why})") from None


def existing_folder(path: str | Path) -> Path:
    """A folder as a Path. Raises ClipzooError where there is none."""
    root = Path(path)
    if not root.exists():
        raise ClipzooError(f"{root}: no such folder")
    if not root.is_dir():
        raise ClipzooError(f"{root}: is not a folder")
    return root


def _videos(folder: Path) -> Iterable[Path]:
    return (path for path in _files(folder) if path.suffix.lower() in VIDEO_SUFFIXES)


def _files(folder: Path) -> Iterable[Path]:
    """All files below a folder but hidden ones; links are followed, in circles once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        seen.add(Path(parent).resolve())
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(parent, name).resolve() not in seen
        )
        yield from (Path(parent, name) for name in files if not name.startswith("."))
