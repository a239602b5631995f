"""The main job on made clips: draw, train, export, classify with the ONNX file, measure; and what a preset sees."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from benchmarks.inference import bench
from export.convert import to_onnx
from export.prediction import Prediction
from export.runtime import Classifier
from export.scoring import score
from loaders.clip import read_clip
from loaders.decode import check_readable
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.motion import MOTIONS, draw_motion_clips
from loaders.pictures import draw_clips
from loaders.spec import ClipSpec
from loaders.terminal import bar
from zoo.evaluation import Evaluation
from zoo.learning import train
from zoo.pictures import draw_confusion
from zoo.presets import preset, weights_file
from zoo.progress import RichProgress
from zoo.recipe import Recipe
from zoo.registry import input_specs
from zoo.run import Run
from zoo.run_lock import require_free

MODEL = "convnet_gru"
OPTIONS: dict[str, Any] = {"frames": 6, "size": 32, "width": 0.25, "dropout": 0.0}
PRESET, ANSWERS = "i3d_kinetics400", 5


def demo(
    out: str | Path,
    *,
    clips: int = 600,
    epochs: int = 12,
    seed: int = 0,
    video: str | Path | None = None,
    console: Console,
) -> Evaluation:
    """Draws motion clips, trains a small ConvNet+GRU, exports it, and classifies the test part with the ONNX file; then
    names the action in a video, by a preset.

    Args:
        out: the folder for clips, models and pictures; clips of an earlier demo are drawn anew.
        clips: how many to draw.
        epochs: of training.
        seed: of everything random.
        video: what the preset is asked about; one of the drawn clips if left out.
        console: where to print.

    Returns:
        How good the ONNX file is on the test clips, which training never saw.

    Raises:
        ClipzooError: the folder holds a run that no demo made there.
        VideoError: `video` cannot be read.
    """
    out = Path(out)
    for error in check_readable([video] if video is not None else []):
        if error is not None:
            raise error
    require_free(out, overwrite=_own(out), hint="give another --out")
    begun = time.perf_counter()
    with bar(console, "drawing clips", clips) as advance:
        drawn = draw_motion_clips(out / "clips", clips=clips, seed=seed, advance=advance)
    index = drawn.split(seed=seed)
    console.print(f"drew {len(index)} clips of {len(MOTIONS)} motions in {out / 'clips'}")
    grid = _draw_grid(index, input_specs(MODEL, **OPTIONS)["video"], out / "clips.png")
    progress = RichProgress(console)
    recipe = Recipe(epochs=epochs, patience=2, augmentation="none", seed=seed)
    try:
        run = train(
            index, MODEL, recipe, out=out, options=OPTIONS, overwrite=True, callbacks=[progress], say=console.print
        )
    finally:
        progress.stop()
    file = out / "model.onnx"
    metadata = to_onnx(run.folder, file)
    console.print(f"exported {file}; parity {metadata.parity['probabilities']:.1g} in probability")
    test = index.only("test")
    result = score(file, test).evaluate()
    assert isinstance(result, Evaluation)
    draw_confusion(result, run.confusion)
    speed = bench(file, seconds=1.0)
    low, high = result.interval
    table = Table("what", "figure", title="clipzoo demo")
    table.add_row("test clips, classified by the ONNX file", str(result.clips))
    table.add_row("right (top-1)", f"{result.top1:.1%} (95 % interval {low:.1%} to {high:.1%})")
    for row in speed:
        table.add_row(f"ONNX Runtime, batch {row.batch}", f"{row.clips_per_second:.0f} clips/s")
    table.add_row("all of it took", f"{time.perf_counter() - begun:.0f} s")
    for what, path in (
        ("sample clips", grid),
        ("learning curves", run.curves),
        ("confusion matrix", run.confusion),
        ("the model", file),
    ):
        table.add_row(what, str(path))
    console.print(table)
    if video is None:
        video = test.paths[0]
        console.print(f"{PRESET} is asked about a drawn clip, which shows none of its actions; --video FILE is better")
    named = name_action(video, out / "i3d.onnx", console=console)
    console.print(f"next: clipzoo predict {shlex.join([str(out / 'i3d.onnx' if named else file), str(video)])}")
    return result


def name_action(video: str | Path, file: Path, *, console: Console) -> Prediction | None:
    """Exports a preset, a model that others trained, and has the ONNX file name the action in a video.

    Args:
        video: the video.
        file: the ONNX file to write.
        console: where to print the likeliest classes.

    Returns:
        The answer; None where the weights cannot be had, which one line says.

    Raises:
        VideoError: the video cannot be read.
        ClipzooError: as `export.to_onnx`.
    """
    chosen = preset(PRESET)
    try:
        weights_file(chosen.source)
    except ClipzooError as error:
        console.print(f"left out: naming the action in {video} by {PRESET}, for want of its weights ({error})")
        return None
    console.print(f"exporting {PRESET}")
    to_onnx(chosen.name, file)
    console.print(f"exported {file}")
    found: Prediction = Classifier(file).predict(video)
    table = Table(*(Column(name, overflow="fold") for name in (f"what {video} shows", "probability")))
    for label, probability in list(found.probabilities.items())[:ANSWERS]:
        table.add_row(label, f"{probability:.1%}")
    console.print(table)
    return found


def _own(out: Path) -> bool:
    """Whether the run in a folder, if there is one, learnt from the clips that a demo drew there."""
    with suppress(ClipzooError):  # no record, so nobody knows
        return Path(Run(out).read_record()["videos"]) == (out / "clips").resolve()
    return False


def _draw_grid(index: ClipIndex, spec: ClipSpec, path: Path) -> Path:
    """One clip of each class."""
    first = {clip.label: position for position, clip in reversed(list(enumerate(index)))}
    clips = np.stack([read_clip(index.path(first[label]), spec) for label in index.labels])
    draw_clips(clips, index.labels, path)
    return path
