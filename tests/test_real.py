"""Figures of real clips: what a training leaves, and what the table makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import real
from loaders import ClipIndex, ClipzooError, write_csv
from tests.support.commands import invoke_script
from zoo.evaluation import wilson


def leave(folder: Path, name: str, **more: Any) -> None:
    row = {
        "clips": "fights", "model": "i3d", "seed": 0, "folds": 0, "said": {}, "training_top1": 0.9,
        "validation_top1": 0.8, "calibration_error": 0.1, "right": "1110", **more,
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(row))


def test_a_row_is_a_seed_and_folds_are_taken_together(tmp_path: Path) -> None:
    leave(tmp_path, "a")
    leave(tmp_path, "b", seed=1, right="1000")
    for number, right in enumerate(("11", "10")):
        leave(tmp_path, f"c{number}", model="dtpp", folds=2, right=right, said={"alpha": 0.5, "backbone_weights": "x"})
    leave(tmp_path, "d", model="tsm", folds=2)  # one of its folds is missing
    leave(tmp_path, "e", clips="hmdb21", right="0000")
    leave(tmp_path, "f", clips="hmdb21", right="0100", folds=1)  # another protocol is another row
    low, high = wilson(3, 4)
    rows = real.table(tmp_path).splitlines()
    assert f"| fights | i3d | 0 | 90.0% | 80.0% | 75.0% of 4 | {low:.1%} to {high:.1%} | 10.0% |" in rows
    assert f"| fights | dtpp, alpha 0.5 | 0 | 90.0% | 80.0% | 75.0% of 4 | {low:.1%} to {high:.1%} | 10.0% |" in rows
    assert len(rows) == 2 + 5
    assert real.shares("fights", tmp_path) == {"i3d": 0.5, "dtpp": 0.75}
    assert real.shares("ucf", tmp_path) == {} and real.table(tmp_path / "none") == ""


def test_a_broken_result_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ClipzooError, match=r"a\.json: cannot be read as a result"):
        real.table(tmp_path)


@pytest.mark.keras
@pytest.mark.slow
def test_a_training_leaves_its_figures_once(motion: ClipIndex, tmp_path: Path) -> None:
    index = motion.split(validation=0.2, test=0.3, seed=0)
    shutil.copytree(motion.root, tmp_path / "set")
    write_csv(index, tmp_path / "set" / "list.csv")
    command = ["real", tmp_path / "set" / "list.csv", "--model", "convnet_gru", "--out", tmp_path / "out"]
    small = [word for each in ("frames=3", "size=16", "width=0.125") for word in ("--set", each)]
    done = invoke_script(*command, *small)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").iterdir()
    row = json.loads(file.read_text())
    assert len(row["right"]) == len(row["files"]) == row["test_clips"] == len(index.only("test"))
    assert row["top1"] == pytest.approx(row["right"].count("1") / len(row["right"]))
    assert row["training_clips"] == len(index.only("train"))
    assert "is there" in invoke_script(*command, *small).stdout
