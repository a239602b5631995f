"""Which clips there are: files, spans, labels, splits and groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from loaders.check import number, whole
from loaders.errors import ClipzooError, VideoError
from loaders.printable import printable_name
from loaders.sampling import windows
from loaders.spans import frame_span
from loaders.spec import ClipSpec
from loaders.split import SPLIT_NAMES, SPLITS, assign_splits
from loaders.tasks import Label, Task, TaskKind, label_names, task_kind

OnError = Literal["skip", "fail"]


class Clip(NamedTuple):
    """One sample of an index.

    Attributes:
        file: relative to the root.
        label: the class; or the classes (multilabel); or the numbers (regression); None where it is not known.
        split: train, validation or test; None where it is in none.
        group: what must not be torn between splits, such as the source video.
        start: where the clip begins in the file, seconds; None: the whole file.
        end: where it ends.
    """

    file: str
    label: Label = None
    split: str | None = None
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
        return label_names(self.label)


@dataclass(frozen=True)
class ClipIndex:
    """A list of clips under one folder.

    Attributes:
        root: the folder that the files are relative to.
        clips: the clips.
        labels: names of the classes, or of the numbers; their order is that of the model's outputs. Classes are found
            from the clips if left out.
        task: what the labels are: one class each, several, or numbers.

    Raises:
        ClipzooError: no such task, or a label that holds control characters, which would steer terminals.
    """

    root: Path
    clips: tuple[Clip, ...]
    labels: tuple[str, ...] = field(default=())
    task: Task = "classification"

    def __post_init__(self) -> None:
        task_kind(self.task)
        if not self.labels:
            object.__setattr__(self, "labels", tuple(sorted({name for clip in self.clips for name in clip.names})))
        for label in self.labels:
            if label != printable_name(label):
                raise ClipzooError(f"{self.root}: label {label!r} holds a control character; rename it")

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
    def labeled(self) -> bool:
        """Whether the labels of all clips are known."""
        return all(clip.label is not None for clip in self.clips)

    @property
    def kind(self) -> TaskKind:
        """What follows from the task."""
        return task_kind(self.task)

    @property
    def targets(self) -> np.ndarray:
        """Labels to measure against: int64 (clips,), positions among `labels`; or, for other tasks, as `encode` gives.

        Raises:
            ClipzooError: labels are missing.
        """
        return self.kind.targets(self._known(self.clips), self.labels)

    def encode(self, positions: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """What a model learns from: float32 (clips, labels), one-hot, several-hot, or the numbers.

        Args:
            positions: of the clips; all of them if left out.

        Raises:
            ClipzooError: labels are missing.
        """
        chosen = self.clips if positions is None else [self.clips[position] for position in positions]
        return self.kind.encode(self._known(chosen), self.labels)

    def class_weights(self) -> dict[int, float]:
        """Weights that make every class count alike: clips / (classes * clips of the class), for `fit`.

        Raises:
            ClipzooError: the clips do not have one class each.
        """
        if self.task != "classification":
            raise ClipzooError(f"class weights are for one class a clip, not for {self.task}")
        counts = np.bincount(self.targets, minlength=len(self.labels))
        return {place: len(self) / (len(self.labels) * int(n)) if n else 0.0 for place, n in enumerate(counts)}

    def _known(self, clips: Sequence[Clip]) -> list[Label]:
        for clip in clips:
            if clip.label is None:
                raise ClipzooError(f"{self.root}: {clip.file} has no label")
        return [clip.label for clip in clips]

    @property
    def is_split(self) -> bool:
        """Whether a split is given with the clips."""
        return any(clip.split for clip in self.clips)

    @property
    def has_groups(self) -> bool:
        """Whether groups are given with the clips."""
        return any(clip.group for clip in self.clips)

    def only(self, name: str) -> ClipIndex:
        """The clips of one split, with the labels of the whole.

        Raises:
            ClipzooError: no such split, or no clip in it.
        """
        wanted = SPLIT_NAMES.get(name.strip().lower())
        chosen = tuple(clip for clip in self.clips if clip.split == wanted) if wanted else ()
        if not chosen:
            found = Counter(clip.split or "in no split" for clip in self.clips)
            there = ", ".join(f"{n} {split}" for split, n in found.items())
            raise ClipzooError(f"{self.root}: no clip in the split {name!r}; there are {there or 'no clips'}")
        return replace(self, clips=chosen)

    def counts(self) -> dict[str, int]:
        """How many clips each split has: train, validation, test, in this order."""
        found = Counter(clip.split for clip in self.clips)
        return {split: found[split] for split in SPLITS}

    def split(self, *, validation: float | None = None, test: float | None = None, seed: int = 0) -> ClipIndex:
        """Gives every clip its split: seeded, stratified by class, and no group torn between two.

        Args:
            validation: share of the clips for validation, 0 <= validation < 1; likewise `test`; together below 1. Where
                one alone is given, the other is 0; where neither is, each is 0.15.
            test: see `validation`.
            seed: equal seeds give equal splits, whatever the order of the clips.

        Raises:
            ClipzooError: shares out of range, or a class that would have no clip to train on.
        """
        if validation is None and test is None:
            validation = test = 0.15
        validation, test = validation or 0.0, test or 0.0
        number("split share validation", validation, least=0, below=1)
        number("split share test", test, least=0, below=1)
        if validation + test >= 1:
            raise ClipzooError(f"split shares validation ({validation}) and test ({test}) must be below 1 together")
        shares = {"train": 1 - validation - test, "validation": validation, "test": test}
        done = self._assign(shares, seed)
        done.require_every_class("train")
        return done

    def folds(self, count: int, *, validation: float = 0.0, seed: int = 0) -> list[ClipIndex]:
        """Splits for cross-validation: each clip is in the test split of exactly one fold, no group is torn.

        Args:
            count: folds, >= 2.
            validation: share of what is not test that is kept apart for validation, 0 <= validation < 1.
            seed: equal seeds give equal folds.

        Raises:
            ClipzooError: an argument out of range, or a class without a clip to train on.
        """
        whole("folds", count, least=2, most=max(2, len(self)))
        names = [f"fold {number}" for number in range(count)]
        assigned = self._assign(dict.fromkeys(names, 1 / count), seed).clips
        folds = []
        for name in names:
            rest = replace(self, clips=tuple(clip for clip in assigned if clip.split != name))
            kept = iter(rest.split(validation=validation, test=0, seed=seed).clips)
            clips = tuple(clip._replace(split="test") if clip.split == name else next(kept) for clip in assigned)
            if not any(clip.split == "test" for clip in clips):
                raise ClipzooError(f"{self.root}: {count} folds are too many for the groups: one would test no clip")
            folds.append(replace(self, clips=clips))
        return folds

    def _assign(self, shares: dict[str, float], seed: int) -> ClipIndex:
        rows = [
            # Numbers are not balanced; clips of one file stay together.
            (clip.file, "\0".join(clip.names), clip.group or f"\0{clip.file}")
            for clip in self.clips
        ]
        splits = assign_splits(rows, shares=shares, seed=seed)
        return replace(self, clips=tuple(clip._replace(split=splits[clip.file]) for clip in self.clips))

    def windows(
        self,
        seconds: float,
        *,
        stride: float | None = None,
        workers: int = 2,
        advance: Callable[[], object] = lambda: None,
    ) -> ClipIndex:
        """Windows that slide over every clip, each a clip of its own with the same label, split and group.

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
        from loaders.decode import frame_count  # the index itself needs no OpenCV

        number("window", seconds, above=0, unit="seconds")
        step = seconds / 2 if stride is None else stride
        number("stride between windows", step, above=0, unit="seconds")

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

    def require_every_class(self, split: str) -> None:
        """Raises ClipzooError where a class has no clip in `split`, or there is none in it at all."""
        chosen = [clip for clip in self.clips if clip.split == split]
        held = {name for clip in chosen for name in clip.names}
        missing = [label for label in self.labels if label not in held] if self.kind.classes else []
        if chosen and not missing:
            return
        # What goes to a split as a whole: a class with few of them has none for a small share.
        wholes = {label: {c.group or c.file for c in self.clips if label in c.names} for label in missing}
        fewest = min(map(len, wholes.values()), default=len(self))
        share = math.ceil(100 / max(1, fewest)) / 100  # takes one of the class that has fewest
        cures = [f"more {'groups' if self.has_groups else 'clips'}{' of them' if missing else ''}"]
        if split == "train":
            cures.append("smaller shares for validation and test")
        elif share < 1:
            cures.insert(0, f"{split}={share:g} (--set recipe.{split}={share:g})")
        of = f"{fewest} {'group' if self.has_groups else 'clip'}{'' if fewest == 1 else 's'}"
        what = f"no clip{' of ' + some(missing) if missing else ''} in the split {split}"
        raise ClipzooError(
            f"{self.root}: {what}, whose share of {of} rounds to none; give {', '.join(cures)}, or a --list whose "
            "column `split` says where each clip belongs"
        )

    def readable(
        self,
        *,
        specs: Mapping[str, ClipSpec] | None = None,
        on_error: OnError = "skip",
        workers: int = 2,
        advance: Callable[[], object] = lambda: None,
    ) -> tuple[ClipIndex, list[VideoError]]:
        """Opens every file, decodes one frame and asks for what `specs` need, so that training meets no broken one.

        Args:
            specs: input name -> what will be read for it, as `zoo.specs(model)` says; left out, any frame is enough.
            on_error: `skip` leaves out clips that cannot be read, `fail` raises for the first.
            workers: threads.
            advance: called after each file, to show progress.

        Returns:
            The clips that can be read, and the errors of the others. A broken file is named once; of one with several
            spans only those go, and are named, that are too short or behind its end.

        Raises:
            VideoError: with `fail`, the first that cannot be read.
            ClipzooError: a class has no readable clip.
        """
        from loaders.decode import check_readable

        spans = [clip.span for clip in self.clips]
        return self.without(
            check_readable(self.paths, specs=specs, spans=spans, workers=workers, advance=advance), on_error
        )

    def without(
        self, errors: Sequence[VideoError | None], on_error: OnError = "skip"
    ) -> tuple[ClipIndex, list[VideoError]]:
        """Leaves out clips that cannot be read, or raises for the first.

        Args:
            errors: for each clip what is wrong with it, or None.
            on_error: `skip` or `fail`.

        Returns:
            The other clips, and each error once.

        Raises:
            VideoError: with `fail`, the first error.
            ClipzooError: a class has no readable clip.
        """
        found = list({str(error): error for error in errors if error}.values())
        if found and on_error == "fail":
            raise found[0]
        kept = tuple(clip for clip, error in zip(self.clips, errors, strict=True) if not error)
        left = {name for clip in kept for name in clip.names}
        for clip, error in zip(self.clips, errors, strict=True):
            for name in clip.names:
                if error and name not in left:
                    raise ClipzooError(
                        f"{self.root}: class {name!r} has no readable clip; the first of its files: {error}"
                    )
        if found and not kept:
            raise ClipzooError(f"{self.root}: no readable clip; the first of its files: {found[0]}")
        return replace(self, clips=kept), found

    def with_labels(self, labels: Sequence[str]) -> ClipIndex:
        """The same clips with the classes of a model, in its order.

        Raises:
            ClipzooError: a clip has a class that is not among `labels`.
        """
        if self.kind.classes:
            foreign = sorted({name for clip in self.clips for name in clip.names} - set(labels))
        else:
            foreign = [] if tuple(labels) == self.labels else list(self.labels)
        if foreign:
            raise ClipzooError(
                f"{self.root}: the labels do not fit the model: it does not know {some(foreign)}; "
                f"it knows {some(list(labels))}"
            )
        return replace(self, labels=tuple(labels))


def some(names: Sequence[str], most: int = 12) -> str:
    """The first of a list of names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
