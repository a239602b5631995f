"""What the tests share: real clips where they are, made clips otherwise."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from loaders import ClipIndex, draw_motion_clips

DATA = Path(os.environ.get("CLIPZOO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# A shell that starts the tests in the background has them ignore Ctrl-C, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, lists and weights; CLIPZOO_DATA names it."""
    if not DATA.is_dir():
        pytest.skip(f"no real clips at {DATA}; set CLIPZOO_DATA")
    return DATA


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> ClipIndex:
    """48 small real files, 8 a class."""
    return draw_motion_clips(tmp_path_factory.mktemp("motion"), clips=48, frames=8, seed=5)
