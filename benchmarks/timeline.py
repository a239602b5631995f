"""How well an ONNX file finds actions in long videos: `python -m benchmarks.timeline MODEL.onnx LIST.csv`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from benchmarks.harness.localization import OVERLAPS, average_precisions, mean_average_precision
from benchmarks.harness.records import OURS, Row
from benchmarks.harness.script import ResultFile, measuring, run_script
from export.runtime import Classifier
from export.segments import Segment
from export.timeline import OFF, ON, Timeline, predict_timeline
from loaders.decode import read_frames
from loaders.digest import sha256
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_csv
from loaders.motion_jpeg import write_motion_jpeg
from loaders.terminal import bar, text_console

FPS = 30.0
SIZE = (320, 240)  # width and height, pixels: those of HMDB51's clips


def main(
    model: Annotated[Path, typer.Argument(help="The .onnx file.")],
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split. Its folder holds the files.")],
    videos: Annotated[int, typer.Option(min=1, help="Long videos to make of the test clips.")] = 10,
    each: Annotated[int, typer.Option(min=1, help="Clips in one of them.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Of which clips, and their order.")] = 0,
    window: Annotated[float | None, typer.Option(help="Seconds; left out, as `clipzoo predict --timeline`.")] = None,
    hop: Annotated[float | None, typer.Option(help="Seconds; half a window if left out.")] = None,
    on: Annotated[float, typer.Option(help="Probability that a segment reaches.")] = ON,
    off: Annotated[float, typer.Option(help="Probability below which it ends.")] = OFF,
    least: Annotated[float | None, typer.Option(help="Seconds of a segment; a window if left out.")] = None,
    json_file: ResultFile = None,
) -> None:
    """Join test clips end to end, find their actions again, and give mean average precision at temporal overlaps."""
    console, stderr = text_console(), text_console(stderr=True)
    classifier = Classifier(model)
    index = index_csv(clips, root=clips.parent).only("test").with_labels(classifier.labels)
    orders = draw(index, videos=videos, each=each, seed=seed)
    found: dict[str, Timeline] = {}
    truth: dict[str, list[Segment]] = {}
    with tempfile.TemporaryDirectory() as folder, bar(stderr, "finding", videos) as advance:
        for number, order in enumerate(orders):
            path = Path(folder) / f"{number}.avi"
            truth[path.name] = join(index, order, path)
            found[path.name] = predict_timeline(classifier, path, window=window, hop=hop, on=on, off=off, least=least)
            path.unlink()
            advance()
    segments = {name: timeline.segments for name, timeline in found.items()}
    first = next(iter(found.values()))
    row = Row(
        model=classifier.metadata.model,
        runner=OURS,
        settings={
            "clips": clips.parent.name, "seed": str(seed),
            "windows": f"{first.window:.3g} s, one every {first.hop:.3g} s",
            "thresholds": f"{on:g} and {off:g}",
        },
        batch=videos,
        sha256=sha256(model),
        facts={
            "file": model.name, "each": each, "window": first.window, "hop": first.hop, "on": on, "off": off,
            "least": first.least, **scores(segments, truth),
            "found": {name: [list(segment) for segment in held] for name, held in segments.items()},
            "truth": {name: [list(segment) for segment in held] for name, held in truth.items()},
        },
    )  # fmt: skip
    made, right = (sum(map(len, held.values())) for held in (segments, truth))
    console.print(f"{model.name}: {made} segments, {right} true ones")
    with measuring("timeline", json_file, console, quick=False) as results:
        results.add(row)


def scores(found: dict[str, Any], truth: dict[str, list[Segment]]) -> dict[str, Any]:
    """Mean average precision, and that of each label, at each of `OVERLAPS`, ready for JSON."""
    return {
        "mean_average_precision": {str(o): mean_average_precision(found, truth, least=o) for o in OVERLAPS},
        "average_precision": {str(o): average_precisions(found, truth, least=o) for o in OVERLAPS},
    }


def draw(index: ClipIndex, *, videos: int, each: int, seed: int) -> list[list[int]]:
    """Which clips make each video, in order: positions in the index, none twice.

    Raises:
        ClipzooError: there are too few clips.
    """
    if videos * each > len(index):
        raise ClipzooError(
            f"{index.root}: {videos} videos of {each} clips take {videos * each}, and there are {len(index)} test "
            "clips; ask for less with --videos and --each"
        )
    order = np.random.default_rng(seed).permutation(len(index))[: videos * each]
    return order.reshape(videos, each).tolist()


def join(index: ClipIndex, order: Sequence[int], path: Path) -> list[Segment]:
    """Writes clips end to end as one video, all of one size and at 30 frames a second.

    Args:
        index: the clips, with one class each.
        order: positions of those to take.
        path: the .avi file (Motion JPEG, which every OpenCV writes).

    Returns:
        What happens when. Clips of one class that follow each other are one segment: nobody could say where it ends.

    Raises:
        VideoError: a clip cannot be read.
        WriteError: the disk is full.
    """
    truth: list[Segment] = []

    def frames() -> Iterator[np.ndarray]:
        written = 0
        for place in order:
            clip = read_frames(index.path(place), _Whole)
            yield from (clip.frames[number] for number in clip.shown)
            start, label = written / FPS, str(index[place].label)
            written += len(clip.shown)
            if truth and truth[-1].label == label:
                start = truth.pop().start
            truth.append(Segment(start, written / FPS, label, 1.0))

    write_motion_jpeg(path, frames(), FPS)
    return truth


class _Whole:
    """Visits every frame of a clip; `shown` are their numbers as they are shown at another rate, in the same time."""

    def __init__(self, count: int, fps: float) -> None:
        rate = fps if fps > 0 else FPS
        self.shown = [min(count - 1, int(n * rate / FPS)) for n in range(max(1, round(count * FPS / rate)))]
        self.wanted = frozenset(self.shown)
        self.frames: dict[int, np.ndarray] = {}

    def visit(self, number: int, frame: np.ndarray) -> None:
        self.frames[number] = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    run_script(main)
