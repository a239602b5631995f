"""Rows of a large set of clips, written part by part beside the file that they become: none is computed twice."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.atomic import replacing, require_writable
from loaders.errors import ClipzooError, WriteError
from loaders.folder_lock import folder_lock
from loaders.index import ClipIndex
from loaders.printable import printable_name
from loaders.spread import Worker, map_chunks

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX = "clipzoo."
_MOST, _LEAST = 64, 4  # clips in a part
_GROUP = 4096  # rows that are read together from the merged file
_OTHER = {
    "time_limit": "time limit",
    "model_sha256": "model",
    "clips": "list or state of the clips",
}  # what differs, in a message


def clips_digest(index: ClipIndex, *, states: bool = True) -> str:
    """SHA-256 of the clips of an index, hexadecimal: where their files lie, and spans, in order.

    Args:
        index: the clips.
        states: with size and time of each file, so that what was answered of a file is not taken for its successor's.
    """
    digest, root = hashlib.sha256(), index.root.resolve()
    for clip in index:
        state = ""
        if states:
            with suppress(OSError, ValueError):  # said where it is read
                known = (root / clip.file).stat()
                state = f" {known.st_size} {known.st_mtime_ns}"
        digest.update(f"{root / clip.file}\0{clip.span}{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class ParquetParts:
    """Rows in a folder `NAME.parts` beside a file, each part a Parquet file that is written whole or not at all.

    Args:
        out: the file that they become.
        columns: name -> Arrow type.
        texts: what the rows are of, such as the model's digest; metadata of the schema, each key as `clipzoo.KEY`.
            Parts that are there must be of the same.
        count: of rows.
        least: rows of a part, but for the last.

    Raises:
        ClipzooError: no pyarrow, a place that cannot be written, or parts of something else.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        columns: Mapping[str, Any],
        texts: Mapping[str, str],
        count: int,
        least: int = _LEAST,
    ) -> None:
        require_pyarrow(out)
        import pyarrow as pa

        require_writable(out)
        self.out = Path(out)
        self.folder = _folder(self.out)
        self.schema: pa.Schema = pa.schema(columns.items(), {f"{_PREFIX}{key}": text for key, text in texts.items()})
        # By the count alone: a part is the same clips when the command runs again, with however many workers.
        size = max(least, min(_MOST, count // 32))
        self.ranges = [range(start, min(start + size, count)) for start in range(0, count, size)]
        for number in range(len(self.ranges)):
            if self._file(number).exists():
                self._check(self._file(number))

    def _check(self, part: Path) -> None:
        """Deletes a part that was cut short after it was written: its rows are answered again. Raises ClipzooError for
        a part of something else."""
        try:
            held = _texts(part)
        except (OSError, ValueError) as error:
            warnings.warn(f"{part}: damaged, and made anew ({str(error).splitlines()[0]})", stacklevel=2)
            part.unlink(missing_ok=True)
        else:
            self._require_same(held, f"{self.folder}: holds parts")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps another command from writing the same parts; the folder goes again where none was written.

        Raises:
            ClipzooError: one writes them now.
            WriteError: the folder cannot be made.
        """
        busy = f"{self.out}: another command writes it now; wait, or give another name"
        with folder_lock(self.folder, busy=busy):
            try:
                yield
            finally:
                if len(self.missing()) == len(self.ranges):
                    self.remove()

    def missing(self) -> dict[int, range]:
        """Numbers of the parts that are not written, and the places of their rows."""
        return {n: places for n, places in enumerate(self.ranges) if not self._file(n).exists()}

    def write(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a part; raises WriteError where the disk is full. A row's columns that are left out are null."""
        import pyarrow as pa
        import pyarrow.parquet

        columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in self.schema]
        with self._room(), replacing(self._file(number)) as partial:
            pyarrow.parquet.write_table(pa.Table.from_arrays(columns, schema=self.schema), partial)

    def tables(self) -> Iterator[pa.Table]:
        """The parts, all of which are written, in order.

        Raises:
            ClipzooError: one cannot be read.
        """
        import pyarrow.parquet

        for number in range(len(self.ranges)):
            try:
                table = pyarrow.parquet.read_table(self._file(number))
            except (OSError, ValueError) as error:
                raise ClipzooError(
                    f"{self._file(number)}: cannot be read ({error}); delete it, and run the command again"
                ) from None
            yield table

    def is_done(self) -> bool:
        """Whether the file is there, of the same clips; raises ClipzooError where it is anything else."""
        if not self.out.exists():
            return False
        try:
            held = _texts(self.out)
        except (OSError, ValueError) as error:
            raise ClipzooError(f"{self.out}: is no Parquet file that can be read ({error}); delete it") from None
        self._require_same(held, f"{self.out}: is there, and holds answers")
        self.remove()
        return True

    def merge(self) -> None:
        """Makes the parts the file, in order, and deletes them; raises WriteError where the disk is full."""
        import pyarrow as pa
        import pyarrow.parquet

        with (
            self._room(),
            replacing(self.out) as partial,
            pyarrow.parquet.ParquetWriter(partial, self.schema) as writer,
        ):
            held: list[pa.Table] = []
            for table in self.tables():
                held.append(table)
                if sum(map(len, held)) >= _GROUP:
                    writer.write_table(pa.concat_tables(held))
                    held = []
            if held:
                writer.write_table(pa.concat_tables(held))
        self.remove()

    def remove(self) -> None:
        """Deletes the parts."""
        remove_parts(self.out)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Says what to do where the disk is full."""
        try:
            yield
        except WriteError as error:
            whole = len(self.ranges) - len(self.missing())
            raise WriteError(
                error.path, error.reason, f"{whole} of {len(self.ranges)} parts are whole: make room, and run it again"
            ) from error

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.parquet"

    def _require_same(self, held: Mapping[str, str], what: str) -> None:
        wanted = {key.decode(): text.decode() for key, text in self.schema.metadata.items()}
        for key in wanted:
            if held.get(key) != wanted[key]:
                name = key.removeprefix(_PREFIX)
                raise ClipzooError(f"{what} of another {_OTHER.get(name, name)}; delete it, or give another name")


def _texts(path: Path) -> dict[str, str]:
    """The metadata of a Parquet file's schema; raises OSError or ValueError for what is none."""
    import pyarrow.parquet

    found = pyarrow.parquet.read_schema(path).metadata or {}
    return {key.decode(): text.decode() for key, text in found.items()}


def remove_parts(out: Path) -> None:
    """Deletes the parts that are beside a file, if any."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def fill_parts(
    parts: ParquetParts,
    items: Sequence[Any],
    make: Callable[..., Worker],
    *,
    lost: Callable[[Any], Mapping[str, Any]],
    ray: str | None,
    ray_workers: int | None,
    gpu: bool = False,
    advance: Callable[[int], object],
) -> None:
    """Writes the parts that are missing.

    Args:
        parts: where to.
        items: one for each row.
        make: see `map_chunks`, as for `lost`, `ray`, `ray_workers` and `gpu`.
        advance: called with the number of clips that are done, now or before.

    Raises:
        WriteError: the disk is full; the parts that are whole stay, and the message says how many.
        ClipzooError: as `map_chunks`.
    """
    missing = parts.missing()
    advance(len(items) - sum(map(len, missing.values())))
    chunks = {number: [items[place] for place in places] for number, places in missing.items()}
    answers = map_chunks(chunks, make, lost=lost, ray=ray, ray_workers=ray_workers, gpu=gpu)
    with closing(answers):
        for number, rows in answers:
            parts.write(number, rows)
            advance(len(rows))


def require_pyarrow(out: str | Path) -> None:
    """Raises ClipzooError unless Parquet can be written."""
    if not find_spec("pyarrow"):
        raise ClipzooError(f'{printable_name(str(out))}: Parquet needs pyarrow: pip install "clipzoo[parquet]"')
