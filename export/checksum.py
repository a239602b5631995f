"""The outside of an ONNX file: its metadata, and the SHA-256 that says that no byte of it has changed.

Only the top level of the file is read here, field by field, so that this is quick whatever the size, and nothing of a
damaged file reaches ONNX Runtime. Needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from loaders.errors import ClipzooError

# A file with the first key has the second one, so that a change to the name of the second is noticed too. The digest
# is over the whole file, with zeros in the place of its own 64 characters.
KIND_KEY, DIGEST_KEY = "clipzoo.digest", "clipzoo.sha256"
WITHOUT_CHECKSUM = {KIND_KEY: '"sha256"', DIGEST_KEY: f'"{"0" * 64}"'}

_METADATA_FIELD = 14  # of ModelProto: repeated StringStringEntryProto metadata_props
_LONGEST = 2**26  # bytes of one entry; a file that says more is damaged
_CHUNK = 2**20


class MetadataEntry(NamedTuple):
    """A value of the metadata.

    Attributes:
        value: its text, UTF-8.
        offset: where it begins in the file, bytes.
    """

    value: bytes
    offset: int


def read_props(path: str | Path) -> dict[str, str]:
    """The metadata of an ONNX file, key -> text; all of it, whoever wrote it.

    Raises:
        ClipzooError: no such file, not an ONNX file, or text that is not UTF-8.
    """
    with _opened(path) as file:
        entries = _entries(file, path)
    try:
        return {key.decode(): entry.value.decode() for key, entry in entries.items()}
    except UnicodeDecodeError:
        raise ClipzooError(f"{path}: has damaged metadata, text that is not UTF-8; export it again") from None


def verify(path: str | Path) -> None:
    """Checks that a file is, byte for byte, what was exported; nothing is checked of a file that has no digest.

    Raises:
        ClipzooError: no such file, not an ONNX file, or a byte of it has changed.
    """
    with _opened(path) as file:
        entries = _entries(file, path)
        if not {KIND_KEY.encode(), DIGEST_KEY.encode()} & set(entries):
            return  # of another tool, or of a clipzoo that wrote no digest
        held = entries.get(DIGEST_KEY.encode(), MetadataEntry(b"", 0))
        if not re.fullmatch(rb'"[0-9a-f]{64}"', held.value) or held.value[1:-1] != _digest(file, held.offset + 1):
            raise ClipzooError(
                f"{path}: is not what was exported, for its bytes do not give its SHA-256; copy it or export it again, "
                "or, if another tool changed it on purpose, open it with verify=False (--no-verify)"
            )


def add_checksum(model: bytes) -> bytes:
    """Puts the digest into the bytes of a file whose metadata holds `WITHOUT_CHECKSUM`."""
    file = io.BytesIO(model)
    offset = _entries(file, "model")[DIGEST_KEY.encode()].offset + 1
    sealed = bytearray(model)
    sealed[offset : offset + 64] = _digest(file, offset)
    return bytes(sealed)


def _opened(path: str | Path) -> BinaryIO:
    path = Path(path)
    try:
        first = f"export it first: clipzoo export {path} model.onnx"
        if path.is_dir():
            more = f"; {first}" if (path / "model.keras").is_file() else ""
            raise ClipzooError(f"{path}: is a folder, not an ONNX file{more}")
        if path.suffix == ".keras":
            raise ClipzooError(f"{path}: is a model of Keras, not an ONNX file; {first}")
        if not path.is_file():
            more = f"; if it is a preset, {first}" if path.name == str(path) and not path.suffix else ""
            raise ClipzooError(f"{path}: no such file{more}")
        return path.open("rb")
    except OSError as error:
        raise ClipzooError(f"{path}: cannot be read ({error.strerror})") from None


def _digest(file: BinaryIO, offset: int) -> bytes:
    """SHA-256, in hexadecimal, of a file in which the 64 bytes from `offset` are the character 0."""
    digest, position = hashlib.sha256(), 0
    file.seek(0)
    while chunk := file.read(_CHUNK):
        begin, end = offset - position, offset + 64 - position
        if begin < len(chunk) and end > 0:
            inside = range(max(0, begin), min(len(chunk), end))
            chunk = chunk[: inside.start] + b"0" * len(inside) + chunk[inside.stop :]
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest().encode()


def _entries(file: BinaryIO, path: str | Path) -> dict[bytes, MetadataEntry]:
    """The metadata of a file, whatever it holds; raises ClipzooError where the file is no protobuf message."""
    entries: dict[bytes, MetadataEntry] = {}
    if not file.seek(0, io.SEEK_END):
        raise ClipzooError(f"{path}: is empty; copy it or export it again")
    try:
        for number, start, length in _fields(file, file.seek(0, io.SEEK_END)):
            if number != _METADATA_FIELD:
                continue
            if length > _LONGEST:
                raise ValueError
            file.seek(start)
            entry = io.BytesIO(file.read(length))
            parts = {part: (entry.getvalue()[at : at + size], start + at) for part, at, size in _fields(entry, length)}
            key, value = parts.get(1, (b"", 0))[0], MetadataEntry(*parts.get(2, (b"", 0)))
            if key in entries:
                raise ValueError
            entries[key] = value
    except ValueError:
        raise ClipzooError(f"{path}: is not an ONNX file, or a damaged one; copy it or export it again") from None
    return entries


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, first byte and length of each field of a protobuf message; raises ValueError where there is none."""
    position = 0
    while position < end:
        tag, position = _varint(file, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            length = _varint(file, position)[1] - position
        elif kind == 2:
            length, position = _varint(file, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError
        if number == 0 or length > end - position:
            raise ValueError
        yield number, position, length
        position += length


def _varint(file: BinaryIO, position: int) -> tuple[int, int]:
    """A number of variable length, and where the next byte is."""
    file.seek(position)
    value = 0
    for shift, byte in enumerate(file.read(10)):
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, position + shift + 1
    raise ValueError
