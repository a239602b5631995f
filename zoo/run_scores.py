"""The scores that a run keeps of its own clips, so that they are computed once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from loaders.digest import sha256
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.split import SPLITS, Split
from zoo.run import Run
from zoo.scores import Scores


@dataclass(frozen=True)
class RunScores:
    """Scores of the clips of one split of a run.

    Attributes:
        scores: what the model gave.
        split: whose clips they are.
        clips: the clip of each row; None where several parts of one file may be meant.
        missing: clips of the split that have no score, as they could not be read.
    """

    scores: Scores
    split: Split
    clips: tuple[Clip | None, ...]
    missing: int


def kept(run: Run, index: ClipIndex) -> RunScores | None:
    """What `keep` kept; None where there is nothing, or it is of another model, split or clips than those of the run.

    Args:
        run: whose.
        index: its clips.

    Raises:
        ClipzooError: the file is there and cannot be read.
    """
    if not run.scores.is_file():
        return None
    scores = Scores.load(run.scores)
    if scores.model and run.model.is_file() and scores.model != sha256(run.model):
        return None
    try:
        return matched(scores, index)
    except ClipzooError:
        return None


def keep(run: Run, scores: Scores) -> None:
    """Writes scores that the run's model gave for the clips of one of its splits into the run's folder."""
    replace(scores, model=sha256(run.model)).save(run.scores)


def matched(scores: Scores, index: ClipIndex) -> RunScores:
    """Finds the clips of a run that scores are of.

    Raises:
        ClipzooError: task or labels are others, or the files are not those of one split.
    """
    if scores.task != index.task or not set(index.labels) <= set(scores.labels):
        raise ClipzooError(
            f"the scores are of {scores.task} with {', '.join(scores.labels)}; the run is of {index.task} with "
            f"{', '.join(index.labels)}"
        )
    wanted = Counter(scores.files)
    for split in reversed(SPLITS):
        clips = [clip for clip in index if clip.split == split]
        if wanted and wanted <= Counter(clip.file for clip in clips):
            return RunScores(scores, split, _clips(scores, clips), len(clips) - len(scores.files))
    raise ClipzooError("the scores are not of the clips of one split of the run")


def _clips(scores: Scores, clips: list[Clip]) -> tuple[Clip | None, ...]:
    """The clip of each row. Of a file with several parts, all of them in order, or none is known."""
    parts: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        parts[clip.file].append(clip)
    scored = Counter(scores.files)
    left = {file: iter(held if scored[file] == len(held) else ()) for file, held in parts.items()}
    return tuple(next(left[file], None) for file in scores.files)
