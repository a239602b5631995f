"""`python -m export.converter FOLDER`: the process that converts. It ends with the one that started it.

Whoever starts it holds the other end of its standard input. That end closes when that process is gone, however it
went; then this one takes its folder away and ends too. Its answer goes to standard output, JSON, so that a full disk
cannot swallow it; all else that is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path


def _end_with_parent(folder: Path) -> None:
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> int:
    """Reads `FOLDER/request.json`; returns the exit status."""
    folder = Path(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # libraries print past Python's sys.stdout too
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    from export.trace import answer  # seconds, in which the other process may end

    status, found = answer(folder)
    with os.fdopen(out, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return status


if __name__ == "__main__":
    sys.exit(main())
