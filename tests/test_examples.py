"""The article's walk-through: the notebook is the script, and the script runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_notebook_is_the_script() -> None:
    script, notebook = (
        [(cell.cell_type, cell.source) for cell in jupytext.read(EXAMPLES / f"article.{suffix}").cells]
        for suffix in ("py", "ipynb")
    )
    assert len(script) > 10
    assert notebook == script, "say: jupytext --to ipynb examples/article.py"


@pytest.mark.keras
@pytest.mark.slow
def test_the_script_runs_on_drawn_clips(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "article.py"],
        cwd=tmp_path,
        env={**os.environ, "CLIPZOO_DATA": str(tmp_path), "OUT": "article", "EPOCHS": "1", "WIDTH": "0.125"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "(8, 5, 112, 112, 3) uint8" in done.stdout and "of 12 test clips" in done.stdout
    made = {path.name for path in (tmp_path / "article").iterdir()}
    assert made == {"clips", "convnet.png", "generator.png", "mobilenet"}
    assert (tmp_path / "article" / "mobilenet" / "model.onnx").stat().st_size > 0
