"""What a result says of its machine and commit, and where what benchmarks make for themselves lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import machine
from tests.support.commands import ROOT


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def a_repository(folder: Path) -> str:
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def lie_in(monkeypatch: pytest.MonkeyPatch, folder: Path, *, checkout: bool) -> None:
    (folder / "benchmarks").mkdir(parents=True)
    if checkout:
        (folder / "pyproject.toml").touch()
    monkeypatch.setattr(machine, "ROOT", folder)


def test_a_checkout_s_commit_is_recorded_and_whether_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "clipzoo"
    head = a_repository(root)
    lie_in(monkeypatch, root, checkout=True)
    assert machine.commit() == head[:12] + "+"
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "second")
    assert machine.commit() == git(root, "rev-parse", "HEAD")[:12]
    (root / "COMMIT").write_text("abc+\n")
    assert machine.commit() == "abc+"  # of a parcel


@pytest.mark.parametrize("checkout", [False, True])
def test_no_other_repository_s_commit_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: bool
) -> None:
    """Installed in an environment that lies in somebody's repository, or copied into it."""
    a_repository(tmp_path / "theirs")
    lie_in(monkeypatch, tmp_path / "theirs" / "venv" / "site-packages", checkout=checkout)
    assert machine.commit() is None


def test_what_benchmarks_make_lies_in_the_checkout_or_in_the_user_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = machine.setup("inference", on_gpu=False)
    assert machine.models_folder() == ROOT / ".models"
    assert machine.default_path(found).parent == ROOT / "benchmarks" / "results" / found.machine
    lie_in(monkeypatch, tmp_path / "site-packages", checkout=False)
    assert machine.models_folder() == tmp_path / "cache" / "clipzoo" / "benchmarks"
    assert machine.default_path(found).parent == tmp_path / "results" / found.machine
    assert machine.default_path(found, quick=True).is_relative_to(tmp_path / "cache")


def test_benchmarks_start_where_there_are_neither_resource_nor_signals_of_unix(tmp_path: Path) -> None:
    """As on Windows."""
    script = (
        "import psutil, signal, sys\n"
        "sys.modules['resource'] = None\n"
        "del signal.SIGKILL\n"
        "import os; del os.sysconf, os.getloadavg\n"
        "import benchmarks.harness.workers, benchmarks.harness.runners\n"
        "from benchmarks.harness.machine import setup\n"
        "found = setup('inference', on_gpu=False)\n"
        "print(found.memory_gib > 0, found.load >= 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout == "True True\n", done.stderr


def test_busy_cores_are_those_that_the_processors_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.psutil, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine.psutil, "cpu_percent", lambda interval: 25.0)
    assert machine.busy_cores(5.0) == 2
    monkeypatch.setattr(machine.psutil, "getloadavg", lambda: (1.5, 0, 0))
    assert machine.busy_cores(0) == 1.5
