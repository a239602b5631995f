"""Readability is asked with the specs, before: what cannot be read as a model reads it is left out, once, by name."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import loaders.decode
from loaders import Clip, ClipIndex, ClipSpec, ClipzooError, Scan, VideoError, read_clip, scan
from loaders.decode import check_readable
from loaders.terminal import OnErrorChoice, drop_broken, text_console

SPEC = ClipSpec(frames=3, height=16, width=16)
# The motion clips have 8 frames each.
FITS, TOO_LONG = SPEC.replace(modality="flow", stack=7), SPEC.replace(modality="flow", stack=8)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files are opened, and frames decoded."""
    done: Counter[str] = Counter()
    real = loaders.decode.open_video

    class Watched:
        def __init__(self, path: Any) -> None:
            done["opened"] += 1
            self.capture = real(path)

        def grab(self) -> bool:
            done["decoded"] += 1
            return self.capture.grab()

        def read(self) -> Any:
            done["decoded"] += 1
            return self.capture.read()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.capture, name)

    monkeypatch.setattr(loaders.decode, "open_video", Watched)
    loaders.decode._COUNTS.clear()
    return done


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SPEC, None),
        (FITS, None),
        (TOO_LONG, "8 frames are too few for flow: a step compares 9 neighbors (stack=8)"),
        (SPEC.replace(frames=8, short="error"), None),
        (SPEC.replace(frames=9, short="error"), "8 frames are too few for 9 steps (uniform): 9 are needed"),
        (TOO_LONG.replace(short="repeat_last"), None),
        (SPEC.replace(modality="diff", pairs="sampled", frames=20), None),
        (SPEC.replace(modality="diff", pairs="sampled", frames=20, short="error"), "8 frames are too few"),
    ],
)
def test_what_the_check_says_is_what_reading_says(motion: ClipIndex, spec: ClipSpec, said: str | None) -> None:
    few = ClipIndex(motion.root, motion.clips[:2])
    found = check_readable(few.paths, specs={"a": SPEC, "b": spec})
    if said is None:
        assert found == [None, None]
        read_clip(few.path(0), spec)
        return
    for error, path in zip(found, few.paths, strict=True):
        assert str(error).startswith(f"{path}: {said}")
        assert "short='repeat_last' (--set spec.short=repeat_last)" in str(error)
    with pytest.raises(VideoError) as reading:
        read_clip(few.path(0), spec)
    assert str(reading.value) == str(found[0])
    scanned = Scan(
        few.root, tuple(loaders.scanning.scan_file(str(p), c.file) for p, c in zip(few.paths, few, strict=True))
    )
    for answer in (few.readable(specs={"": SPEC})[0], scanned.apply(few, specs={"": SPEC})[0]):
        assert answer == few
    for ask in (few.readable, scanned.apply):
        with pytest.raises(VideoError, match="too few"):
            ask(*([few] if ask == scanned.apply else []), specs={"": spec}, on_error="fail")  # type: ignore[operator]
        with pytest.raises(ClipzooError, match=f"class {few[0].label!r} has no readable clip"):
            ask(*([few] if ask == scanned.apply else []), specs={"": spec})  # type: ignore[operator]


def test_of_a_file_with_several_spans_only_those_go_that_are_too_short(motion: ClipIndex, tmp_path: Path) -> None:
    for n in range(2):
        shutil.copy(motion.path(n), tmp_path / f"{n}.avi")
    (tmp_path / "bad.avi").write_bytes(b"no video")
    spans = [(0.0, 0.2), (0.0, 0.5), (0.1, 0.2), (9.0, 10.0)]
    clips = (
        *(Clip("0.avi", "x", start=start, end=end) for start, end in spans),
        Clip("bad.avi", "x", start=0.0, end=1.0),
        Clip("bad.avi", "x", start=1.0, end=2.0),
        Clip("1.avi", "x"),
    )
    index = ClipIndex(tmp_path, clips)
    wanted = {"flow": SPEC.replace(modality="flow", stack=2), "rgb": SPEC}
    steps: list[int] = []
    kept, errors = index.readable(specs=wanted, advance=lambda: steps.append(1))
    assert [(clip.file, clip.span) for clip in kept] == [("0.avi", (0, 0.2)), ("0.avi", (0, 0.5)), ("1.avi", None)]
    assert len(steps) == 3  # files
    said = [str(error) for error in errors]
    assert len(said) == 3
    assert "0.avi: in the span 0.1 to 0.2 s 1 frame is too few" in said[0]
    assert "0.avi: the span 9 to 10 s begins behind its end" in said[1]
    assert "bad.avi: is not a video" in said[2]  # once, not for each span
    found = Scan(tmp_path, tuple(loaders.scanning.scan_file(str(tmp_path / f), f) for f in ("0.avi", "1.avi")))
    assert found.apply(index, specs=wanted)[0] == kept
    assert [str(error) for error in found.apply(index, specs=wanted)[1]] == said


def test_frames_are_counted_only_where_they_can_be_too_few(motion: ClipIndex, counted: Counter[str]) -> None:
    few = ClipIndex(motion.root, motion.clips[:5])
    few.readable()
    few.readable(specs={"rgb": SPEC, "pairs": SPEC.replace(modality="flow", stack=9, short="wrap")})
    assert (counted["opened"], counted["decoded"]) == (10, 10)
    few.readable(specs={"flow": FITS})
    before = counted["decoded"]
    assert before > 5 * 8  # Motion JPEG does not say how many there are
    few.readable(specs={"flow": FITS})
    assert counted["decoded"] == before + 5  # they are known now


def test_packets_spare_decoding(data: Path, counted: Counter[str]) -> None:
    path = data / "clips" / "abseiling_k400.mp4"
    assert check_readable([path], specs={"": SPEC.replace(frames=250, short="error")}) == [None]
    (error,) = check_readable([path], specs={"": SPEC.replace(frames=251, short="error")})
    assert "250 frames are too few" in str(error)
    assert counted["decoded"] == 2


def test_a_scan_knows_the_count_and_opens_nothing(motion: ClipIndex, counted: Counter[str], tmp_path: Path) -> None:
    few = ClipIndex(motion.root, motion.clips[:3])
    scan(few).save(tmp_path / "scan.json")
    counted.clear()
    found = Scan.load(tmp_path / "scan.json")
    assert found.apply(few, specs={"": FITS}) == (few, [])
    with pytest.raises(VideoError, match="too few"):
        found.apply(few, "fail", specs={"": TOO_LONG})
    assert not counted


@pytest.mark.parametrize("with_scan", [False, True])
def test_commands_name_each_clip_left_out_once(
    motion: ClipIndex, tmp_path: Path, with_scan: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = (*motion.clips[:2], *(clip._replace(start=0.1, end=0.3) for clip in motion.clips[:2]))
    index = ClipIndex(motion.root, clips)
    if with_scan:
        scan(index).save(tmp_path / "scan.json")
    kept = drop_broken(
        index,
        specs={"": SPEC.replace(modality="flow", stack=5)},
        on_error=OnErrorChoice.SKIP,
        workers=2,
        stderr=text_console(stderr=True),
        scan=tmp_path / "scan.json" if with_scan else None,
    )
    assert kept.clips == motion.clips[:2]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    for line, clip in zip(said, clips, strict=False):
        assert line.startswith(f"left out: {motion.root / clip.file}: in the span 0.1 to 0.3 s 2 frames are too few")
