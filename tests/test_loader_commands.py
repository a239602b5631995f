"""`clipzoo scan`, `clipzoo cache` and `clipzoo show` as a person types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from loaders import ClipIndex, ClipSpec, DiskCache, Scan, index_files, index_folder, read_clip, scan
from tests.support.commands import clipzoo, invoke, refused


@pytest.fixture
def videos(tmp_path: Path, motion: ClipIndex) -> Path:
    root = tmp_path / "videos"
    for label in ("left", "up"):
        shutil.copytree(motion.root / label, root / label)
    (root / "up" / "broken [x].mp4").write_bytes(b"this is no video")
    return root


def test_scan_names_what_is_unusual(videos: Path, tmp_path: Path) -> None:
    done = clipzoo("scan", videos, "--json", tmp_path / "scan.json")
    assert done.returncode == 0, done.stderr
    assert "17 files: 16 can be read, 1 cannot" in done.stdout
    assert "up/broken [x].mp4" in done.stdout and "is not a video" in done.stdout
    figures = json.loads((tmp_path / "scan.json").read_text())
    assert sum(file["frames"] for file in figures["files"]) == 16 * 8
    assert "Traceback" not in done.stderr


def test_an_interrupted_scan_goes_on(motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out, seen = tmp_path / "videos", tmp_path / "scan.json", list[list[str]]()
    shutil.copytree(motion.root, root)

    def noted(index: ClipIndex, **given: Any) -> Scan:
        if len(seen) == 1:
            seen.append([])
            raise KeyboardInterrupt
        seen.append([clip.file for clip in index])
        return scan(index, **given)

    monkeypatch.setattr("loaders.scan_corpus.scan", noted)
    assert invoke("scan", root, "--json", out).returncode == 130
    assert not out.exists()
    (root / seen[0][0]).write_bytes(b"no video any more")
    assert "48 files: 47 can be read, 1 cannot" in invoke("scan", root, "--json", out).stdout
    assert [len(files) for files in seen] == [32, 0, 16, 1] and seen[3] == seen[0][:1]
    assert not out.with_name("scan.json.parts").exists()


def test_flat_folders_are_enough_to_scan_cache_and_show(motion: ClipIndex, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        shutil.copy(motion.path(number), flat / f"{number}.avi")
    assert "3 files: 3 can be read" in invoke("scan", flat, "--json", tmp_path / "scan.json").stdout
    spec = ("--spec", "frames=2,size=16")
    assert "3 clips: 3 made" in invoke("cache", flat, *spec, "--out", tmp_path / "cache").stdout
    assert "3 clips" in invoke("show", flat, *spec, "--out", tmp_path / "g.png").stdout
    assert [found.frames for found in scan(index_files(flat)).files] == [8, 8, 8]
    # Loose files beside classes, and a sub-folder without one, are no reason to leave anything out.
    shutil.copytree(motion.root / "left", flat / "left")
    assert "11 files: 11 can be read" in invoke("scan", flat).stdout
    (flat / "notes").mkdir()
    assert "11 files: 11 can be read" in invoke("scan", flat).stdout
    refused(invoke("scan", tmp_path / "nowhere"), "no such folder")
    refused(invoke("scan", flat / "notes"), "no video file")


def test_cache_fills_resumes_and_shards(videos: Path, tmp_path: Path) -> None:
    spec = "frames=4,size=16,modality=flow,stack=2,method=dis"
    out = tmp_path / "cache"
    first = clipzoo("cache", videos, "--spec", spec, "--out", out, "--shard", "1/2")
    assert first.returncode == 0, first.stderr
    assert "left out" not in first.stderr or "broken [x].mp4" in first.stderr
    again = invoke("cache", videos, "--spec", spec, "--out", out)
    made = [int(text.split(": ")[1].split(" made")[0]) for text in (first.stdout, again.stdout)]
    assert sum(made) == 16 and all(made)
    third = invoke("cache", videos, "--spec", spec, "--out", out)
    assert "0 made, 16 there already, 1 left out" in third.stdout
    wanted = ClipSpec(frames=4, height=16, width=16, modality="flow", stack=2)
    cache = DiskCache(out)
    path = index_folder(videos).path(0)
    before = len(list(out.glob("??/*.npy")))
    np.testing.assert_array_equal(read_clip(path, wanted, cache=cache), read_clip(path, wanted))
    assert len(list(out.glob("??/*.npy"))) == before > 0  # it was there
    refused(invoke("cache", videos, "--spec", spec, "--out", out, "--shard", "3/2"), "3/2", "I/N")
    refused(invoke("cache", videos, "--spec", spec, "--out", out, "--on-error", "fail"), "broken [x].mp4")


def test_cache_says_its_size_before_and_makes_cut_entries_anew(videos: Path, tmp_path: Path) -> None:
    (videos / "up" / "broken [x].mp4").unlink()
    out = tmp_path / "cache"
    fill = ("cache", videos, "--spec", "frames=4,size=128", "--out", out)
    done = invoke(*fill)
    assert done.stderr.startswith("to make: about 3.0 MiB; free: ")  # 16 clips of 4 * 128 * 128 * 3 bytes
    assert "16 made" in done.stdout and done.stdout.endswith("holds 3.0 MiB\n")
    entry = next(out.glob("??/*.npy"))
    os.truncate(entry, 5000)
    done = invoke(*fill)
    assert "to make: about 0.2 MiB" in done.stderr
    assert "16 clips: 1 made, 15 there already, 0 left out" in done.stdout
    assert f"{entry}: damaged, and made anew" in done.stderr
    more = ("cache", videos, "--spec", "frames=16384,size=16384", "--out", out)
    refused(invoke(*more), "about 196608.0 GiB are needed", "are free; make room")
    assert len(list(out.glob("??/*.npy"))) == 16


@pytest.mark.parametrize(
    "spec",
    [
        "frames=4,size=32",
        "frames=3,size=32,modality=flow_hsv",
        "frames=3,size=32,modality=gray",
        "frames=3,size=32,modality=grouped",
    ],
)
def test_show_draws_a_grid(videos: Path, tmp_path: Path, spec: str) -> None:
    (videos / "up" / "broken [x].mp4").unlink()
    done = (clipzoo if spec == "frames=4,size=32" else invoke)(
        "show", videos, "--spec", spec, "--out", tmp_path / "grid.png", "--clips", 3, "--augment"
    )
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(tmp_path / "grid.png"))
    assert picture.shape[0] > 200 and picture.std() > 10


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("frames=4", "lacks height, width"),
        ("frames=0,size=8", "frames (0)"),
        ("frames=4,size=8,color=red", "'color'"),
        ("frames=4,size=8,modality=flow,method=magic", "'magic'"),
        ("frames", "neither field=value"),
        ("frames=4,,", "must be field=value"),
    ],
)
def test_a_wrong_spec_is_named(videos: Path, spec: str, said: str) -> None:
    refused(invoke("show", videos, "--spec", spec), said)


def test_a_run_s_record_is_a_spec(videos: Path, tmp_path: Path) -> None:
    (videos / "up" / "broken [x].mp4").unlink()
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"specs": {"video": ClipSpec(frames=2, height=16, width=16).to_dict()}}))
    assert invoke("show", videos, "--spec", record, "--out", tmp_path / "grid.png").returncode == 0
    record.write_text("{}")
    refused(invoke("show", videos, "--spec", record), "lacks")


@pytest.mark.parametrize(
    ("package", "command"),
    [("pebble", ["scan"]), ("matplotlib", ["show", "--spec", "frames=2,size=16", "--out", "grid.png"])],
)
def test_what_is_not_installed_is_a_sentence(motion: ClipIndex, package: str, command: list[str]) -> None:
    words = ["clipzoo", command[0], str(motion.root), *command[1:]]
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv = {words!r}; import clipzoo; clipzoo.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f'error: this needs {package}, which is not installed: pip install "clipzoo[train]"\n'
