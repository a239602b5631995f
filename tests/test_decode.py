"""Files to frames: exact whatever the header claims, a clear sentence for what is no clip."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import pytest

import loaders.decode
import loaders.packets
from benchmarks.loading import write_long
from loaders import ClipIndex, ClipSpec, ClipzooError, VideoError, clip_from_frames, read_clip
from loaders.decode import check_readable, frame_count, read_frames
from loaders.packets import Packets
from loaders.sampling import sample
from tests.support.commands import HANG
from tests.support.fuzz import fuzz

TRUE_COUNTS = {  # ../shared/data/README.md: as OpenCV reads them to their end
    "v_Basketball_g01_c01.avi": 141,
    "abseiling_k400.mp4": 250,
    "corrupted.mp4": 28,
    "tree.avi": 68,
    "flipping_a_pancake.mkv": 310,
    "var_fps_video.mp4": 300,
    "unordered.mov": 4,
    "newtonscradle.gif": 36,
}


class Keep:
    """A visitor that keeps the frames it wants."""

    def __init__(self, count: int, wanted: Collection[int]) -> None:
        self.count = count
        self.wanted = wanted
        self.frames: dict[int, np.ndarray] = {}

    def visit(self, number: int, frame: np.ndarray) -> None:
        assert number > max(self.frames, default=-1)
        self.frames[number] = frame.copy()


def decode_all(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return frames
        frames.append(frame)


@pytest.mark.parametrize("name", TRUE_COUNTS)
def test_real_files_give_exactly_the_frames_that_a_full_decode_gives(data: Path, name: str) -> None:
    path = data / "clips" / name
    whole = decode_all(path)
    assert len(whole) == TRUE_COUNTS[name]
    plans: list[Keep] = []

    def plan(count: int, fps: float) -> Keep:
        plans.append(Keep(count, {0, count // 2, count - 1}))
        return plans[-1]

    for _ in range(2):  # the second time the header is not asked again
        kept = read_frames(path, plan)
        assert kept.count == len(whole)
        assert sorted(kept.frames) == sorted(kept.wanted)
        for number, frame in kept.frames.items():
            np.testing.assert_array_equal(frame, whole[number])
    assert len(plans) <= 3
    assert frame_count(path)[0] == len(whole)


@pytest.mark.parametrize(
    ("name", "said"), [("av1_video.mkv", "yields no frame"), ("audio_only_nasa.mp3", "is not a video")]
)
def test_a_file_without_frames_is_named(data: Path, name: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = data / "clips" / name
    with pytest.raises(VideoError) as error:
        read_clip(path, ClipSpec(frames=2, height=8, width=8))
    (checked,) = check_readable([path])
    for message in (str(error.value), str(checked)):
        assert str(path) in message
        assert said in message
    assert capfd.readouterr().err == ""  # FFmpeg's own noise stays away


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    spec = ClipSpec(frames=2, height=8, width=8)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "still.PNG").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    for name, said in (
        ("missing.mp4", "No such file"),
        ("folder.mp4", "is a folder"),
        ("empty.mp4", "is empty"),
        ("still.PNG", "is a picture, not a video"),
        ("garbage.mp4", "is not a video"),
    ):
        with pytest.raises(VideoError) as error:
            read_clip(tmp_path / name, spec)
        assert name in str(error.value)
        assert said in str(error.value)


def test_rotation_in_the_metadata_is_applied(data: Path) -> None:
    shapes = {}
    for angle in (0, 90):
        kept = read_frames(data / "clips" / f"video_{angle}.mov", lambda count, fps: Keep(count, {0}))
        frames = [kept.frames[0]]
        shapes[angle] = frames[0].shape
    assert shapes[0][:2] == shapes[90][1::-1]


def test_a_clip_has_the_spec_s_shape_and_is_rgb(motion: ClipIndex) -> None:
    spec = ClipSpec(frames=6, height=32, width=24)
    path = motion.path(0)
    clip = read_clip(path, spec)
    assert clip.shape == spec.shape
    assert clip.dtype == np.uint8
    first = cv2.resize(decode_all(path)[0], (24, 32), interpolation=cv2.INTER_AREA)[..., ::-1]
    np.testing.assert_array_equal(clip[0], first)
    np.testing.assert_array_equal(read_clip(path, spec.replace(color_order="bgr")), clip[..., ::-1])


def test_grey_is_luma(motion: ClipIndex) -> None:
    spec = ClipSpec(frames=3, height=48, width=48)
    color = read_clip(motion.path(0), spec)
    gray = read_clip(motion.path(0), spec.replace(modality="gray"))
    assert gray.shape == (3, 48, 48, 1)
    assert np.abs(color @ np.array([0.299, 0.587, 0.114]) - gray[..., 0]).max() <= 1


def test_fit_keeps_the_shape_and_crops_the_center() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:, 50:150] = 255
    spec = ClipSpec(frames=1, height=40, width=40, resize="fit", resize_to=40)
    assert clip_from_frames([frame], spec).min() == 255
    assert clip_from_frames([frame], spec.replace(resize="stretch", resize_to=None)).min() == 0


def test_frames_in_memory_go_the_same_way_as_a_file(motion: ClipIndex) -> None:
    spec = ClipSpec(frames=5, height=20, width=28)
    frames = np.stack([frame[..., ::-1] for frame in decode_all(motion.path(3))])
    np.testing.assert_array_equal(clip_from_frames(frames, spec), read_clip(motion.path(3), spec))


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8), np.uint8)]
)
def test_frames_that_are_not_uint8_rgb_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ClipzooError, match="frame"):
        clip_from_frames(frames, ClipSpec(frames=2, height=8, width=8))


def test_odd_names_are_read_or_named(motion: ClipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ClipSpec(frames=2, height=8, width=8)
    expected = read_clip(motion.path(0), spec)
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.avi", "a[red]b.avi", "two\nlines.avi", "Füße.avi", "per%cent%03d.avi"):
        Path(name).write_bytes(motion.path(0).read_bytes())
        np.testing.assert_array_equal(read_clip(name, spec), expected)
    with pytest.raises(VideoError, match=r"\\udcff\.avi: its name is not UTF-8"):
        read_clip("\udcff.avi", spec)


@pytest.mark.parametrize("name", [*TRUE_COUNTS])
def test_seeking_wherever_it_may_gives_the_frames_of_a_full_decode(
    data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders.decode, "LONG", 1)
    monkeypatch.setattr(loaders.packets, "worth_seeking", lambda packets, wanted: True)
    whole = decode_all(data / "clips" / name)
    for shares in ((0, 0.01, 0.3, 0.5, 0.99, 1), (1,), (0.3, 0.6)):
        loaders.decode._COUNTS.clear()

        def plan(count: int, fps: float, shares: tuple[float, ...] = shares) -> Keep:
            return Keep(count, {int(share * (count - 1)) for share in shares})

        kept = read_frames(data / "clips" / name, plan)
        assert kept.count == len(whole)
        assert set(kept.frames) == kept.wanted
        for number, frame in kept.frames.items():
            np.testing.assert_array_equal(frame, whole[number])


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts"])
def test_few_frames_of_a_long_file_are_sought_where_that_is_sure(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"long{suffix}"
    count = write_long(path, minutes=0.4)
    whole = decode_all(path)
    decoded: list[int] = []
    real = loaders.decode._forward
    monkeypatch.setattr(loaders.decode, "_forward", lambda *args, **more: decoded.append(1) or real(*args, **more))
    kept = read_frames(path, lambda count, fps: Keep(count, {7, count // 2, count - 1}))
    assert kept.count == len(whole) == count
    for number, frame in kept.frames.items():
        np.testing.assert_array_equal(frame, whole[number])
    assert bool(decoded) == (suffix == ".ts")  # MPEG-TS cannot be sought


def test_a_hole_or_a_false_time_stamp_is_decoded_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.mp4"
    write_long(path, minutes=0.4)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    path.write_bytes(bytes(data))
    whole = decode_all(path)
    clip = read_clip(path, ClipSpec(frames=3, height=48, width=64))
    places = [step[0][0] for step in sample(len(whole), ClipSpec(frames=3, height=48, width=64))]
    small = [cv2.resize(whole[n], (64, 48), interpolation=cv2.INTER_AREA)[..., ::-1] for n in places]
    np.testing.assert_array_equal(clip, np.stack(small))
    packets = Packets(720, 0.0, True, (0, 12))

    class Liar:
        """A capture whose seeks land elsewhere."""

        def set(self, *_: object) -> bool:
            return True

        def grab(self) -> bool:
            return True

        def get(self, *_: object) -> float:
            return 3.0

        def retrieve(self) -> tuple[bool, np.ndarray]:
            raise AssertionError("a frame of the wrong time stamp must not be taken")

    seeking = loaders.decode._seek(Liar(), packets, [40], Keep(720, {40}))
    with pytest.raises(StopIteration) as ended:
        next(seeking)
    assert not ended.value.value


@pytest.mark.parametrize("mutants", [66, pytest.param(1100, marks=pytest.mark.slow)])  # 6 and 100 of each kind
def test_damaged_files_are_read_refused_and_named_but_never_crash_hang_or_lie(data: Path, mutants: int) -> None:
    names = ("bikes.mp4", "v_Basketball_g01_c01.avi", "newtonscradle.gif", "tree.avi", "carphone_pristine.mp4")
    found = fuzz([data / "clips" / name for name in names], mutants=mutants, seed=7, time_limit=HANG)
    assert len(found) == mutants
    assert [mutant for mutant in found if mutant.wrong] == []
    assert {mutant.outcome for mutant in found} >= {"read", "refused"}
