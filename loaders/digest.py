"""What a file holds, as a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PART = 1 << 20  # bytes


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content(path: Path) -> str:
    """Bytes of a file and their digest; of a large one, of three parts: another recording differs in each of them."""
    size, digest = path.stat().st_size, hashlib.sha256()
    large = size > 4 * _PART
    with path.open("rb") as file:
        for start in (0, size // 2, size - _PART) if large else range(0, size, _PART):
            file.seek(start)
            digest.update(file.read(_PART))
    return f"{size}\0{digest.hexdigest()}"
