"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loaders import ClipIndex, ClipzooError
from loaders.atomic import replacing, write_text
from loaders.errors import WriteError
from tests.support.commands import HANG


def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "model.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            assert partial.suffix == path.suffix
            assert path.read_text() == "old"
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == (tmp_path / "new folder").stat().st_mode & 0o666


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "file" / "x.json", "cannot be written")):
        with pytest.raises(ClipzooError, match=said) as error:
            write_text(path, "")
        assert str(path) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS"])
@pytest.mark.parametrize("kind", ["plain", "h5py", "closing", "wrapped"])
def test_what_a_disk_says_is_one_sentence_and_the_old_file_stays(tmp_path: Path, name: str, kind: str) -> None:
    path, number = tmp_path / "file.txt", getattr(errno, name)
    write_text(path, "old")
    said = f"(file write failed: time = Tue, errno = {number}, error message = 'so', buf = 0x1)"

    def fails() -> None:
        match kind:
            case "plain":
                raise OSError(number, os.strerror(number))
            case "h5py":
                raise OSError(f"Can't write data {said}")  # errno is None
            case "closing":
                raise RuntimeError(f"Can't decrement id ref count {said}")
        try:
            raise OSError(number, os.strerror(number))
        except OSError:
            raise ValueError("Can't close the archive while there is a handle open")  # noqa: B904  as zipfile does

    with pytest.raises(WriteError) as error, replacing(path) as partial:
        partial.write_text("half")
        fails()
    assert str(error.value) == f"{path}: cannot be written ({os.strerror(number)})"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [FileNotFoundError(errno.ENOENT, "no such"), RuntimeError("errno = 4"), KeyError("x")])
def test_what_no_disk_said_stays_what_it_is(tmp_path: Path, kind: Exception) -> None:
    with pytest.raises(type(kind)), replacing(tmp_path / "file.txt"):
        raise kind
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_at_the_end_is_a_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(WriteError, match="No space left on device"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_a_null_character_in_a_name_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match="cannot be written"):
        write_text(f"{tmp_path}/a\0b", "")


def limited(code: str, *arguments: object, most: int) -> subprocess.CompletedProcess[str]:
    """Runs code in a process whose files may not become larger than `most` bytes: a disk that is full."""
    start = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
    return subprocess.run(
        [sys.executable, "-c", start + code, *map(str, arguments)], capture_output=True, text=True, timeout=HANG
    )


COMMAND = "from clipzoo import main; main()"
LIST = """
from pathlib import Path
from loaders import Clip, ClipIndex, Scan, write_csv
from loaders.errors import ClipzooError
from loaders.scanning import Scanned
many = [f"{n}.mp4" for n in range(2000)]
try:
    if sys.argv[1] == "list":
        write_csv(ClipIndex(Path(), tuple(Clip(name, "x") for name in many)), sys.argv[2])
    else:
        Scan(Path(), tuple(Scanned(file=name) for name in many)).save(sys.argv[2])
except ClipzooError as error:
    sys.exit(f"error: {error}")
"""
MODEL = """
import keras
from loaders.atomic import replacing
from loaders.errors import ClipzooError
model = keras.Sequential([keras.layers.Input((300,)), keras.layers.Dense(300)])
for path in sys.argv[1:]:
    try:
        with replacing(path) as partial:
            model.save(partial)
    except ClipzooError as error:
        print(error)
"""


def full(path: Path, run: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    path.write_text("old")
    done = run()
    assert done.returncode
    assert done.stderr.splitlines()[-1] == f"error: {path}: cannot be written (File too large)", done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == "old"
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_full_disk_is_one_sentence_of_show(motion: ClipIndex, tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    spec = ("--spec", "frames=4,size=48", "--out", path)
    full(path, lambda: limited(COMMAND, "show", motion.root, *spec, most=10_000))


@pytest.mark.parametrize("what", ["list", "scan"])
def test_a_full_disk_is_one_sentence_of_lists_and_scans(tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    full(path, lambda: limited(LIST, what, path, most=10_000))


@pytest.mark.keras
@pytest.mark.either
@pytest.mark.slow
def test_a_full_disk_is_one_sentence_where_keras_saves(tmp_path: Path) -> None:
    paths = [tmp_path / "model.keras", tmp_path / "model.h5"]
    for path in paths:
        path.write_text("old")
    done = limited(MODEL, *paths, most=50_000)
    assert done.stdout.splitlines() == [f"{path}: cannot be written (File too large)" for path in paths], done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old", "old"]
