"""A run's folder belongs to one training at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loaders.errors import ClipzooError, WriteError
from loaders.folder_lock import LOCK, folder_lock
from zoo.run import NEW, Run


def require_free(out: str | Path, *, overwrite: bool = False, hint: str = "give another --out, or --overwrite") -> None:
    """Raises ClipzooError where `train` would not write a run: a file, a folder with any file of a run (`hint` says
    what to do then), or a folder that cannot be written.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ClipzooError(f"{folder}: is a file; a run is a folder")
    there = Run(folder).files
    if there and not overwrite:
        names = ", ".join(path.name for path in there)
        onward = f", or --resume {folder}" if Run(folder).checkpoint in there else ""
        raise ClipzooError(f"{folder}: holds a run already ({names}); {hint}{onward}")
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(folder, "no permission, or a disk that is read-only")


@contextmanager
def run_lock(folder: Path, *, overwrite: bool = False, again: bool = False) -> Iterator[None]:
    """Holds a folder for one training; whatever ends the process lets it go.

    Args:
        folder: of the run.
        overwrite: whether a run in it is to be replaced.
        again: whether the training of the run in it goes on.
    """

    def require() -> None:
        require_free(folder, overwrite=overwrite or again)

    require()
    fresh = not folder.exists()
    busy = f"{folder}: another training writes into it now; give another --out, or wait for it to end"
    with folder_lock(folder, busy=busy):
        require()  # another training may have ended meanwhile
        _sweep(folder)
        try:
            (folder / NEW).mkdir()  # what cannot be written is known before training
            (folder / NEW).rmdir()
        except OSError as error:
            raise WriteError(error.filename or folder, error.strerror or str(error)) from None
        try:
            yield
        finally:
            if fresh and not Run(folder).files:  # a mistake leaves no folder behind
                Run(folder).forget_training()
                shutil.rmtree(folder / NEW, ignore_errors=True)
                (folder / LOCK).unlink(missing_ok=True)
                with suppress(OSError):
                    folder.rmdir()


def _sweep(folder: Path) -> None:
    """Takes away what a kill left behind: files of a first epoch that never ended, and halves of files."""
    shutil.rmtree(folder / NEW, ignore_errors=True)
    for path in Run(folder).all_files:
        for half in folder.glob(f".{path.stem}-????????{path.suffix}"):  # as `loaders.atomic.replacing` names them
            half.unlink(missing_ok=True)
