"""What happens when in a long video: windows answered one by one, made into segments, and written for people."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from export.runtime import Classifier
from export.segments import Segment, find_segments, smooth
from loaders.atomic import replacing, require_writable, write_text
from loaders.check import near, number
from loaders.decode import frame_count
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.printable import printable_json, printable_name
from loaders.spans import Span
from loaders.spec import ClipSpec

ON, OFF = 0.6, 0.4
# Of models that see a whole clip, however long. Clips of actions are cut to some seconds; a shorter window finds the
# short ones, and smoothing and hysteresis join those of a long one.
SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What a model says of a video over time.

    Attributes:
        file: the video.
        model: name of the model.
        labels: names of the classes.
        window: seconds of a window, as asked for; a shorter video is one window.
        hop: seconds from the start of a window to that of the next, likewise; the last window reaches the end.
        on: the probability that a segment reaches.
        off: the probability that it nowhere falls below.
        least: seconds that a segment lasts at the least.
        spans: start and end of each window, seconds.
        probabilities: of each window, as `Classifier.predict` gives them for that span of the file alone; float32
            (windows, labels).
        segments: by start.
    """

    file: str
    model: str
    labels: tuple[str, ...]
    window: float
    hop: float
    on: float
    off: float
    least: float
    spans: tuple[Span, ...]
    probabilities: np.ndarray
    segments: tuple[Segment, ...]

    @property
    def times(self) -> np.ndarray:
        """The middle of each window, seconds, float64 (windows,)."""
        return np.array(self.spans, np.float64).mean(axis=1)

    @property
    def seconds(self) -> float:
        """How long the video is."""
        return self.spans[-1][1]

    @property
    def nothing(self) -> str:
        """Why there is no segment, where there is none, in words."""
        return f"no label reaches {self.on:.0%} and stays at {self.off:.0%} for {self.least:.3g} s"

    def write(self, path: str | Path) -> None:
        """Writes a file, whole or not at all; one that is there is replaced.

        | suffix | what is in it |
        |---|---|
        | `.png` | a picture: frames of the video, the segments as bars, the smoothed probabilities as curves |
        | `.json` | `segments`, `windows` with the probabilities of each (6 decimals), and all other attributes |
        | `.csv` | a row a segment: `start`, `end` (seconds), `label`, `confidence` |
        | `.vtt` | WebVTT, a cue a segment: captions for any player |

        Raises:
            VideoError: for a picture, the video is not there any more.
            ClipzooError: as `require_suffix` and `loaders.atomic.replacing`.
        """
        require_suffix(path)(self, Path(path))


def predict_timeline(
    model: Classifier | str | Path,
    path: str | Path,
    *,
    window: float | None = None,
    hop: float | None = None,
    on: float = ON,
    off: float = OFF,
    least: float | None = None,
    batch_size: int = 8,
    workers: int = 2,
) -> Timeline:
    """Reads a video in windows, in one pass, and finds the segments in which a label is there.

    The probability at an instant is the mean of the windows that show it; see `export.segments` for what a segment is.
    Of a model of several labels a clip, each label has segments of its own; else they do not overlap. What is kept in
    memory of the video are the windows that overlap.

    Args:
        model: an exported model of classes, or its file.
        path: the video file.
        window: seconds. Left out: as long as the clips of the model, `frames * stride` frames, for dense sampling;
            2 s for samplings that take a whole clip, however long it is.
        hop: from the start of a window to that of the next, seconds, 0 < hop <= window; half a window if left out.
        on: 0 < on <= 1: a segment reaches this probability.
        off: 0 <= off < on: it falls below this nowhere.
        least: seconds, >= 0: what is shorter is no segment; a window if left out.
        batch_size: windows that go through the network together, >= 1.
        workers: threads that read, >= 1.

    Raises:
        VideoError: no frame can be read, or the file does not say its frame rate.
        ClipzooError: a model of numbers, an argument out of range, or as `Classifier.scores`.
    """
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    metadata = classifier.metadata
    if not metadata.kind.classes:
        raise ClipzooError(
            f"{classifier.path}: answers with numbers, which make no segments; `clipzoo predict MODEL VIDEO --window 2 "
            "--json FILE` writes those of each window"
        )
    number("on", on, above=0, most=1)
    number("off", off, least=0, below=1)
    if off >= on:
        raise ClipzooError(f"off ({off:g}) must be below on ({on:g})")
    if window is not None:
        number("window", window, above=0, unit="seconds")
    if hop is not None:
        number("hop", hop, above=0, unit="seconds")
    if least is not None:
        number("least", least, least=0, unit="seconds")
    window = window or _clip_seconds(classifier.specs.values(), path)
    hop = hop or window / 2
    if hop > window:
        raise ClipzooError(
            f"hop ({hop:g} s) must be at most the window ({window:g} s), or parts of the video would not be seen"
        )
    index = ClipIndex(Path(path).parent, (Clip(Path(path).name),)).windows(window, stride=hop)
    spans = [clip.span for clip in index if clip.span]
    answers = classifier.answers(index.paths, spans=spans, batch_size=batch_size, workers=workers)
    probabilities = np.concatenate(list(answers))
    least = min(window, spans[0][1] - spans[0][0]) if least is None else least  # of a video that is shorter: its own
    edges, curve = smooth(spans, probabilities)
    segments = find_segments(
        edges, curve, metadata.labels, on=on, off=off, least=least, one_at_a_time=metadata.task == "classification"
    )
    return Timeline(
        file=str(path),
        model=metadata.model,
        labels=metadata.labels,
        window=window,
        hop=hop,
        on=on,
        off=off,
        least=least,
        spans=tuple(spans),
        probabilities=probabilities,
        segments=segments,
    )


def _clip_seconds(specs: Iterable[ClipSpec], path: str | Path) -> float:
    """How long a clip of a model is in a video, by the input that takes the most; see `predict_timeline`."""
    dense = [spec for spec in specs if spec.sampling == "dense"]
    fps = frame_count(path)[1] if dense else 0.0
    if not fps > 0:
        return SECONDS  # where a file has no frame rate, whoever makes windows says so
    found = []
    for spec in dense:
        stride = spec.stride if spec.interval is None else max(1, round(spec.interval * fps))
        # Flow and differences take some frames more; sampled neighbors some steps more.
        steps, reach = (spec.group - 1, 1) if spec.pairs == "sampled" else (0, spec.reach)
        frames = spec.frames + steps
        found.append(max(frames * stride, (frames - 1) * stride + reach))
    return max(found) / fps


def _write_png(timeline: Timeline, path: Path) -> None:
    from export.pictures import draw_timeline  # matplotlib, which an installation that only runs files has not

    draw_timeline(timeline, path)


def _write_json(timeline: Timeline, path: Path) -> None:
    held = ("file", "model", "labels", "window", "hop", "on", "off", "least")
    figures = {name: getattr(timeline, name) for name in held}
    figures["segments"] = [segment._asdict() for segment in timeline.segments]
    head = json.dumps(figures, indent=1, ensure_ascii=False).removesuffix("\n}")
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(printable_json(head) + ',\n "windows": [')
        for place, ((start, end), row) in enumerate(zip(timeline.spans, timeline.probabilities, strict=True)):
            values = np.round(row.astype(np.float64), 6).tolist()  # a line each: of an hour there are thousands
            window = json.dumps({"start": start, "end": end, "probabilities": values}, allow_nan=False)
            file.write(("," if place else "") + "\n  " + window)
        file.write("\n ]\n}\n")


def _write_csv(timeline: Timeline, path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Segment._fields)
    for start, end, label, confidence in timeline.segments:
        writer.writerow((f"{start:.3f}", f"{end:.3f}", label, f"{confidence:.4f}"))
    write_text(path, text.getvalue())


def _write_vtt(timeline: Timeline, path: Path) -> None:
    cues = ["WEBVTT\n"]
    for start, end, label, confidence in timeline.segments:
        begin = round(1000 * start)
        stop = max(begin + 1, round(1000 * end))  # a cue ends behind its start
        text = html.escape(printable_name(label), quote=False)
        cues.append(f"{_clock(begin)} --> {_clock(stop)}\n{text} {confidence:.0%}\n")
    write_text(path, "\n".join(cues))


def _clock(milliseconds: int) -> str:
    """A time as WebVTT has it: 01:02:03.456."""
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}"


_WRITERS: Mapping[str, Callable[[Timeline, Path], None]] = {
    ".png": _write_png,
    ".json": _write_json,
    ".csv": _write_csv,
    ".vtt": _write_vtt,
}


def require_suffix(path: str | Path) -> Callable[[Timeline, Path], None]:
    """What writes a timeline to a file by that name; to be called before the video is read.

    Raises:
        ClipzooError: no such suffix, no matplotlib for a picture, or a place that cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        said = f"ends in {suffix!r}" if suffix else "has no suffix"
        raise ClipzooError(f"{path}: {said}, and that says what a timeline is written as; {near(suffix, _WRITERS)}")
    if suffix == ".png" and not find_spec("matplotlib"):
        raise ClipzooError(
            f'{path}: a picture needs matplotlib: pip install "clipzoo[train]"; .json, .csv and .vtt need nothing'
        )
    require_writable(path)
    return _WRITERS[suffix]
