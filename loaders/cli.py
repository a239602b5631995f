"""What the commands share about clips: the options that choose them, and how they are checked and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from loaders.index import ClipIndex, index_csv, index_folder


class OnErrorChoice(StrEnum):
    """What to do with a file that cannot be read."""

    SKIP = "skip"
    FAIL = "fail"


def text_console(*, stderr: bool = False) -> Console:
    """Where commands print. File and class names may hold brackets, which are no markup; lines are not broken."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


def index_videos(videos: Path, split: Path | None) -> ClipIndex:
    """The clips under a folder: those of a CSV list, or all of them, a sub-folder a class."""
    return index_csv(split, root=videos) if split else index_folder(videos)


def drop_broken(index: ClipIndex, *, on_error: OnErrorChoice, workers: int, stderr: Console) -> ClipIndex:
    """Opens every file, names each broken one once on `stderr`, and leaves it out or raises as `on_error` says."""
    with bar(stderr, "checking clips", len(index)) as advance:
        kept, broken = index.readable(on_error=on_error.value, workers=workers, advance=advance)
    for error in broken:
        stderr.print(f"left out: {error}")
    return kept


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that goes away when done; yields what to call after each step."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
