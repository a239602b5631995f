"""Workers of Ray that a test holds while they have clips in hand, so that it can kill them there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.corpus import ClipWorker
from tests.support.commands import HANG


class HeldWorker(ClipWorker):
    """Says in a folder which clips it takes, and answers when there is a file `go`.

    Args:
        folder: where; a file for each chunk that is taken, `PID-NUMBER`, holds the names of its clips.
    """

    def __init__(self, *args: Any, folder: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._folder, self._taken = Path(folder), 0

    def __call__(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        beside = self._folder / f".{os.getpid()}"
        beside.write_text("\n".join(item.file for item in items))
        beside.rename(self._folder / f"{os.getpid()}-{self._taken}")
        self._taken += 1
        end = time.monotonic() + HANG
        while not (self._folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.05)
        return super().__call__(items)


class PoisonedWorker(ClipWorker):
    """Ends its process, as a decoder that crashes does, when it is given a certain file."""

    def __init__(self, *args: Any, poison: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._poison = poison

    def __call__(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        if any(item.file == self._poison for item in items):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(items)
