"""The page: what lies in a run's folder, put into the template."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.printable import printable
from loaders.spec import ClipSpec
from loaders.tasks import TaskKind
from zoo.pictures import plot_curve
from zoo.report.facts import commands, model_facts, recipe_facts, splits
from zoo.report.figures import panel, svg
from zoo.report.mistakes import Look, strips, worst
from zoo.report.quality import quality, unscored
from zoo.run import Run
from zoo.run_scores import RunScores

MISTAKES = 12  # that are shown


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a file of the run's model is.

    Attributes:
        batch: clips at once.
        clips_per_second: throughput.
        p50_ms: milliseconds of a round, median.
        p95_ms: likewise, 95th percentile.
        runner: what computed it, and where.
        device: processor or GPU.
        file: the exported file, or the name of its model.
        measured: when, ISO 8601.
    """

    batch: int
    clips_per_second: float
    p50_ms: float
    p95_ms: float
    runner: str
    device: str
    file: str
    measured: str

    @property
    def where(self) -> str:
        """What computed it, on what, and when."""
        return f"{self.runner} on {self.device}, {self.measured[:10]}"


def write_report(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    scores: RunScores | None = None,
    why_unscored: str = "",
    speeds: Sequence[Speed] = (),
    videos: str | Path | None = None,
    look: Look | None = None,
) -> Path:
    """Writes one HTML file about a run: all that it shows is in it, and nothing in it asks for a network.

    Args:
        run: the run, or its folder.
        out: the file; `report.html` in the run's folder, if left out.
        scores: of the clips of one split; `zoo.run_scores.kept` has those that the run keeps. The page is made without
            them too.
        why_unscored: a sentence of the page where there are none.
        speeds: of the exported file.
        videos: the folder that the clips lie in now; where they lay in training, if left out.
        look: what says how much an answer rests on each frame: bars under the frames of the worst mistakes.

    Returns:
        The file.

    Raises:
        ClipzooError: the folder holds no run, or what it holds cannot be read; the page cannot be written.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    record, history = run.read_record(), run.read_history()
    index = run.index(root=run.folder)
    _require(run.record, ("model", "specs", "clips"), record)
    if history:
        _require(run.history, ("epoch", "loss", index.kind.metric, "best"), history[0])
    try:
        specs = {name: ClipSpec.from_dict(fields) for name, fields in record["specs"].items()}
        context = _context(run, record, index, specs, len(history))
    except (ClipzooError, KeyError, TypeError, AttributeError) as error:
        raise ClipzooError(f"{run.record}: cannot be read ({type(error).__name__}: {error})") from None
    held = quality(scores) if scores else None
    root = Path(videos or record["videos"])
    page = _template().render(
        **context,
        curves=_curves(history, index.kind),
        held=held,
        headline=held.headline if held else unscored(record, index.kind, record["clips"].get("validation", 0)),
        missing=scores.missing if scores else 0,
        why_unscored=why_unscored,
        speeds=speeds,
        **_mistakes(scores, root, specs, look),
    )
    path = Path(out) if out is not None else run.report
    write_text(path, page)
    return path


def _require(path: Path, wanted: Sequence[str], found: Mapping[str, Any]) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise ClipzooError(f"{path}: is damaged or of no run, it lacks {', '.join(missing)}")


def _context(
    run: Run, record: dict[str, Any], index: ClipIndex, specs: dict[str, ClipSpec], epochs: int
) -> dict[str, Any]:
    """What the record and the list of clips say."""
    folder = run.folder.resolve()
    typed, again = commands(Run(folder), record)
    onnx = sorted(folder.glob("*.onnx"))
    return {
        "title": f"{record['model']} on {Path(record['videos']).name}",
        "record": record,
        "kind": index.kind,
        "labels": index.labels,
        "count": index.kind.count(len(index.labels)),
        "model": model_facts(record, specs),
        "recipe": recipe_facts(record, epochs),
        "recipe_json": json.dumps(record.get("recipe") or {}, indent=2, ensure_ascii=False),
        "splits": splits(record, index),
        "typed": typed,
        "again": again,
        "run": shlex.quote(str(folder)),
        "onnx": shlex.quote(str(onnx[0] if onnx else folder / "model.onnx")),
        "bench": shlex.quote(str(folder / "bench.jsonl")),
        "exported": bool(onnx),
        "unfinished": _unfinished(run, record, epochs),
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _unfinished(run: Run, record: Mapping[str, Any], epochs: int) -> bool:
    """Whether there is more of this training to come; a checkpoint alone may be of one that is to replace it."""
    recipe = record.get("recipe") or {}
    again = recipe.get("refit") and "refit" not in record and record["clips"].get("validation")
    return run.checkpoint.is_file() and epochs > 0 and bool(epochs < recipe.get("epochs", epochs) or again)


def _curves(history: list[dict[str, float]], kind: TaskKind) -> list[Markup]:
    if not history:
        return []
    return [_curve(history, "loss", "Loss"), _curve(history, kind.metric, kind.title)]


def _curve(history: list[dict[str, float]], column: str, title: str) -> Markup:
    def draw() -> Figure:
        return panel(lambda axes: plot_curve(axes, history, column))

    return svg(f"curve-{column}", f"{title} by epoch", draw)


def _mistakes(scores: RunScores | None, root: Path, specs: dict[str, ClipSpec], look: Look | None) -> dict[str, Any]:
    """The worst mistakes with their frames, and how many there are."""
    if scores is None:
        return {"mistakes": [], "wrong": 0, "framed": False, "barred": False, "root": root}
    every = worst(scores.scores, most=len(scores.scores.files))
    shown = [(mistake, strips(scores, mistake, root, specs, look)) for mistake in every[:MISTAKES]]
    framed, barred = any(found for _, found in shown), any(strip.attention for _, found in shown for strip in found)
    return {"mistakes": shown, "wrong": len(every), "framed": framed, "barred": barred, "root": root}


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("zoo.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    return environment.get_template("report.html")


def _shown(value: object) -> object:
    """Names of files are anybody's: what is no text, or turns the direction of writing, is written out."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
