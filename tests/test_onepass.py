"""Windows of a long file: one pass, bounded memory, the same clips as each read alone; errors as data."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import loaders.canvas
import loaders.clip
import loaders.decode
import loaders.packets
from benchmarks.loading import write_long
from loaders import Clip, ClipIndex, ClipSpec, ClipzooError, VideoError, read_inputs
from loaders.canvas import frames_of, moved
from loaders.clip import read_batches
from loaders.sampling import sample
from loaders.spans import frame_span
from tests.support.commands import HANG

FPS, COUNT = 30, 600
SPEC = ClipSpec(frames=4, height=16, width=16)
SPECS = {
    "rgb": {"video": SPEC},
    "flow": {"video": SPEC.replace(modality="flow", stack=3, sampling="segments")},
    "pairs": {"video": SPEC.replace(modality="diff", pairs="sampled")},
    "signed pairs": {"video": SPEC.replace(modality="rgb_diff")},
    "grouped": {"video": SPEC.replace(modality="grouped")},
    "grouped apart": {"video": SPEC.replace(modality="grouped", pairs="sampled")},
    "two inputs": {"rgb": SPEC.replace(sampling="dense", stride=2), "flow": SPEC.replace(modality="flow", frames=2)},
}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that cannot be sought: MPEG-TS has no count of frames either."""
    path = tmp_path_factory.mktemp("long") / "long.ts"
    assert write_long(path, minutes=COUNT / FPS / 60, fps=FPS) == COUNT
    return path


def windows(path: Path, seconds: float, stride: float) -> ClipIndex:
    return ClipIndex(path.parent, (Clip(path.name, "x"),)).windows(seconds, stride=stride)


def wanted_frames(index: ClipIndex, specs: dict[str, ClipSpec]) -> set[int]:
    places = [frame_span(COUNT, FPS, clip.span, "") for clip in index]
    steps = (moved(sample(stop - start, spec), start) for start, stop in places for spec in specs.values())
    return set(frames_of(*steps))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Counter[str]]]:
    """Counts what is decoded; a header may be made to lie, a seek to miss."""

    def watch(*, header: int | None = None, misses: int | None = None) -> Counter[str]:
        done: Counter[str] = Counter()
        real = loaders.opening.open_video

        class Watched:
            def __init__(self, path: Any) -> None:
                done["opened"] += 1
                self.capture = real(path)

            def grab(self) -> bool:
                more = self.capture.grab()
                done["grabbed"] += more
                return more

            def retrieve(self) -> Any:
                done["retrieved"] += 1
                return self.capture.retrieve()

            def get(self, name: int) -> float:
                if name == cv2.CAP_PROP_FRAME_COUNT and header is not None:
                    return header
                if name == cv2.CAP_PROP_PTS and misses is not None and done["retrieved"] >= misses:
                    return -5.0
                return self.capture.get(name)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.capture, name)

        monkeypatch.setattr(loaders.decode, "open_video", Watched)
        return done

    yield watch


@pytest.mark.parametrize("name", SPECS)
def test_windows_are_one_pass_and_the_clips_that_each_span_gives_alone(
    long: Path, name: str, captured: Callable[..., Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = SPECS[name]
    index = windows(long, 1.0, 0.1)
    assert len(index) > 128  # more than a group had
    spans = [clip.span for clip in index]
    kept = [0]
    visit = loaders.canvas.InputBuilder.visit

    def noted(track: Any, number: int, frame: np.ndarray) -> None:
        visit(track, number, frame)
        kept.append(len(track._made) + len(track._held))

    monkeypatch.setattr(loaders.canvas.InputBuilder, "visit", noted)
    done = captured()
    found = list(read_batches(index.paths, specs, spans=spans, batch_size=8, workers=3))
    assert done["opened"] == 1
    assert done["grabbed"] == COUNT
    assert done["retrieved"] == len(wanted_frames(index, specs))
    # Ten windows are open at once; the file has sixty times as many.
    steps = max(spec.frames * spec.reach for spec in specs.values())
    assert max(kept) <= 12 * steps < len(index) * SPEC.frames
    assert [place for batch in found for place in batch.positions] == list(range(len(index)))
    assert [len(batch.positions) for batch in found][:-1] == [8] * (len(found) - 1)
    monkeypatch.undo()
    for place in range(0, len(index), 7):
        alone = read_inputs(long, specs, span=spans[place])
        for name in specs:
            np.testing.assert_array_equal(found[place // 8].clips[name][place % 8], alone[name])


def test_a_slow_model_is_not_run_away_from(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [0]
    real = loaders.clip.read_spans

    def noted(*args: Any) -> Iterator[Any]:
        for item in real(*args):
            made[0] += 1
            yield item

    monkeypatch.setattr(loaders.clip, "read_spans", noted)
    index = windows(long, 1.0, 0.1)
    used = 0
    for batch in read_batches(index.paths, {"v": SPEC}, spans=[c.span for c in index], batch_size=4, workers=2):
        time.sleep(0.02)  # for the threads to go as far as they may
        assert made[0] - used <= 3 * 4
        used += len(batch.positions)
    assert used == len(index)


def test_files_are_read_side_by_side(motion: ClipIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Barrier

    met = Barrier(2, timeout=HANG)  # nobody passes alone
    real = loaders.clip.read_spans

    def noted(*args: Any) -> Iterator[Any]:
        met.wait()
        yield from real(*args)

    monkeypatch.setattr(loaders.clip, "read_spans", noted)
    paths = motion.paths[:8]
    assert sum(len(batch.positions) for batch in read_batches(paths, {"v": SPEC}, batch_size=3, workers=2)) == 8


@pytest.mark.parametrize("header", [3, COUNT - 7, COUNT + 50])
@pytest.mark.parametrize("short", ["error", "spread"])
def test_a_header_that_lies_gives_no_window_twice_and_none_wrong(
    long: Path, captured: Callable[..., Counter[str]], header: int, short: Any
) -> None:
    spec = {"video": SPEC.replace(frames=12, sampling="dense", stride=2, short=short)}
    index = windows(long, 1.0, 0.5)
    spans = [*(clip.span for clip in index), None]
    paths = [*index.paths, long]
    wanted = [read_inputs(path, spec, span=span)["video"] for path, span in zip(paths, spans, strict=True)]
    loaders.decode._COUNTS.clear()
    done = captured(header=header)
    found = list(read_batches(paths, spec, spans=spans, batch_size=5))
    assert [place for batch in found for place in batch.positions] == list(range(len(paths)))
    np.testing.assert_array_equal(np.concatenate([batch.clips["video"] for batch in found]), np.stack(wanted))
    assert done["grabbed"] <= 2 * COUNT  # once to see the end, once for what its count changes


@pytest.mark.parametrize("misses", [0, 5, 40])
def test_a_seek_that_misses_gives_no_window_twice(
    tmp_path: Path, captured: Callable[..., Counter[str]], monkeypatch: pytest.MonkeyPatch, misses: int
) -> None:
    path = tmp_path / "long.mp4"
    write_long(path, minutes=COUNT / FPS / 60, fps=FPS)
    index = windows(path, 0.5, 2.0)
    spans = [clip.span for clip in index]
    wanted = [read_inputs(path, {"v": SPEC}, span=span)["v"] for span in spans]
    monkeypatch.setattr(loaders.packets, "worth_seeking", lambda packets, wanted: True)
    captured(misses=misses)
    found = list(read_batches(index.paths, {"v": SPEC}, spans=spans, batch_size=3))
    assert [place for batch in found for place in batch.positions] == list(range(len(index)))
    np.testing.assert_array_equal(np.concatenate([batch.clips["v"] for batch in found]), np.stack(wanted))


def test_spans_in_any_order_and_again_and_of_whole_files_are_given_in_theirs(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [None, (9.0, 10.0), (0.0, 20.0), (3.0, 4.0), (3.0, 4.0), None, (19.5, 30.0), (0.0, 0.01), (1.0, 1.5)]
    wanted = [read_inputs(long, {"v": SPEC}, span=span)["v"] for span in spans]
    for most in (2**28, SPEC.frames * 16 * 16 * 3 * 2):  # all in one pass; two clips at once
        monkeypatch.setattr(loaders.clip, "_OPEN_BYTES", most)
        found = list(read_batches([long] * len(spans), {"v": SPEC}, spans=spans, batch_size=4, workers=2))
        assert [place for batch in found for place in batch.positions] == list(range(len(spans)))
        np.testing.assert_array_equal(np.concatenate([batch.clips["v"] for batch in found]), np.stack(wanted))


def test_passes_hold_no_more_clips_at_once_than_they_may() -> None:
    path = Path("a")
    ahead = [(float(n), n + 2.5) for n in range(1000)]
    assert loaders.clip._passes([path] * 1000, ahead, 3) == [range(1000)]
    assert len(loaders.clip._passes([path] * 1000, ahead, 2)) == 500
    assert loaders.clip._passes([path] * 6, ahead[5::-1], 4) == [range(4), range(4, 6)]
    assert loaders.clip._passes([path] * 5, [None] * 5, 2) == [range(2), range(2, 4), range(4, 5)]
    assert loaders.clip._passes([path, Path("b"), path], [None] * 3, 9) == [range(1), range(1, 2), range(2, 3)]


def test_errors_are_data_where_they_are_skipped(motion: ClipIndex, tmp_path: Path) -> None:
    for n in range(6):
        shutil.copy(motion.path(n), tmp_path / f"{n}.avi")
    (tmp_path / "1.avi").write_bytes(b"this is no video")
    (tmp_path / "5.avi").unlink()
    names = "0 1 1 2 3 3 3 4 5".split()
    spans = [None, (0.0, 0.2), (0.2, 0.4), None, (0.0, 0.1), (0.0, 0.5), (7.0, 8.0), None, None]
    spec = SPEC.replace(short="error")
    paths = [tmp_path / f"{name}.avi" for name in names]
    found = list(read_batches(paths, {"v": spec}, spans=spans, batch_size=2, on_error="skip"))
    assert [batch.positions for batch in found] == [[0, 3], [5, 7], []]
    assert [[place for place, _ in batch.errors] for batch in found] == [[1, 2], [4, 6], [8]]
    assert [batch.clips["v"].shape[0] for batch in found] == [2, 2, 0]
    assert found[-1].clips["v"].shape == (0, *spec.shape) and found[-1].clips["v"].dtype == np.uint8
    said = [str(error) for batch in found for _, error in batch.errors]
    assert "1.avi: is not a video" in said[0] == said[1]
    assert "3.avi: in the span 0 to 0.1 s 2 frames are too few" in said[2]
    assert "--set spec.short=repeat_last" in said[2] and "short='repeat_last'" in said[2]
    assert "begins behind its end" in said[3] and "No such file" in said[4]
    for batch in found:
        for place, clip in zip(batch.positions, batch.clips["v"], strict=True):
            np.testing.assert_array_equal(clip, read_inputs(paths[place], {"v": spec}, span=spans[place])["v"])
    with pytest.raises(VideoError, match=r"1\.avi: is not a video"):
        list(read_batches(paths, {"v": spec}, spans=spans, batch_size=2))


def test_a_fault_of_the_spec_is_no_file_s(motion: ClipIndex) -> None:
    spec = ClipSpec.from_dict({**SPEC.replace(modality="flow").to_dict(), "flow": {"method": "tvl1"}})
    if hasattr(cv2, "optflow"):
        pytest.skip("this OpenCV has TV-L1")
    for on_error in ("skip", "fail"):
        with pytest.raises(ClipzooError, match="opencv-contrib") as error:
            list(read_batches(motion.paths[:2], {"v": spec}, batch_size=2, on_error=on_error))  # type: ignore[arg-type]
        assert not isinstance(error.value, VideoError)
    for options, said in (({"batch_size": 0}, "batch_size"), ({"batch_size": 1, "on_error": "drop"}, "'drop'")):
        with pytest.raises(ClipzooError, match=said):
            list(read_batches(motion.paths[:2], {"v": SPEC}, **options))  # type: ignore[arg-type]


def test_who_stops_in_the_middle_waits_for_nothing(long: Path) -> None:
    import threading

    index = windows(long, 1.0, 0.1)
    for _ in read_batches(index.paths, {"v": SPEC}, spans=[c.span for c in index], batch_size=1, workers=3):
        break
    deadline = time.monotonic() + 120
    while any("side-by-side" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "threads of a reader that is gone"
        time.sleep(0.05)
