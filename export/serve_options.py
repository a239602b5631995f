"""How a server runs a file, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from export.session import Provider
from loaders import check
from loaders.errors import ClipzooError


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a server runs a file, and what it takes.

    Attributes:
        root: the folder whose files may be asked for by path; None: uploads alone.
        batch: clips that go through the network together, at most; as many as wait. >= 1.
        workers: processes that read and compute, each with a copy of the model, >= 1.
        max_bytes: of a video, >= 1.
        max_seconds: of a video, by its frames and its frame rate, above 0.
        max_pixels: of a frame, by the file's header, >= 1; a few kilobytes may say gigabytes.
        timeout: from a request's head to its answer, seconds, above 0. A batch that takes longer ends its worker, and
            another is started.
        queue: requests in hand, >= 1; the disk holds no more uploads than that.
        provider: as `Classifier`.
        provider_options: as `Classifier`.
        verify: as `Classifier`.

    Raises:
        ClipzooError: a value is out of its range, or the root is no folder.
    """

    root: Path | None = None
    batch: int = 8
    workers: int = 2
    max_bytes: int = 2**26
    max_seconds: float = 60.0
    max_pixels: int = 7680 * 4320
    timeout: float = 30.0
    queue: int = 64
    provider: Provider = "cpu"
    provider_options: Mapping[str, str] | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "workers", "max_bytes", "max_pixels", "queue"):
            check.whole(name, getattr(self, name))
        for name in ("max_seconds", "timeout"):
            check.number(name, getattr(self, name), above=0, unit="s")
        check.choice("provider", self.provider, get_args(Provider))
        if self.root is not None and not self.root.is_dir():
            raise ClipzooError(f"root ({str(self.root)!r}) is no folder")
