"""Which clips there are: files, spans, labels, parts and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from loaders.decode import check_readable, frame_count, frame_span
from loaders.errors import ClipzooError, VideoError
from loaders.sampling import windows
from loaders.split import assign_parts

PARTS = ("train", "validation", "test")
PART_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
              "validation": "validation", "test": "test"}  # fmt: skip
OnError = Literal["skip", "fail"]
Task = Literal["classification", "multilabel", "regression"]
Label = str | tuple[str, ...] | tuple[float, ...] | None


class Clip(NamedTuple):
    """One sample of an index.

    Attributes:
        file: relative to the root.
        label: the class; or the classes (multilabel); or the numbers (regression); None where it is not known.
        part: of the split: train, validation or test.
        group: what must not be torn between parts, such as the source video.
        start: where the clip begins in the file, seconds; None: the whole file.
        end: where it ends.
    """

    file: str
    label: Label = None
    part: str | None = None
    group: str | None = None
    start: float | None = None
    end: float | None = None

    @property
    def span(self) -> tuple[float, float] | None:
        """(start, end), or None for the whole file."""
        return None if self.start is None or self.end is None else (self.start, self.end)

    @property
    def names(self) -> tuple[str, ...]:
        """Its classes, whatever the task; none for numbers."""
        if isinstance(self.label, str):
            return (self.label,)
        return tuple(name for name in self.label or () if isinstance(name, str))


@dataclass(frozen=True)
class ClipIndex:
    """A list of clips under one folder.

    Attributes:
        root: the folder that the files are relative to.
        clips: the clips.
        labels: names of the classes, or of the numbers; their order is that of the model's outputs. Classes are found
            from the clips if left out.
        task: what the labels are: one class each, several, or numbers.
    """

    root: Path
    clips: tuple[Clip, ...]
    labels: tuple[str, ...] = field(default=())
    task: Task = "classification"

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", tuple(sorted({name for clip in self.clips for name in clip.names})))

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __getitem__(self, position: int) -> Clip:
        return self.clips[position]

    def path(self, position: int) -> Path:
        """Where the clip at `position` lies."""
        return self.root / self.clips[position].file

    @property
    def paths(self) -> list[Path]:
        """Where the clips lie, in order; a file with several clips stands there several times."""
        return [self.root / clip.file for clip in self.clips]

    @property
    def labelled(self) -> bool:
        """Whether the labels of all clips are known."""
        return all(clip.label is not None for clip in self.clips)

    @property
    def targets(self) -> np.ndarray:
        """Labels as numbers: int64 (clips,), positions among `labels`; or, for the other tasks, `encode()`.

        Raises:
            ClipzooError: labels are missing.
        """
        if self.task != "classification":
            return self.encode()
        places = {label: place for place, label in enumerate(self.labels)}
        self._require_labels(self.clips)
        return np.array([places[str(clip.label)] for clip in self.clips], np.int64)

    def encode(self, positions: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """What a model learns from: float32 (clips, labels), one-hot, several-hot, or the numbers.

        Args:
            positions: of the clips; all of them if left out.

        Raises:
            ClipzooError: labels are missing.
        """
        chosen = self.clips if positions is None else [self.clips[position] for position in positions]
        self._require_labels(chosen)
        if self.task == "regression":
            return np.array([clip.label for clip in chosen], np.float32).reshape(len(chosen), len(self.labels))
        places = {label: place for place, label in enumerate(self.labels)}
        out = np.zeros((len(chosen), len(self.labels)), np.float32)
        for row, clip in zip(out, chosen, strict=True):
            row[[places[name] for name in clip.names]] = 1
        return out

    def class_weights(self) -> dict[int, float]:
        """Weights that make every class count alike: clips / (classes * clips of the class), for `fit`.

        Raises:
            ClipzooError: the clips do not have one class each.
        """
        if self.task != "classification":
            raise ClipzooError(f"class weights are for one class a clip, not for {self.task}")
        counts = np.bincount(self.targets, minlength=len(self.labels))
        return {place: len(self) / (len(self.labels) * int(n)) if n else 0.0 for place, n in enumerate(counts)}

    def _require_labels(self, clips: Sequence[Clip]) -> None:
        for clip in clips:
            if clip.label is None:
                raise ClipzooError(f"{self.root}: {clip.file} has no label")

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
        wanted = PART_NAMES.get(name.strip().lower())
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
        done = self._assign(shares, seed)
        done.require_every_class("train")
        return done

    def folds(self, count: int, *, validation: float = 0.0, seed: int = 0) -> list[ClipIndex]:
        """Splits for cross-validation: each clip is in the test part of exactly one fold, no group is torn.

        Args:
            count: folds, >= 2.
            validation: share of what is not test that is kept apart for validation, 0 <= validation < 1.
            seed: equal seeds give equal folds.

        Raises:
            ClipzooError: an argument out of range, or a class without a clip to train on.
        """
        if not 2 <= count <= len(self):
            raise ClipzooError(f"folds ({count}) must be from 2 to the number of clips ({len(self)})")
        names = [f"fold {number}" for number in range(count)]
        assigned = self._assign(dict.fromkeys(names, 1 / count), seed).clips
        folds = []
        for name in names:
            rest = replace(self, clips=tuple(clip for clip in assigned if clip.part != name))
            kept = iter(rest.split(validation=validation, test=0, seed=seed).clips)
            clips = tuple(clip._replace(part="test") if clip.part == name else next(kept) for clip in assigned)
            if not any(clip.part == "test" for clip in clips):
                raise ClipzooError(f"{self.root}: {count} folds are too many for the groups: one would test no clip")
            folds.append(replace(self, clips=clips))
        return folds

    def _assign(self, shares: dict[str, float], seed: int) -> ClipIndex:
        rows = [
            # Numbers are not balanced; clips of one file stay together.
            (clip.file, "\0".join(clip.names), clip.group or f"\0{clip.file}")
            for clip in self.clips
        ]
        parts = assign_parts(rows, shares=shares, seed=seed)
        return replace(self, clips=tuple(clip._replace(part=parts[clip.file]) for clip in self.clips))

    def windows(
        self,
        seconds: float,
        *,
        stride: float | None = None,
        workers: int = 2,
        advance: Callable[[], object] = lambda: None,
    ) -> ClipIndex:
        """Windows that slide over every clip, each a clip of its own with the same label, part and group.

        Args:
            seconds: how long a window is, > 0: as long as the movement lasts. A shorter clip is one window.
            stride: from one start to the next, seconds, > 0; half a window if left out.
            workers: threads that count frames.
            advance: called after each file, to show progress.

        Returns:
            All windows, clip by clip, no two alike; the last of a clip reaches its end.

        Raises:
            VideoError: a file whose frames or frame rate cannot be had.
            ClipzooError: a length out of range.
        """
        step = seconds / 2 if stride is None else stride
        if not 0 < seconds < float("inf") or not 0 < step < float("inf"):
            raise ClipzooError(f"windows need seconds ({seconds}) and stride ({step}) above 0, and not without end")

        def slide(position: int) -> list[Clip]:
            path, clip = self.path(position), self.clips[position]
            count, fps = frame_count(path)
            if not fps > 0:
                raise VideoError(path, "does not say its frame rate, which windows of seconds need")
            begin, end = frame_span(count, fps, clip.span, path)
            spans = windows(end - begin, max(1, round(seconds * fps)), max(1, round(step * fps)))
            advance()
            return [clip._replace(start=(begin + start) / fps, end=(begin + stop) / fps) for start, stop in spans]

        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            slid = list(pool.map(slide, range(len(self))))
        return replace(self, clips=tuple(clip for clips in slid for clip in clips))

    def require_every_class(self, part: str) -> None:
        """Raises ClipzooError where a class has no clip in `part`, or there is none in it at all."""
        held = {name for clip in self.clips if clip.part == part for name in clip.names}
        if not any(clip.part == part for clip in self.clips):
            raise ClipzooError(f"{self.root}: no clip in the part {part}; give more clips, or smaller shares")
        missing = [label for label in self.labels if label not in held] if self.task != "regression" else []
        if missing:
            raise ClipzooError(
                f"{self.root}: no clip of {some(missing)} in the part {part}; give more clips, smaller shares, "
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
        files = list(dict.fromkeys(clip.file for clip in self.clips))
        checked = check_readable([self.root / file for file in files], workers=workers, advance=advance)
        return self.without({file: error for file, error in zip(files, checked, strict=True) if error}, on_error)

    def without(
        self, broken: Mapping[str, VideoError], on_error: OnError = "skip"
    ) -> tuple[ClipIndex, list[VideoError]]:
        """Leaves out the clips of broken files, or raises for the first.

        Args:
            broken: file (relative to the root) -> what is wrong with it.
            on_error: `skip` or `fail`.

        Returns:
            The other clips, and the error of each file left out.

        Raises:
            VideoError: with `fail`, the first broken file.
            ClipzooError: a class has no readable clip.
        """
        kept = tuple(clip for clip in self.clips if clip.file not in broken)
        errors = [broken[file] for file in dict.fromkeys(clip.file for clip in self.clips) if file in broken]
        if errors and on_error == "fail":
            raise errors[0]
        left = {name for clip in kept for name in clip.names}
        for clip in self.clips:
            for name in clip.names:
                if name not in left:
                    raise ClipzooError(
                        f"{self.root}: class {name!r} has no readable clip; the first of its files: {broken[clip.file]}"
                    )
        if errors and not kept:
            raise ClipzooError(f"{self.root}: no readable clip; the first of its files: {errors[0]}")
        return replace(self, clips=kept), errors

    def with_labels(self, labels: Sequence[str]) -> ClipIndex:
        """The same clips with the classes of a model, in its order.

        Raises:
            ClipzooError: a clip has a class that is not among `labels`.
        """
        if self.task == "regression":
            foreign = [] if tuple(labels) == self.labels else list(self.labels)
        else:
            foreign = sorted({name for clip in self.clips for name in clip.names} - set(labels))
        if foreign:
            raise ClipzooError(
                f"{self.root}: the labels do not fit the model: it does not know {some(foreign)}; "
                f"it knows {some(list(labels))}"
            )
        return replace(self, labels=tuple(labels))


def some(names: Sequence[str], most: int = 12) -> str:
    """The first of a list of names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
