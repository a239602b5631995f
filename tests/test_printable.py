"""Names of files and classes are anybody's: none steers a terminal, and none with a null character is a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.table import Table

from loaders import (
    Clip,
    ClipIndex,
    ClipSpec,
    ClipzooError,
    DiskCache,
    MemoryCache,
    Scan,
    VideoError,
    index_csv,
    index_files,
    index_folder,
    index_pattern,
    read_clip,
)
from loaders.decode import check_readable
from loaders.printable import printable, printable_name
from loaders.terminal import text_console
from tests.support.commands import clipzoo, refused

SPEC = ClipSpec(frames=2, height=16, width=16)
RED = "\x1b[31mred"
STEERING = [RED, "bell\x07", "c1\x9b31m", "del\x7f", "rtl\u202egpj", "two\nlines", "tab\there", "\udcff", "cr\rx"]
HARMLESS = ["Füße heben", "می\u200cروم", "👩\u200d🚒", "क्\u200dष", "a\u00a0b", "名前"]


@pytest.mark.parametrize("name", STEERING)
def test_a_class_that_steers_terminals_is_refused_where_it_is_made(
    motion: ClipIndex, tmp_path: Path, name: str
) -> None:
    (tmp_path / "videos" / name).mkdir(parents=True)
    shutil.copy(motion.path(0), tmp_path / "videos" / name / "a.avi")
    for make in (
        lambda: index_folder(tmp_path / "videos"),
        lambda: index_pattern(f"{tmp_path}/videos/{{label}}/*.avi"),
        lambda: ClipIndex(tmp_path, (Clip("a.avi", (name, "x")),), (), "multilabel"),
        lambda: ClipIndex(tmp_path, (Clip("a.avi", (1.0,)),), (name,), "regression"),
    ):
        with pytest.raises(ClipzooError, match="holds a control character; rename it") as error:
            make()
        assert name not in str(error.value)
    if name == "\udcff":
        return  # no UTF-8, no list
    for text, options in (
        (f'file,label\na.avi,x\na.avi,"{name}y"\n', {}),
        (f'file,label\na.avi,x\na.avi,"z; {name}y"\n', {"task": "multilabel"}),
    ):
        (tmp_path / "list.csv").write_bytes(text.encode())
        with pytest.raises(ClipzooError, match=r"list\.csv: line \d has .*, which holds a control character") as error:
            index_csv(tmp_path / "list.csv", **options)  # type: ignore[arg-type]
        assert name not in str(error.value)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_of_all_languages_are_kept(name: str) -> None:
    assert printable(name) == printable_name(name) == name
    assert ClipIndex(Path(), (Clip("a", name),)).labels == (name,)


def test_what_is_printed_or_raised_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(RED, title=RED)
    table.add_row(RED)
    console = text_console()
    console.print(RED, "two\nlines")
    console.print(table)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and shown.count("\\x1b[31mred") == 4
    assert "two\nlines" in shown
    for error in (ClipzooError(f"{RED}: so"), VideoError(f"{RED}\n.avi", "so")):
        assert "\x1b" not in str(error) and "\\x1b[31mred" in str(error)
    assert str(VideoError("a\nb.avi", "so")) == "a\\nb.avi: so"


def test_commands_print_file_names_without_steering(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / f"{RED}.avi").write_bytes(motion.path(0).read_bytes()[:300])
    (tmp_path / "fine.avi").write_bytes(motion.path(0).read_bytes())
    done = clipzoo("scan", tmp_path)
    assert "2 files" in done.stdout and "\\x1b[31mred.avi" in done.stdout
    cached = clipzoo("cache", tmp_path, "--spec", "frames=2,size=16", "--out", tmp_path / "c")
    assert "\\x1b[31mred.avi" in cached.stderr
    (tmp_path / "videos" / RED).mkdir(parents=True)
    shutil.copy(motion.path(0), tmp_path / "videos" / RED / "a.avi")
    shown = clipzoo("show", tmp_path / "nowhere" / RED, "--spec", "frames=2,size=16")
    refused(shown, "\\x1b[31mred: no such folder")
    assert "\x1b" not in done.stdout + done.stderr + cached.stdout + cached.stderr + shown.stderr


def test_a_null_character_in_a_name_is_one_sentence(tmp_path: Path) -> None:
    name = f"{tmp_path}/a\0b.avi"
    for cache in (None, MemoryCache(), DiskCache(tmp_path / "c")):
        with pytest.raises(VideoError, match=r"a\\x00b\.avi: no file has a null character in its name"):
            read_clip(name, SPEC, cache=cache)
    for spec in (None, {"": SPEC.replace(short="error")}):
        (error,) = check_readable([name], specs=spec)
        assert "null character" in str(error)
    (error,) = check_readable(index_files(name).paths)
    assert "null character" in str(error)
    for make in (
        lambda: index_folder(name),
        lambda: index_csv(name),
        lambda: DiskCache(name),
        lambda: Scan.load(name),
        lambda: Scan(tmp_path, ()).save(name),
        lambda: Scan(tmp_path, ()).apply(ClipIndex(tmp_path, (Clip("a\0b", "x"),))),
    ):
        with pytest.raises(ClipzooError, match=r"a\\x00b"):
            make()
