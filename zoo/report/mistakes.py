"""The worst mistakes of a model, and their frames as it gets them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from loaders.clip import read_inputs
from loaders.errors import ClipzooError
from loaders.index import Clip
from loaders.pictures import readable, spread
from loaders.spec import ClipSpec
from loaders.tasks import task_kind
from zoo.run_scores import RunScores
from zoo.scores import Scores

# Clip by input, uint8 (T, H, W, C), and a label -> its heat by input, float32 (T, H, W), 0 to 1; see `zoo.explain`.
Look = Callable[[Mapping[str, np.ndarray], str], Mapping[str, np.ndarray]]

_FRAMES = 8  # of a clip
_TALL = 144  # pixels, at most
_QUALITY = 82  # of JPEG, 0 to 100


@dataclass(frozen=True)
class Mistake:
    """A clip that was answered wrong.

    Attributes:
        row: its place among the scores.
        file: its name.
        truth: what is right.
        answer: what the model said.
        confidence: of the answer, for people; empty for numbers.
        label: that was answered wrong; empty for numbers.
    """

    row: int
    file: str
    truth: str
    answer: str
    confidence: str
    label: str


@dataclass(frozen=True)
class Strip:
    """Frames of one input of a clip.

    Attributes:
        name: of the input.
        frames: `data:` addresses of JPEGs, evenly spread over the clip.
        count: how many frames the model gets.
        small: whether they are to be drawn larger than they are.
        attention: how much the answer rests on each of the frames, percent of the most; none if not known.
    """

    name: str
    frames: list[str]
    count: int
    small: bool
    attention: list[int]


def worst(scores: Scores, *, most: int) -> list[Mistake]:
    """The mistakes that the model was most sure of; for numbers, the largest errors over their root mean square."""
    answers, truth = scores.probabilities, np.asarray(scores.targets)
    if scores.task == "classification":
        said, sure = answers.argmax(axis=1), answers.max(axis=1)
        wrong = said != truth
        texts = [
            (scores.labels[t], scores.labels[a], f"{p:.1%}", scores.labels[a])
            for t, a, p in zip(truth, said, sure, strict=True)
        ]
    elif scores.task == "multilabel":
        missed = task_kind(scores.task).decide(answers) != truth.astype(bool)
        gaps = np.abs(answers - truth) * missed
        label, sure, wrong = gaps.argmax(axis=1), gaps.max(axis=1), missed.any(axis=1)
        texts = []
        for row, (place, p) in enumerate(zip(label, sure, strict=True)):
            name, there = scores.labels[place], bool(truth[row, place])
            texts.append((name if there else f"no {name}", f"no {name}" if there else name, f"{p:.1%}", name))
    else:
        errors = answers - truth
        sure = np.abs(errors / np.maximum(1e-30, np.sqrt((errors**2).mean(axis=0)))).max(axis=1)
        wrong = sure > 0
        shown = ([_numbers(scores.labels, row) for row in rows] for rows in (truth, answers))
        texts = [(true, said, "", "") for true, said in zip(*shown, strict=True)]
    order = [row for row in np.argsort(-sure, kind="stable").tolist() if wrong[row]]
    return [Mistake(row, scores.files[row], *texts[row]) for row in order[:most]]


def _numbers(labels: tuple[str, ...], values: np.ndarray) -> str:
    return ", ".join(f"{label} {value:.4g}" for label, value in zip(labels, values, strict=True))


def strips(
    held: RunScores, mistake: Mistake, root: Path, specs: Mapping[str, ClipSpec], look: Look | None = None
) -> list[Strip]:
    """The frames of a clip, input by input; none where they cannot be read.

    Args:
        held: scores of the run.
        mistake: one of theirs.
        root: the folder of the clips.
        specs: input name -> ClipSpec.
        look: what says how much an answer rests on each frame.
    """
    clip = held.clips[mistake.row]
    try:
        return _strips(clip, mistake.label, root, specs, look) if clip is not None else []
    except ClipzooError:
        return []


def _strips(clip: Clip, label: str, root: Path, specs: Mapping[str, ClipSpec], look: Look | None) -> list[Strip]:
    found = []
    clips = read_inputs(root / clip.file, specs, span=clip.span)
    heat = look(clips, label) if look is not None and label else {}
    for name, pixels in clips.items():
        frames = readable(pixels, specs[name])
        places = spread(len(frames), _FRAMES)
        small = frames.shape[1] < _TALL // 2
        warm = heat[name].mean(axis=(1, 2)) if name in heat else np.zeros(0)
        attention = [round(100 * float(warm[place] / warm.max())) for place in places] if warm.any() else []
        found.append(Strip(name, [_address(frames[place]) for place in places], len(frames), small, attention))
    return found


def _address(frame: np.ndarray) -> str:
    """A frame, uint8 (height, width, 3 or 1), RGB or gray, as what `src` of an image takes."""
    height, width = frame.shape[:2]
    if height > _TALL:
        size = max(1, round(width * _TALL / height)), _TALL
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).reshape(_TALL, size[0], -1)
    _, written = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(written.tobytes()).decode()}"
