"""Folders that commands write into."""

from __future__ import annotations

from pathlib import Path

from loaders.errors import ClipzooError


def entries(folder: Path) -> list[str]:
    """Names of what lies in a folder; none where there is no such folder yet.

    Raises:
        ClipzooError: it is a file, or cannot be read.
    """
    try:
        return [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ClipzooError(f"{folder}: is a file, or lies under one; give the name of a folder") from None
    except OSError as error:
        raise ClipzooError(f"{folder}: cannot be read ({error.strerror})") from None
