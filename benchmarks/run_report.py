"""A page about a run with all that is known of it: scores that it keeps or that are computed now, and speed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.harness.records import Results
from export.scoring import score
from loaders.atomic import require_writable
from loaders.digest import sha256
from loaders.errors import ClipzooError
from loaders.lists import existing_folder
from zoo.backend import start_backend
from zoo.report import Look, Speed, write_report
from zoo.run import Run
from zoo.run_scores import RunScores, keep, kept, matched
from zoo.scores import Scores

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


def report(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    scores: str | Path | None = None,
    compute: bool = True,
    videos: str | Path | None = None,
    workers: int = 2,
    say: Callable[[str], object] = lambda line: None,
    warn: Callable[[str], object] = lambda line: None,
    bar: Bar = lambda what, total: nullcontext(lambda: None),
) -> Path:
    """Writes a page about a run.

    Args:
        folder: the run.
        out: the HTML file; `report.html` in the run's folder, if left out.
        scores: a file of scores to show, of the clips of one split of the run; if left out, those that the run keeps.
        compute: whether to ask the model: for scores of the test clips where there are none, which are kept then
            (where a run has no test clips, of its validation clips), and for what its worst mistakes rest on.
        videos: the folder that the clips lie in now; where they lay in training, if left out.
        workers: threads that read clips.
        say: called with each line that a person should read.
        warn: called with each line on what could not be done.
        bar: called with what is done and how many steps it has, it yields what is called after each of them.

    Returns:
        The file.

    Raises:
        ClipzooError: no run, files of it that cannot be read, scores of other clips, or a page that cannot be written.
    """
    run = Run(existing_folder(folder))
    if not run.record.is_file():
        if run.checkpoint.is_file():
            raise ClipzooError(
                f"{folder}: its training was stopped in its first epoch, so there is nothing to report; go on with: "
                f"clipzoo train --resume {shlex.quote(str(folder))}"
            )
        raise ClipzooError(f"{folder}: is no run, it has no {run.record.name}; give a folder that clipzoo train wrote")
    if videos is not None:
        existing_folder(videos)
    require_writable(out if out is not None else run.report)  # before what takes long
    record = run.read_record()
    index = run.index(root=run.folder)
    root = Path(videos) if videos is not None else Path(record["videos"])
    begin = cache(lambda: say(start_backend()))  # whoever asks the model first
    held, why = None, ""
    if scores is not None:
        held = matched(Scores.load(scores), index)
    else:
        held = kept(run, index)
        if held is None and compute:
            held, why = _computed(run, root, begin, workers=workers, say=say, warn=warn, bar=bar)
    look = _look(run, begin, warn=warn) if compute and held is not None and root.is_dir() else None
    return write_report(run, out, scores=held, why_unscored=why, speeds=speeds(run.folder), videos=root, look=look)


def _look(run: Run, begin: Callable[[], object], *, warn: Callable[[str], object]) -> Look | None:
    """What says how much an answer rests on each frame; None where the model is gone, or has no feature maps."""
    if not run.model.is_file():
        return None
    begin()
    from zoo.explanation import GradCam
    from zoo.saving import load_model

    try:
        cam = GradCam(load_model(run.model))
    except ClipzooError as error:
        warn(f"no bars under frames: {error}")
        return None

    def look(clips: Mapping[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
        seen = cam.look({name: clip[None] for name, clip in clips.items()})
        return {name: heat[0] for name, heat in cam.heat(seen, [cam.place(label)]).items()}

    return look


def _computed(
    run: Run,
    root: Path,
    begin: Callable[[], object],
    *,
    workers: int,
    say: Callable[[str], object],
    warn: Callable[[str], object],
    bar: Bar,
) -> tuple[RunScores | None, str]:
    """Scores of the test clips, which are kept; or why there are none."""
    if not run.model.is_file():
        return None, f"The run has no {run.model.name}, so its clips cannot be scored."
    if not root.is_dir():
        warn(f"{root}: no such folder, so the clips are not scored; if they have moved, give --videos FOLDER")
        return None, _gone(root)
    index = run.index(root=root)
    split = next((each for each in ("test", "validation") if index.counts()[each]), None)
    if split is None:
        return None, "The run has no test clips and no validation clips to score."
    chosen = index.only(split)
    if not any(path.is_file() for path in chosen.paths):
        warn(f"{root}: none of the {len(chosen)} {split} clips is there; if they have moved, give --videos FOLDER")
        return None, _gone(root)
    begin()
    say(f"no scores are kept yet: scoring the {len(chosen)} {split} clips")
    with bar("scoring", len(chosen)) as advance:
        scores = score(run.model, chosen, workers=workers, on_error="skip", advance=advance)
    for error in scores.left_out:
        warn(f"left out: {error}")
    keep(run, scores)
    say(f"wrote {run.scores}")
    return matched(scores, index), ""


def _gone(root: Path) -> str:
    return f"The clips are not in {root} any more, so they were not scored; --videos FOLDER says where they are."


def speeds(folder: Path) -> list[Speed]:
    """What `clipzoo bench --json` wrote into a folder, oldest file first."""
    found = []
    files = {sha256(path): path.name for path in folder.glob("*.onnx")}
    for path in sorted(folder.glob("*.json*")):
        try:
            results = Results.load(path)
        except ClipzooError:  # another file of JSON
            continue
        for row in results.rows if results.setup.kind == "inference" else ():
            if row.measured:
                figures = row.summary()
                found.append(
                    Speed(
                        batch=row.batch,
                        clips_per_second=row.clips_per_second,
                        p50_ms=figures["p50_ms"],
                        p95_ms=figures["p95_ms"],
                        runner=row.name,
                        device=f"{results.setup.device}, {results.setup.cores} cores",
                        file=files.get(row.sha256 or "", f"{row.model}, a file that is not in the folder"),
                        measured=results.setup.started,
                    )
                )
    return found
