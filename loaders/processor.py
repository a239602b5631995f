"""What the processor of this machine can do."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_x86() -> bool:
    """Whether it is one of Intel's or AMD's, or takes their instructions."""
    return platform.machine().lower() in ("x86_64", "amd64")


def has(*features: str) -> bool:
    """Whether it has one of some features, as Linux names them, such as `avx512_vnni`; False where Linux is not."""
    return not _flags().isdisjoint(features)


@cache
def _flags() -> frozenset[str]:
    with suppress(OSError):
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        return frozenset(found[1].split()) if found else frozenset()
    return frozenset()
