"""The errors that a user can act on. Commands print them as one sentence and end with `exit_status`."""

from __future__ import annotations

from pathlib import Path


class ClipzooError(ValueError):
    """Something the user gave cannot be used. The message names it, its value, and what to do."""

    exit_status = 2


class WriteError(ClipzooError):
    """A file that cannot be written."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be written ({reason})")
        self.reason = reason


class VideoError(ClipzooError):
    """A file from which no clip can be read."""

    def __init__(self, path: str | Path, reason: str) -> None:
        # A name that is not UTF-8 holds surrogates, which no terminal prints.
        super().__init__(f"{str(path).encode('utf-8', 'backslashreplace').decode()}: {reason}")
        self.path = str(path)
        self.reason = reason
