"""`clipzoo predict --timeline`: what happens when in one long video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from loaders.errors import ClipzooError


def write_timeline(
    model: Path,
    files: Sequence[Path],
    out: Sequence[Path],
    console: Console,
    *,
    session: Mapping[str, Any],
    **options: Any,
) -> None:
    """Finds the segments of a video, prints them, and writes them to files.

    Args:
        model: the ONNX file.
        files: the video, and no other.
        out: files to write.
        console: where to print.
        session: how the file is opened: options of `export.Classifier`.
        options: of `export.predict_timeline`; None is its default.

    Raises:
        ClipzooError: several videos, a file that cannot be written, or as `export.predict_timeline`.
    """
    from export.runtime import Classifier
    from export.timeline import predict_timeline, require_suffix
    from loaders.atomic import require_writable
    from loaders.lists import index_files

    for path in out:  # before the work
        require_suffix(path)
        require_writable(path)
    paths = index_files(list(files)).paths
    if len(paths) > 1:
        raise ClipzooError(f"--timeline {out[0]}: is of one video, and {len(paths)} are given; give them one by one")
    classifier = Classifier(model, **session)
    given = {name: value for name, value in options.items() if value is not None}
    with console.status("reading the video") if console.is_terminal else nullcontext():
        found = predict_timeline(classifier, paths[0], **given)
    count = len(found.spans)
    console.print(f"{count} window{'s' if count > 1 else ''} of {found.window:.3g} s, one every {found.hop:.3g} s")
    if found.segments:
        columns = ("start", "end", "label", "confidence")
        table = Table(*(Column(name, overflow="fold") for name in columns), title=found.file)
        for start, end, label, confidence in found.segments:
            table.add_row(f"{start:.2f} s", f"{end:.2f} s", label, f"{confidence:.1%}")
        console.print(table)
    else:
        place, highest = int(found.probabilities.max(axis=0).argmax()), float(found.probabilities.max())
        console.print(
            f"no segment: {found.nothing}; the highest of a window is {found.labels[place]}, {highest:.1%}; "
            "--on, --off and --least ask for less"
        )
    for path in out:
        found.write(path)
        console.print(f"wrote {path}")
