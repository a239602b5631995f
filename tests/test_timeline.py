"""A long video over time: the windows are those of `predict`, and what becomes of them is what a hand would write."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import export.timeline
import loaders.onepass
from benchmarks.harness.localization import OVERLAPS, average_precisions, mean_average_precision, overlap
from benchmarks.harness.records import Results
from benchmarks.timeline import join
from export import Classifier, Segment, Timeline, predict_timeline
from export.pictures import clock
from export.segments import find_segments, smooth
from loaders import Clip, ClipIndex, ClipSpec, ClipzooError, VideoError, read_clip, write_csv
from loaders.decode import frame_count
from tests.support.commands import HANG, ROOT, invoke, invoke_script, refused
from tests.support.onnx_files import LABELS, SPEC, by_hand, write_model

FPS = 10
DARK, BRIGHT = LABELS
# (seconds, gray level) one behind the other.
SCENES = ((3, 100), (4, 160), (3, 100))


def write_video(path: Path, scenes: tuple[tuple[float, int], ...] = SCENES, *, fps: float = FPS) -> Path:
    """Motion JPEG, each frame of one level, so that windows have known answers."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (48, 32))
    for seconds, level in scenes:
        for _ in range(round(seconds * fps)):
            writer.write(np.full((32, 48, 3), level, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("long") / "long.avi")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx")


@pytest.fixture(scope="module")
def found(file: Path, video: Path) -> Timeline:
    return predict_timeline(Classifier(file), video, window=1, hop=0.5)


def made(found: Timeline, probabilities: list[list[float]], labels: tuple[str, ...], **changes: object) -> Timeline:
    """A timeline of windows of a second, one every half second, with probabilities written by hand."""
    rows = np.array(probabilities, np.float32)
    spans = tuple((place / 2, place / 2 + 1) for place in range(len(rows)))
    edges, curve = smooth(spans, rows)
    segments = find_segments(edges, curve, labels, on=0.6, off=0.4, least=0.0, one_at_a_time=False)
    return replace(found, labels=labels, probabilities=rows, spans=spans, segments=segments, **changes)  # type: ignore[arg-type]


def test_an_instant_has_the_mean_of_the_windows_that_show_it() -> None:
    rows = np.array([[1, 0], [0.5, 0.5], [0, 1], [0.2, 0.8]], np.float32)
    edges, curve = smooth([(0, 2), (1, 3), (2, 4), (2.5, 4.5)], rows)
    assert edges.tolist() == [0, 1, 2, 2.5, 3, 4, 4.5]
    assert curve[:, 0].tolist() == pytest.approx([1, 0.75, 0.25, 0.7 / 3, 0.1, 0.2])
    assert curve.sum(axis=1).tolist() == pytest.approx([1] * 6)
    apart = smooth([(0, 1), (1, 2)], rows[:2])[1]
    assert apart.tolist() == rows[:2].tolist()  # what does not overlap stays as it is


def runs(levels: list[float], **options: float) -> list[tuple[float, float]]:
    settings = {"on": 0.6, "off": 0.4, "least": 0.0, **options}
    edges, curve = np.arange(len(levels) + 1.0), np.array(levels, np.float32)[:, None]
    found = find_segments(edges, curve, ("x",), one_at_a_time=False, **settings)
    assert [each.confidence for each in found] == pytest.approx(
        [np.mean(levels[int(each.start) : int(each.end)]) for each in found]
    )
    return [(each.start, each.end) for each in found]


@pytest.mark.parametrize(
    ("levels", "options", "expected"),
    [
        ([0.1, 0.7, 0.5, 0.7, 0.1], {}, [(1, 4)]),  # it wavers about `on` and stays whole
        ([0.1, 0.5, 0.5, 0.1], {}, []),  # `on` is never reached
        ([0.7, 0.1, 0.5, 0.5, 0.1], {}, [(0, 1)]),  # nor by the second
        ([0.5, 0.6, 0.4, 0.3, 0.9], {}, [(0, 3), (4, 5)]),  # at the thresholds it is there, from before `on`
        ([0.7, 0.3, 0.7, 0.7], {"least": 2.0}, [(2, 4)]),
        ([0.7, 0.5, 0.7], {"off": 0.55}, [(0, 1), (2, 3)]),
        ([0.7] * 3, {"on": 0.8}, []),
    ],
)
def test_segments_are_held_between_two_thresholds(
    levels: list[float], options: dict[str, float], expected: list[tuple[float, float]]
) -> None:
    assert runs(levels, **options) == expected
    back = [(len(levels) - end, len(levels) - start) for start, end in reversed(expected)]
    assert runs(levels[::-1], **options) == back  # a film run backwards has the same segments


def test_the_confidence_is_the_mean_over_time() -> None:
    curve = np.array([[0.6], [0.9]], np.float32)
    (found,) = find_segments(np.array([0, 1, 1.5]), curve, ("x",), on=0.6, off=0.4, least=0.0, one_at_a_time=True)
    assert found == (0, 1.5, "x", pytest.approx((0.6 + 0.9 / 2) / 1.5))


def test_one_class_at_a_time_or_each_label_for_itself() -> None:
    curve = np.array([[0.9, 0.1], [0.5, 0.45], [0.45, 0.5], [0.1, 0.9]], np.float32)
    settings = {"on": 0.6, "off": 0.4, "least": 0.0}
    one = find_segments(np.arange(5.0), curve, ("a", "b"), one_at_a_time=True, **settings)
    assert [each[:3] for each in one] == [(0, 2, "a"), (2, 4, "b")]
    several = find_segments(np.arange(5.0), curve, ("a", "b"), one_at_a_time=False, **settings)
    assert [each[:3] for each in several] == [(0, 3, "a"), (1, 4, "b")]


WINDOWS = {
    "uniform": (SPEC, 2.0),
    "segments": (SPEC.replace(sampling="segments"), 2.0),
    "dense": (SPEC.replace(sampling="dense", stride=4), 12 / FPS),
    "dense by seconds": (SPEC.replace(sampling="dense", interval=0.3), 9 / FPS),
    "flow": (SPEC.replace(modality="flow", stack=4, sampling="dense", height=24, width=32), 7 / FPS),
    "pairs": (SPEC.replace(modality="diff", pairs="sampled", sampling="dense", stride=2), 8 / FPS),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_each_window_is_what_predict_says_of_that_span(tmp_path: Path, name: str) -> None:
    spec, seconds = WINDOWS[name]
    path = write_moving(tmp_path / "moving.avi")
    classifier = Classifier(write_model(tmp_path / "model.onnx", spec=spec, shape=spec.shape))
    found = predict_timeline(classifier, path, batch_size=3)
    assert (found.window, found.hop) == (pytest.approx(seconds), pytest.approx(seconds / 2))
    assert found.spans[0] == (0, pytest.approx(seconds)) and found.spans[-1][1] == 4.7  # the last reaches the end
    assert len({tuple(row) for row in found.probabilities.tolist()}) > len(found.spans) // 2
    for span, row in zip(found.spans, found.probabilities, strict=True):
        assert row.tolist() == pytest.approx(by_hand(read_clip(path, spec, span=span)).tolist(), abs=1e-6)
        assert span[1] - span[0] == pytest.approx(seconds)
    windows = classifier.predict_windows(path, seconds)
    assert [each.probabilities[DARK] for each in windows] == found.probabilities[:, 0].tolist()
    assert found.times.tolist() == pytest.approx([(each.start + each.end) / 2 for each in windows])


def test_all_windows_are_read_in_one_pass(
    file: Path, video: Path, found: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    follow = loaders.onepass.follow_frames
    monkeypatch.setattr(loaders.onepass, "follow_frames", lambda *given: passes.append(given[0]) or follow(*given))
    again = predict_timeline(Classifier(file), video, window=1, hop=0.1)
    assert passes == [video]
    assert len(again.spans) == 91
    every_fifth = again.probabilities[::5]
    assert every_fifth.tolist() == found.probabilities.tolist()


def write_moving(path: Path) -> Path:
    """47 frames, all different."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(60, 200, (32, 200, 3), np.uint8), (0, 0), 4)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (48, 32))
    for number in range(47):
        writer.write(np.ascontiguousarray(wide[:, 3 * number : 3 * number + 48]) // 2 + np.uint8(number + 40))
    writer.release()
    return path


def test_what_happens_when_is_found(found: Timeline) -> None:
    assert [each.label for each in found.segments] == [DARK, BRIGHT, DARK]
    # Windows that see both scenes answer for the longer; smoothing leaves half a hop of doubt on each side.
    assert [each.start for each in found.segments] == pytest.approx([0, 3, 7], abs=0.51)
    assert [each.end for each in found.segments] == pytest.approx([3, 7, 10], abs=0.51)
    assert all(0.6 < each.confidence <= 1 for each in found.segments)
    assert (found.seconds, len(found.spans), found.least) == (10, 19, 1)


def test_tables_captions_and_json_say_the_same(found: Timeline, tmp_path: Path) -> None:
    for suffix in ("csv", "vtt", "json"):
        found.write(tmp_path / "new" / f"t.{suffix}")
    with (tmp_path / "new" / "t.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(float(r["start"]), float(r["end"]), r["label"]) for r in rows] == [each[:3] for each in found.segments]
    assert [float(r["confidence"]) for r in rows] == pytest.approx([e.confidence for e in found.segments], abs=1e-4)
    held = json.loads((tmp_path / "new" / "t.json").read_text())
    assert [Segment(**each) for each in held["segments"]] == list(found.segments)
    assert (held["labels"], held["window"], held["hop"], held["file"]) == (list(LABELS), 1, 0.5, found.file)
    assert [(each["start"], each["end"]) for each in held["windows"]] == list(found.spans)
    assert np.array([w["probabilities"] for w in held["windows"]]) == pytest.approx(found.probabilities, abs=1e-6)
    head, *cues = (tmp_path / "new" / "t.vtt").read_text().split("\n\n")
    assert head == "WEBVTT" and len(cues) == 3
    assert cues[0].splitlines()[0] == f"00:00:00.000 --> 00:00:0{found.segments[0].end:.3f}"
    assert cues[0].splitlines()[1] == f"{DARK} {found.segments[0].confidence:.0%}"


def test_names_cannot_break_a_file(found: Timeline, tmp_path: Path) -> None:
    odd = ('a, "b"', "<i> --> &", "$\\nosuch{$", "plain")
    name = tmp_path / "$\\nosuch{$.avi"
    name.write_bytes(Path(found.file).read_bytes())
    timeline = made(found, [[0.9, 0.9, 0.9, 0.1]] * 3, odd, file=str(name))
    for suffix in ("csv", "vtt", "json", "png"):
        timeline.write(tmp_path / f"t.{suffix}")
    with (tmp_path / "t.csv").open() as lines:
        assert [row["label"] for row in csv.DictReader(lines)] == list(odd[:3])
    cues = (tmp_path / "t.vtt").read_text()
    assert "&lt;i&gt; --&gt; &amp; 90%" in cues and cues.count("-->") == 3
    assert json.loads((tmp_path / "t.json").read_text())["labels"] == list(odd)


def test_the_times_of_captions_and_of_pictures(found: Timeline, tmp_path: Path) -> None:
    late = replace(found, segments=(Segment(3599.9996, 3599.9999, DARK, 0.9), Segment(7322.5, 7400, DARK, 1.0)))
    late.write(tmp_path / "t.vtt")
    times = [line for line in (tmp_path / "t.vtt").read_text().splitlines() if "-->" in line]
    assert times == ["01:00:00.000 --> 01:00:00.001", "02:02:02.500 --> 02:03:20.000"]
    assert [clock(at) for at in (0, 59.6, 750, 3723)] == ["0:00", "1:00", "12:30", "1:02:03"]
    assert clock(65.25, decimals=2) == "1:05.25"


def test_a_picture_shows_the_frames_and_the_segments(found: Timeline, tmp_path: Path) -> None:
    found.write(tmp_path / "t.PNG")
    picture = cv2.imread(str(tmp_path / "t.PNG"))
    tall, wide = picture.shape[:2]
    assert wide == 1320 and (picture[[0, -1]] == 255).all()  # white all around
    grays = {level: (np.abs(picture.astype(int) - level) <= 3).all(axis=2).sum() for level in (100, 160)}
    assert grays[160] > 20_000 and grays[100] > 20_000  # frames of both scenes
    first, second = ((picture == color).all(axis=2) for color in ([178, 114, 0], [0, 94, 213]))  # BGR
    lengths = [sum(e.end - e.start for e in found.segments if e.label == name) for name in LABELS]
    assert first.sum() / second.sum() == pytest.approx(lengths[0] / lengths[1], rel=0.25)  # bars as long as they last
    none = made(found, [[0.5, 0.5]] * 19, ("$\\nosuch{$", "plain"))
    assert none.segments == ()
    none.write(tmp_path / "none.png")
    assert cv2.imread(str(tmp_path / "none.png")).shape[1] == 1320
    many = made(found, [[0.9] * 14] * 19, tuple(f"label {n}" for n in range(14)))  # more than there are colors
    many.write(tmp_path / "many.png")
    assert tall < cv2.imread(str(tmp_path / "many.png")).shape[0] < 1000


def test_a_picture_without_matplotlib_is_one_sentence(
    found: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.timeline, "find_spec", lambda name: None)
    with pytest.raises(ClipzooError, match=r't\.png: a picture needs matplotlib: pip install "clipzoo\[train\]"'):
        found.write(tmp_path / "t.png")
    found.write(tmp_path / "t.vtt")


def test_the_command_prints_segments_and_writes_files(file: Path, video: Path, tmp_path: Path) -> None:
    out = [tmp_path / f"t.{suffix}" for suffix in ("png", "json", "csv", "vtt")]
    words = [word for path in out for word in ("--timeline", path)]
    done = invoke("predict", file, video, *words, "--window", 1, "--hop", 0.5, "--on", 0.7, "--off", 0.5)
    assert done.returncode == 0, done.stderr
    assert "19 windows of 1 s, one every 0.5 s" in done.stdout
    assert all(path.is_file() and f"wrote {path}" in done.stdout for path in out)
    held = json.loads(out[1].read_text())
    assert (held["on"], held["off"], held["least"], len(held["segments"])) == (0.7, 0.5, 1, 3)
    for segment in held["segments"]:
        assert f"{segment['start']:.2f} s" in done.stdout and segment["label"] in done.stdout
    none = invoke("predict", file, video, "--timeline", out[2], "--least", 9)
    assert none.returncode == 0 and "no label reaches 60% and stays at 40% for 9 s" in none.stdout
    assert out[2].read_text() == "start,end,label,confidence\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--timeline t.pgn", "t.pgn: ends in '.pgn', and that says what a timeline is written as; did you mean .png?"),
        ("--timeline t", "t: has no suffix"),
        ("--timeline t.csv --hop 0", "hop (0.0) must be a number above 0 seconds"),
        ("--timeline t.csv --hop 3", "hop (3 s) must be at most the window (2 s)"),
        ("--timeline t.csv --window -1", "window (-1.0) must be a number above 0"),
        ("--timeline t.csv --on 0.4", "off (0.4) must be below on (0.4)"),
        ("--timeline t.csv --on 1.5", "on (1.5) must be a number above 0 and at most 1"),
        ("--timeline t.csv --least nan", "least (nan) must be a finite number"),
        ("--timeline t.csv --json t.json", "not with --timeline; --timeline FILE.json"),
        ("--on 0.7", "--on 0.7 needs --timeline FILE"),
        ("--hop 1", "needs --window"),
    ],
)
def test_mistakes_are_sentences(file: Path, video: Path, words: str, said: str) -> None:
    refused(invoke("predict", file, video, *words.split()), said)


def test_a_timeline_is_of_one_video(file: Path, video: Path, tmp_path: Path) -> None:
    refused(invoke("predict", file, video, video, "--timeline", tmp_path / "t.csv"), "is of one video, and 2 are given")
    (tmp_path / "t.csv").mkdir()
    refused(invoke("predict", file, video, "--timeline", tmp_path / "t.csv"), "is a folder")
    refused(invoke("predict", file, tmp_path / "no" / "a.mp4", "--timeline", "t.csv"), "no/a.mp4: cannot be read")
    (tmp_path / "noise.mp4").write_bytes(b"this is no video")
    refused(invoke("predict", file, tmp_path / "noise.mp4", "--timeline", "t.csv"), "is not a video")
    assert not Path("t.csv").exists()


def test_one_frame_is_a_window_and_a_segment(file: Path, tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.avi", ((1 / FPS, 20),))
    found = predict_timeline(Classifier(file), one)
    assert found.segments == (Segment(0.0, 1 / FPS, DARK, pytest.approx(1, abs=1e-4)),)
    for suffix in ("png", "vtt"):
        found.write(tmp_path / f"t.{suffix}")
    none = tmp_path / "none.avi"
    cv2.VideoWriter(str(none), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (48, 32)).release()
    with pytest.raises(VideoError, match=r"none\.avi"):
        predict_timeline(Classifier(file), none)


def test_a_damaged_video_goes_as_far_as_it_can_be_decoded(file: Path, video: Path, tmp_path: Path) -> None:
    whole = video.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: 6 * len(whole) // 10])
    frames, _ = frame_count(cut)
    assert 20 < frames < 90
    found = predict_timeline(Classifier(file), cut, window=1)
    assert found.seconds == pytest.approx(frames / FPS)
    assert [each.label for each in found.segments] == [DARK, BRIGHT]
    found.write(tmp_path / "t.png")


def test_a_header_that_claims_ten_hours_is_not_believed(
    file: Path, video: Path, found: Timeline, tmp_path: Path
) -> None:
    content, claimed = bytearray(video.read_bytes()), tmp_path / "claimed.avi"
    for place in (content.index(b"avih") + 24, content.index(b"strh") + 40):  # its counts of frames
        struct.pack_into("<I", content, place, 10 * 3600 * FPS)
    claimed.write_bytes(content)
    assert cv2.VideoCapture(str(claimed)).get(cv2.CAP_PROP_FRAME_COUNT) == 10 * 3600 * FPS
    long = predict_timeline(Classifier(file), claimed, window=1, hop=0.5)
    assert (long.seconds, long.segments) == (found.seconds, found.segments)


def test_a_real_video_damaged_in_the_middle(file: Path, data: Path) -> None:
    found = predict_timeline(Classifier(file), data / "clips" / "corrupted.mp4", window=1, on=0.5, off=0.1)
    assert found.seconds == 2.8 and found.segments  # 28 of 50 frames, 10 a second


def test_numbers_make_no_segments_and_labels_of_their_own_overlap(file: Path, video: Path) -> None:
    classifier = Classifier(file)
    classifier.metadata = replace(classifier.metadata, task="regression")
    with pytest.raises(ClipzooError, match=r"levels\.onnx: answers with numbers, which make no segments"):
        predict_timeline(classifier, video)
    thresholds = {"window": 1.0, "on": 0.6, "off": 1e-6, "least": 0.0}
    classifier.metadata = replace(classifier.metadata, task="multilabel")
    several = predict_timeline(classifier, video, **thresholds)  # type: ignore[arg-type]
    assert [each[:3] for each in several.segments] == [(0, 10, DARK), (0, 10, BRIGHT)]
    classifier.metadata = replace(classifier.metadata, task="classification")
    one = predict_timeline(classifier, video, **thresholds)  # type: ignore[arg-type]
    assert [each.label for each in one.segments] == [DARK, BRIGHT, DARK]
    assert all(before.end <= after.start for before, after in pairwise(one.segments))


def seg(start: float, end: float, label: str = "a", confidence: float = 1.0) -> Segment:
    return Segment(start, end, label, confidence)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(seg(0, 2), seg(1, 3)) == pytest.approx(1 / 3)
    assert overlap(seg(0, 4), seg(1, 2)) == pytest.approx(1 / 4)
    assert overlap(seg(0, 1), seg(1, 2)) == overlap(seg(0, 1), seg(5, 6)) == 0
    assert overlap(seg(0, 1), seg(0, 1)) == 1


def test_average_precision_by_hand() -> None:
    truth = {"v": [seg(0, 10), seg(20, 30)], "w": [seg(0, 10), seg(0, 10, "b")]}

    def found(*segments: Segment, video: str = "v", least: float = 0.5) -> float:
        return average_precisions({video: segments}, truth, least=least)["a"]

    assert average_precisions(truth, truth, least=0.7) == {"a": 1, "b": 1}
    assert found() == 0
    assert found(seg(0, 10)) == pytest.approx(1 / 3)
    assert found(seg(0, 10), seg(0, 10)) == pytest.approx(1 / 3)  # each true segment is found once
    # Right, wrong, right: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    assert found(seg(0, 9, confidence=0.9), seg(50, 60, confidence=0.8), seg(20, 30, confidence=0.7)) == pytest.approx(
        (1 + 2 / 3) / 3
    )
    # Wrong, right, right: the precision beyond a recall counts, not that at it.
    assert found(seg(50, 60, confidence=0.9), seg(0, 10, confidence=0.8), seg(20, 30, confidence=0.7)) == pytest.approx(
        2 * (2 / 3) / 3
    )
    assert found(seg(20, 30), video="w") == 0  # in another video
    assert found(seg(0, 4)) == 0 and found(seg(0, 4), least=0.4) > 0  # 4 of 10 seconds
    assert mean_average_precision({"v": [seg(0, 10)], "w": []}, truth, least=0.5) == pytest.approx((1 / 3 + 0) / 2)


def test_a_segment_takes_the_true_one_that_it_overlaps_most() -> None:
    truth = {"v": [seg(0, 6), seg(4, 10)]}
    wide = seg(1, 10, confidence=0.9)  # overlaps the second more
    assert average_precisions({"v": [wide, seg(0, 6, confidence=0.8)]}, truth, least=0.3) == {"a": 1}
    assert average_precisions({"v": [wide, seg(4, 10, confidence=0.8)]}, truth, least=0.3) == {"a": 0.5}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of dark and bright clips of a second or more, at two rates."""
    root = tmp_path_factory.mktemp("levels")
    rows = []
    for number in range(8):
        label = LABELS[number % 2]
        write_video(root / f"{number}.avi", ((1.5, (90, 170)[number % 2]),), fps=(10, 30)[number // 4])
        rows.append(Clip(f"{number}.avi", label, "test"))
    write_csv(ClipIndex(root, tuple(rows)), root / "list.csv")
    return root / "list.csv"


def test_the_benchmark_finds_what_it_joined(file: Path, clips: Path, tmp_path: Path) -> None:
    command = ("timeline", file, clips, "--videos", 2, "--each", 4, "--window", 0.5, "--seed", 3)
    done = invoke_script(*command, "--json", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    (row,) = Results.load(tmp_path / "out.jsonl").rows
    held = row.facts
    assert held["mean_average_precision"] == {str(each): 1.0 for each in OVERLAPS}
    assert "100.0%" in done.stdout
    for segments in held["truth"].values():
        assert [start for start, *_ in segments] == [0, *(end for _, end, *_ in segments[:-1])]
        assert segments[-1][1] == 6  # four clips, a second and a half each, whatever their rate
        assert all(before[2] != after[2] for before, after in pairwise(segments))
    assert set(held["found"]) == set(held["truth"]) == {"0.avi", "1.avi"}
    refused(invoke_script(*command, "--json", tmp_path / "out.jsonl"), "is there already")
    many = ("timeline", file, clips, "--json", tmp_path / "more.jsonl")
    refused(invoke_script(*many), "10 videos of 12 clips take 120, and there are 8 test clips")


def test_clips_are_joined_in_their_own_time(tmp_path: Path) -> None:
    write_video(tmp_path / "slow.avi", ((1, 60), (1, 180)), fps=10)
    write_video(tmp_path / "fast.avi", ((0.5, 90),), fps=60)
    index = ClipIndex(tmp_path, (Clip("slow.avi", "slow"), Clip("fast.avi", "fast")))
    assert join(index, [0, 1], tmp_path / "joined.avi") == [seg(0, 2, "slow"), seg(2, 2.5, "fast")]
    spec = ClipSpec(frames=75, height=8, width=8)
    levels = read_clip(tmp_path / "joined.avi", spec).mean(axis=(1, 2, 3))
    assert levels.tolist() == pytest.approx([60] * 30 + [180] * 30 + [90] * 15, abs=3)


@pytest.mark.keras
@pytest.mark.slow
def test_a_trained_file_has_a_timeline(onnx_file: Path, videos: Path, tmp_path: Path) -> None:
    clip = next((videos / "left").iterdir())
    done = invoke("predict", onnx_file, clip, "--timeline", tmp_path / "t.json", "--on", 0.01, "--off", 0)
    assert done.returncode == 0, done.stderr
    held = json.loads((tmp_path / "t.json").read_text())
    assert held["labels"] == ["left", "up"] and held["segments"]
    answer = Classifier(onnx_file).predict(clip)  # 8 frames are one window
    (window,) = held["windows"]
    assert dict(zip(held["labels"], window["probabilities"], strict=True)) == pytest.approx(
        answer.probabilities, abs=1e-6
    )


_PEAK = """
import resource, sys
from export import Classifier, predict_timeline
found = predict_timeline(Classifier(sys.argv[1]), sys.argv[2])
found.write(sys.argv[3])
print(len(found.spans), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    spec = ClipSpec(frames=16, height=64, width=64, sampling="dense")
    file = write_model(tmp_path / "levels.onnx", spec=spec, shape=spec.shape)
    peaks = {}
    for minutes in (0.5, 30):
        path = write_video(tmp_path / f"{minutes}.avi", ((60 * minutes, 100),), fps=30)
        words = [sys.executable, "-c", _PEAK, str(file), str(path), str(tmp_path / "t.json")]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stderr
        windows, peaks[minutes] = map(int, done.stdout.split())
        assert windows == pytest.approx(minutes * 60 * 30 / 8, abs=2)
    frames = 30 * 60 * 30 * 32 * 48 * 3 / 1024
    assert peaks[30] - peaks[0.5] < 60 * 1024 < frames  # KiB: all frames would be four times as much
