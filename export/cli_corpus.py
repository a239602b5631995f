"""`clipzoo predict --out`: many clips, into a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from loaders.errors import ClipzooError
from loaders.printable import printable_name
from loaders.terminal import bar, text_console


def write_corpus(model: Path, files: Sequence[Path], out: Path, console: Console, **options: Any) -> None:
    """Answers many clips, and says how many.

    Args:
        model: the ONNX file.
        files: videos, folders of them, or one CSV list, whose files are relative to its folder.
        out: the file to write.
        console: where to print.
        options: of `export.predict_corpus`.

    Raises:
        ClipzooError: as `export.predict_corpus`; or no clip has an answer, which the file says clip by clip.
    """
    from export.corpus import predict_corpus
    from loaders.lists import index_csv, index_files

    for path in files:
        if not path.exists():
            raise ClipzooError(f"{printable_name(str(path))}: no such file or folder")
    listed = len(files) == 1 and files[0].suffix.lower() == ".csv"
    index = index_csv(files[0], label=None) if listed else index_files(list(files))
    stderr = text_console(stderr=True)
    try:
        with bar(stderr, "answering", len(index)) as advance:
            done = predict_corpus(model, index, out, advance=advance, **options)
    except KeyboardInterrupt:
        stderr.print(f"stopped; what is answered is kept, and the same command goes on: {out}.parts")
        raise
    before = f", {done.before} of them before" if done.before else ""
    did = "wrote" if done.before < done.clips else "there already:"
    console.print(f"{did} {out}: {done.clips} clips{before}, {done.errors} with an error")
    if 0 < done.errors == done.clips:
        raise ClipzooError(f"{out}: no clip has an answer; the first error: {done.first_error}")
    if done.first_error:
        console.print(f"the first error: {done.first_error}")
