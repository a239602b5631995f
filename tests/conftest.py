"""What the tests share: real clips where they are, made clips otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from loaders import ClipIndex, draw_motion_clips
from tests.support.archives import SKIPPED, published
from tests.support.commands import clipzoo
from tests.support.forks import Forks

DATA = Path(os.environ.get("CLIPZOO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# A shell that starts the tests in the background has them ignore Ctrl-C, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Programs that XLA has compiled once are not compiled again, in whichever process: half of the time on JAX."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="clipzoo-xla-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What no backend changes is of the long suite on JAX, which is the slower one on a CPU.

    One process runs the tests of a file, and one those that use the run that is trained and exported for all of them.
    """
    for item in items:
        if os.environ.get("KERAS_BACKEND") == "jax" and item.get_closest_marker("either"):
            item.add_marker("slow")
        group = "run" if "run" in getattr(item, "fixturenames", ()) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    """A pytest that pytest-xdist does not know lets it pass over all groups, without a word."""
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError(f"pytest-xdist groups no tests under pytest {pytest.__version__}: see pyproject.toml")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests had no published weights: they prove that ours are right."""
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if SKIPPED in str(each.longrepr)]
    terminalreporter.write_line(f"tests skipped for want of published weights: {len(skipped)}")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, lists and weights; CLIPZOO_DATA names it."""
    if not DATA.is_dir():
        pytest.skip(f"no real clips at {DATA}; set CLIPZOO_DATA")
    return DATA


@pytest.fixture(scope="session")
def i3d_weights() -> Path:
    """I3D's Kinetics-400 weights, head included."""
    return published("i3d", "kinetics400")


@pytest.fixture(scope="module")
def stripes() -> Iterator[str]:
    """The name of a model that is made and trained in no time; see `tests.support.stripes`."""
    from tests.support.stripes import registered  # needs Keras

    with registered() as name:
        yield name


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> ClipIndex:
    """48 small real files, 8 a class."""
    return draw_motion_clips(tmp_path_factory.mktemp("motion"), clips=48, frames=8, seed=5)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, motion: ClipIndex) -> Path:
    """Two classes of the motion clips, and one broken file among them."""
    root = tmp_path_factory.mktemp("videos")
    for label in ("left", "up"):
        shutil.copytree(motion.root / label, root / label)
    (root / "up" / "broken.mp4").write_bytes(b"this is no video")
    return root


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """A short run on the two classes, trained by the command in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = clipzoo(
        "train", videos, "--model", "convnet_gru", "--out", out, "--epochs", 2, "--set", "recipe.batch=4",
        "--set", "frames=4", "--set", "size=16", "--set", "width=0.125", "--set", "dropout=0.1",
        "--set", "recipe.seed=3", "--set", "recipe.augmentation=noflip",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("broken.mp4") == 1  # named once
    assert "backend: " + os.environ.get("KERAS_BACKEND", "") in done.stdout
    assert "waiting for clips" in done.stdout
    assert len(done.stderr.splitlines()) == 1  # and nothing of TensorFlow's start
    return out


@pytest.fixture(scope="session")
def onnx_file(run: Path) -> Path:
    """That run, exported."""
    done = clipzoo("export", run, run / "model.onnx", "--force")  # two epochs tell little apart
    assert done.returncode == 0, done.stderr
    assert "validation clips of the run" in done.stdout
    return run / "model.onnx"


@pytest.fixture(scope="session", autouse=True)
def conversions() -> Iterator[None]:
    """Has conversions of this process import TensorFlow once; `onnx_file` is made as a user's is."""
    forks = Forks()
    with patch.object(subprocess, "run", forks.run(subprocess.run)):
        yield
    forks.close()
