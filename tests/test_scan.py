"""Scan: what it says of each real file, and that nothing can hang or crash it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import loaders.decode
import loaders.scanning
from loaders import Clip, ClipIndex, ClipSpec, ClipzooError, Scan, read_clip, scan
from loaders.scan_corpus import scan_corpus
from tests.support.commands import HANG, wait_for

TRUE = {
    "corrupted.mp4": (28, "header says 50"),
    "tree.avi": (68, "header says 444"),
    "flipping_a_pancake.mkv": (310, "header says 311"),
    "var_fps_video.mp4": (300, "variable rate"),
    "video_90.mov": (3, "rotated by 90"),
    "av1_video.mkv": (0, "yields no frame"),
    "audio_only_nasa.mp3": (0, "is not a video"),
    "v_Basketball_g01_c01.avi": (141, ""),
    "newtonscradle.gif": (36, "variable rate"),
}


@pytest.fixture(scope="module")
def scanned(data: Path) -> Scan:
    return scan(ClipIndex(data / "clips", tuple(Clip(name, "x") for name in TRUE)), workers=2)


def test_every_file_is_described(scanned: Scan) -> None:
    for found in scanned.files:
        frames, note = TRUE[found.file]
        assert found.frames == frames
        assert note in "; ".join(found.notes) if note else found.notes == []
    by_name = {found.file: found for found in scanned.files}
    ball = by_name["v_Basketball_g01_c01.avi"]
    assert (ball.width, ball.height, ball.header_frames) == (320, 240, 141)
    assert ball.seconds == pytest.approx(141 / 29.97, abs=0.01)
    turned = by_name["video_90.mov"]
    assert (turned.width, turned.height) == (320, 568)
    assert [found.file for found in loaders.scanning.unusual(scanned.files)][:2] == [
        "audio_only_nasa.mp3",
        "av1_video.mkv",
    ]


def test_a_scan_spares_training_the_checks_and_the_second_pass(
    scanned: Scan, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned.save(tmp_path / "scan.json")
    loaders.decode._COUNTS.clear()
    index = ClipIndex(data / "clips", tuple(Clip(name, "x") for name in TRUE))
    kept, broken = Scan.load(tmp_path / "scan.json").apply(index)
    assert {Path(error.path).name for error in broken} == {"av1_video.mkv", "audio_only_nasa.mp3"}
    assert len(kept) == len(TRUE) - 2
    opened: list[str] = []
    real = loaders.decode.open_video
    monkeypatch.setattr(loaders.decode, "open_video", lambda path: opened.append(path) or real(path))  # type: ignore[func-returns-value]
    read_clip(data / "clips" / "tree.avi", ClipSpec(frames=3, height=8, width=8))
    assert len(opened) == 1  # the header lies, and is not believed
    with pytest.raises(ClipzooError, match=r"no frame|not a video"):
        Scan.load(tmp_path / "scan.json").apply(index, "fail")


def test_a_file_that_changed_since_is_taken_as_it_is(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"broken")
    index = ClipIndex(tmp_path, (Clip("a.avi", "x"),))
    found = scan(index)
    assert found.files[0].problem
    shutil.copy(motion.path(0), tmp_path / "a.avi")
    kept, broken = found.apply(index)
    assert len(kept) == 1 and not broken


HANGS = """
import loaders.scanning, time, os, sys
from pathlib import Path
real = loaders.scanning.scan_file
def scan_file(path, file):
    if file.startswith("hang"): time.sleep(3600)
    if file.startswith("crash"): os.abort()
    return real(path, file)
loaders.scanning.scan_file = scan_file
if __name__ == "__main__":
    from loaders import Clip, ClipIndex
    index = ClipIndex(Path(sys.argv[1]), tuple(Clip(n, "x") for n in ("crash.avi", "good.avi", "hang.avi", "fine.avi")))
    for found in loaders.scanning.scan(index, workers=2, time_limit=3).files:
        print(found.file, found.frames, found.problem)
"""


def test_a_file_that_hangs_or_kills_the_decoder_is_reported(motion: ClipIndex, tmp_path: Path) -> None:
    for name in ("crash.avi", "good.avi", "hang.avi", "fine.avi"):
        shutil.copy(motion.path(0), tmp_path / name)
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=HANG)
    lines = done.stdout.splitlines()
    assert lines[1] == "good.avi 8 None" and lines[3] == "fine.avi 8 None", done.stderr
    assert "ends the process" in lines[0]
    assert "within 3 s" in lines[2]


ENDLESS = """
import loaders.scanning, os, sys, time
from pathlib import Path
def scan_file(path, file):
    Path(os.environ["STARTED"]).touch()
    time.sleep(3600)
loaders.scanning.scan_file = scan_file
if __name__ == "__main__":
    from clipzoo import main
    main()
"""


def test_scan_stops_when_it_is_interrupted(motion: ClipIndex, tmp_path: Path) -> None:
    """Each of the 48 files would take the minute that it may take."""
    script, started = tmp_path / "endless.py", tmp_path / "started"
    script.write_text(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, str(script), "scan", str(motion.root)], env={**os.environ, "STARTED": str(started)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(started.is_file)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=HANG)
    assert process.returncode == 130


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 9, "files": []}'])
def test_what_is_no_scan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "scan.json").write_text(text)
    with pytest.raises(ClipzooError, match=r"scan\.json"):
        Scan.load(tmp_path / "scan.json")


def test_what_an_interrupted_scan_kept_is_of_its_time_limit(motion: ClipIndex, tmp_path: Path) -> None:
    index = ClipIndex(motion.root, motion.clips[:40])

    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_corpus(index, keep=tmp_path / "scan.json", workers=1, time_limit=5.0, advance=stop)
    assert list(tmp_path.glob("scan.json.parts/*.parquet"))
    with pytest.raises(ClipzooError, match="of another time limit; delete it"):
        scan_corpus(index, keep=tmp_path / "scan.json", workers=1, time_limit=60.0)
