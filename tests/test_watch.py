"""Watching: what is read, held, dropped, answered and written, of files that play and of cameras that are made up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from export import Prediction, watch
from export import watching as watching_module
from export.frame_source import Reader, Source, open_frame_source
from loaders import ClipzooError, read_clip
from loaders.decode import frame_count
from tests.support.commands import invoke, refused, wait_for
from tests.support.onnx_files import LABELS, SPEC, write_model
from tests.test_timeline import write_video

DARK, BRIGHT = LABELS
FPS, SECONDS = 25, 1.2
COUNT = round(FPS * SECONDS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SPEC.replace(sampling="dense", stride=2)
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", spec=spec)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark at first, bright in the end."""
    path = tmp_path_factory.mktemp("videos") / "lamp.avi"
    return write_video(path, ((SECONDS / 2, 60), (SECONDS / 2, 200)), fps=FPS)


class Camera:
    """In the place of OpenCV's capture: gives so many pictures, each of another level, and then none."""

    def __init__(self, count: int, *, each: Callable[[int], object] = lambda number: None) -> None:
        self.count, self.each, self.given, self.released = count, each, 0, False

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return True

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.given == self.count:
            return False, None
        self.given += 1
        self.each(self.given)
        return True, np.full((24, 32, 3), self.given, np.uint8)

    def release(self) -> None:
        self.released = True


def test_a_file_plays_in_real_time_and_is_answered(file: Path, video: Path, tmp_path: Path) -> None:
    answers: list[Prediction] = []
    out = tmp_path / "annotated.mp4"
    watched = watch(file, str(video), out=out, show=answers.append)
    assert watched.frames + watched.dropped == COUNT and watched.ended == ""
    assert watched.seconds == pytest.approx((COUNT - 1) / FPS)
    assert len(answers) == watched.answers >= 1 and answers[-1].label == BRIGHT
    assert answers[-1].end is not None and answers[-1].end <= watched.seconds
    assert all(0 < latency < 60 for latency in watched.latencies)
    assert watched.latency(50) <= watched.latency(95)
    count, fps = frame_count(out)
    assert (count, fps) == (COUNT, FPS)
    shown = read_clip(out, SPEC.replace(frames=COUNT, height=32, width=48))
    assert abs(int(shown[0].mean()) - 60) < 8  # no answer yet
    band, below = shown[-1, :4].mean(), shown[-1, 20:].mean()
    assert below > 180 and band < 130


def test_a_reader_holds_the_newest_frames_alone() -> None:
    camera = Camera(9)
    reader = Reader(Source("camera 0", camera, None, False), most=2)  # type: ignore[arg-type]
    reader.start()
    wait_for(lambda: camera.released)
    frames = reader.take()
    assert [int(frame.picture[0, 0, 0]) for frame in frames] == [8, 9]
    assert frames[0].seconds < frames[1].seconds and frames[0].arrived < frames[1].arrived
    assert (reader.dropped, reader.ended) == (7, "gives no more frames")
    assert reader.take() == []
    reader.close()


def test_what_fails_in_the_reader_fails_where_frames_are_taken() -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise MemoryError("no room for a frame")

    reader = Reader(Source("camera 0", Camera(9, each=fail), None, False), most=2)  # type: ignore[arg-type]
    reader.start()
    with pytest.raises(MemoryError, match="no room for a frame"):
        while reader.take():
            pass


def test_a_file_that_nobody_takes_from_is_dropped_not_queued(video: Path) -> None:
    reader = Reader(open_frame_source(str(video)), most=1)
    reader.start()
    reader._thread.join()
    (frame,) = reader.take()
    assert frame.seconds == pytest.approx((COUNT - 1) / FPS) and reader.dropped == COUNT - 1
    assert reader.ended == ""


def test_frames_are_played_at_the_rate_of_the_file(video: Path) -> None:
    reader = Reader(open_frame_source(str(video)), most=COUNT)
    reader.start()
    reader._thread.join()
    frames = reader.take()
    due = [frames[0].arrived + frame.seconds - frames[0].seconds for frame in frames]
    # Late it may be on a busy machine, and then frames are skipped; early never.
    assert all(frame.arrived > at - 0.005 for frame, at in zip(frames, due, strict=True))


def made_up(monkeypatch: pytest.MonkeyPatch, camera: Camera) -> None:
    source = Source("camera 0", camera, None, False)  # type: ignore[arg-type]
    monkeypatch.setattr(watching_module, "open_frame_source", lambda name: source)


def test_a_camera_that_goes_away_is_one_sentence_behind_the_figures(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(12)
    made_up(monkeypatch, camera)
    out = tmp_path / "camera.avi"
    done = invoke("watch", file, "--source", 0, "--out", out)
    refused(done, "camera 0: gives no more frames; see that it is still there")
    assert "12 frames in" in done.stdout and "0.0% dropped" in done.stdout and camera.released
    assert f"{DARK} 100.0%" in done.stdout and "from frame to answer" in done.stdout
    assert out.is_file() and f"wrote {out}" in done.stdout


def test_a_source_without_a_frame_is_an_error(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, Camera(0))
    refused(invoke("watch", file, "--source", 0, "--out", tmp_path / "x.mp4"), "camera 0: opens and gives no frame")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_with_the_figures(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupting(answer: Prediction) -> str:
        monkeypatch.setattr(watching_module, "said", said)  # once
        if signal.getsignal(signal.SIGINT) is not before:
            os.kill(os.getpid(), signal.SIGINT)
        return said(answer)

    before, said = signal.getsignal(signal.SIGINT), watching_module.said
    monkeypatch.setattr(watching_module, "said", interrupting)
    # A camera that goes on would end later, which is an error.
    made_up(monkeypatch, Camera(200, each=lambda number: time.sleep(0.01)))
    done = invoke("watch", file, "--source", 0, "--out", tmp_path / "x.avi")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'x.avi'}", (done.stdout, done.stderr)
    assert "frames in" in done.stdout and "Traceback" not in done.stderr
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_prints_a_line_an_answer(file: Path, video: Path) -> None:
    done = invoke("watch", file, "--source", video, "--hop", 0.16)
    assert done.returncode == 0, done.stderr
    *lines, figures, latency = done.stdout.splitlines()
    assert BRIGHT in lines[-1]
    assert "dropped" in figures and "from frame to answer" in latency
    assert f"{len(lines)} answer" in latency


def test_what_cannot_be_watched_is_one_sentence(file: Path, video: Path, tmp_path: Path) -> None:
    def said(source: object, *words: object, model: Path = file, options: tuple[object, ...] = ()) -> None:
        refused(invoke("watch", model, "--source", source, *options), *words)

    said(97, "camera 97: is not there, or another program uses it")
    said("http://me:secret@127.0.0.1:9/x.mp4", "http://127.0.0.1:9/x.mp4: does not answer with a video")
    said(tmp_path / "none.mp4", "none.mp4: cannot be read")
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    said(tmp_path / "broken.mp4", "broken.mp4: is not a video")
    said(video, "x.gif: a video ends in .mp4 or .avi", options=("--out", tmp_path / "x.gif"))
    said(video, "no such file", model=tmp_path / "none.onnx")
    (tmp_path / "damaged.onnx").write_bytes(file.read_bytes()[:300])
    said(video, "damaged.onnx", model=tmp_path / "damaged.onnx")
    said(video, "hop (0", options=("--hop", 0))


def test_an_address_is_named_without_its_password() -> None:
    with pytest.raises(ClipzooError) as error:
        open_frame_source("rtsp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(error.value) and "rtsp://127.0.0.1:9/x" in str(error.value)


@pytest.mark.parametrize("text", ["walk 90.0%", "größer 90.0%", "a long name " * 30])
def test_a_label_is_drawn_at_the_top(text: str) -> None:
    picture = np.full((120, 160, 3), 200, np.uint8)
    drawn = watching_module.draw_answer(picture, text)
    assert (picture == 200).all() and (drawn[60:] == 200).all()
    assert (drawn[0] == 66).all() and drawn[:40].max() > 220
    assert (cv2.cvtColor(drawn[:, -2:], cv2.COLOR_BGR2GRAY)[:3] == 66).all()  # it ends before the edge
