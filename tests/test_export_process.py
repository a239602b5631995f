"""The process that converts ends with the one that started it, leaves nothing behind, and says what the disk says."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from export import Metadata, to_onnx
from export.conversion_process import PREFIX, STALE, working_folder
from export.custom import import_modules
from loaders import ClipSpec, ClipzooError
from loaders.errors import WriteError
from tests.support.commands import HANG, ROOT, invoke, wait_for

FIXTURES = Path(__file__).parent / "fixtures"
RUN = FIXTURES / "old_run"


def converters(parent: int) -> list[int]:
    """Processes that a process started to convert."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(c) for c in children if b"export.converter" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended; nobody has asked how yet


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in Linux's /proc")
def test_a_killed_export_takes_its_converter_along_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "clipzoo", "export", str(RUN), str(tmp_path / "out" / "model.onnx")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        (child,) = wait_for(lambda: converters(process.pid))
        wait_for(lambda: list((tmp_path / "tmp").iterdir()))
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: is_gone(child))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_folders_that_others_left_behind_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young, other = (tmp_path / name for name in (f"{PREFIX}old", f"{PREFIX}young", "other"))
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "model.keras").write_bytes(b"x")
    for folder in (old, other):
        os.utime(folder, (time.time() - 2 * STALE,) * 2)
    with working_folder() as folder:
        assert {path.name for path in tmp_path.iterdir()} == {young.name, "other", folder.name}
    assert not folder.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ClipzooError, match=r"none: cannot be written .*TMPDIR"), working_folder():
        pass


def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(folder: Path) -> dict[str, Any]:
        (folder / "model.onnx").write_bytes(b"new")
        return {"props": Metadata.read(FIXTURES / "old.onnx").to_props(), "warnings": []}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("export.convert.convert_in_subprocess", answered)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(WriteError, match=r"model\.onnx.*No space left"):
            to_onnx(RUN, out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    to_onnx(RUN, out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_a_name_that_no_command_takes_for_an_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match=r"model\.txt: the name must end in \.onnx"):
        to_onnx(RUN, tmp_path / "model.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of files")
@pytest.mark.slow
def test_a_disk_that_is_full_for_the_converter_is_a_sentence(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: 8 KiB, less than the ONNX file of 19."""
    command = f'ulimit -f 8; exec "{sys.executable}" -m clipzoo export "{RUN}" "{tmp_path / "model.onnx"}"'
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert "model.onnx" in done.stderr and "File too large" in done.stderr and "TMPDIR" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_hands_on_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def to_onnx(run: Path, out: Path, **options: Any) -> None:
        given.update(options)
        raise ClipzooError("no more is needed")

    monkeypatch.setattr("export.convert.to_onnx", to_onnx)
    words = ("export", RUN, tmp_path / "model.onnx")
    assert "no more is needed" in invoke(*words).stderr
    assert given == {
        "task": None, "mean": 0, "std": 1, "modules": [], "opset": 17, "precision": "float32", "force": False,
        "features": False, "stream": False, "calibrate": None,
    }  # fmt: skip
    given.clear()
    (tmp_path / "labels.txt").write_text("a, b\n\nc\n", encoding="utf-8")
    options = (
        "--spec", "frames=3,height=8,width=10", "--labels", tmp_path / "labels.txt", "--task", "multilabel", "--std",
        "255", "--mean", "1,2,3", "--import", "a", "--import", "b.py", "--force", "--precision", "float16",
    )  # fmt: skip
    invoke(*words, *options)
    assert given == {
        "spec": {"video": ClipSpec(frames=3, height=8, width=10)}, "labels": ["a, b", "c"], "task": "multilabel",
        "mean": [1, 2, 3], "std": 255, "modules": ["a", "b.py"], "opset": 17, "precision": "float16", "force": True,
        "features": False, "stream": False, "calibrate": None,
    }  # fmt: skip
    invoke(*words, "--labels", "a, b")
    assert given["labels"] == ["a", "b"]
    for wrong, said in ((("--mean", "x"), "--mean 'x' must be a number"), (("--task", "zzz"), "zzz")):
        done = invoke(*words, *wrong)
        assert done.returncode == 2 and said in done.stderr


def test_a_module_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("1 / 0")
    for module, said in (
        (str(tmp_path / "failing.py"), "ZeroDivisionError"),
        ("no.such.module", "ModuleNotFoundError"),
    ):
        with pytest.raises(ClipzooError, match=said) as error:
            import_modules([module])
        assert module in str(error.value)
