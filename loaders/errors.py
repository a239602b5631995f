"""The errors that a user can act on. Commands print them as one sentence and end with `exit_status`."""

from __future__ import annotations

from pathlib import Path

from loaders.printable import printable, printable_name


class ClipzooError(ValueError):
    """Something the user gave cannot be used. The message names it, its value, and what to do."""

    exit_status = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))  # names of files and classes are anybody's


class WriteError(ClipzooError):
    """A file that cannot be written."""

    def __init__(self, path: str | Path, reason: str, advice: str = "") -> None:
        more = f"; {advice}" if advice else ""
        super().__init__(f"{printable_name(str(path))}: cannot be written ({reason}){more}")
        self.path = str(path)
        self.reason = reason


class VideoError(ClipzooError):
    """A file from which no clip can be read."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{printable_name(str(path))}: {reason}")
        self.path = str(path)
        self.reason = reason
