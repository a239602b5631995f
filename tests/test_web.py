"""A file becomes a page: the folder, and the page's own modules, held against what Python computes."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from export import Classifier, write_web_page
from export.segments import smooth
from export.web.page import check_clip
from export.web.runtime import FILES
from loaders import ClipIndex, ClipSpec, ClipzooError, read_clip
from loaders.sampling import sample, windows
from tests.support.commands import invoke, refused
from tests.support.h264 import write_h264
from tests.support.onnx_files import SPEC, write_model
from tests.support.web import SITE, fake_runtime, in_node

SIZES = (
    ((240, 320), (112, 112)), ((224, 224), (112, 112)), ((336, 224), (112, 112)), ((113, 131), (112, 112)),
    ((57, 43), (20, 31)), ((40, 50), (64, 80)), ((100, 300), (150, 150)), ((128, 64), (32, 64)),
    ((256, 454), (224, 397)),
)  # fmt: skip


def image(pixels: np.ndarray) -> dict[str, Any]:
    """As the page's modules have one."""
    height, width, channels = pixels.shape
    return {"height": height, "width": width, "channels": channels, "data": np.ascontiguousarray(pixels)}


def array(found: Any, height: int | None = None, width: int | None = None) -> np.ndarray:
    """What they gave, as an array."""
    return np.frombuffer(found["data"], np.uint8).reshape(height or found["height"], width or found["width"], -1)


def loads(file: Path) -> str:
    """What a file of the page loads, as far as its text says so."""
    return " ".join(
        re.findall(r"""(?:src|href)="[^"]*"|url\([^)]*\)|fetch\([^)]*\)|import[ (][^;]*""", file.read_text())
    )


def test_frames_are_sampled_as_python_samples_them() -> None:
    specs = [
        ClipSpec(frames=frames, height=8, width=8, modality=modality, sampling=sampling, short=short, **more)
        for frames, modality, (sampling, more), short in itertools.product(
            (1, 2, 5, 16),
            ("rgb", "grouped"),
            (("uniform", {}), ("segments", {}), ("dense", {}), ("dense", {"stride": 3}), ("dense", {"interval": 0.1})),
            ("spread", "repeat_last", "wrap", "error"),
        )
    ]
    specs += [
        ClipSpec(frames=4, height=8, width=8, modality="grouped", pairs="sampled", short=s) for s in ("wrap", "error")
    ]
    cases = [(count, spec, fps) for count in (*range(1, 25), 29, 30, 250) for spec in specs for fps in (25.0,)]
    cases += [
        (250, ClipSpec(frames=4, height=8, width=8, sampling="dense", interval=1.0), fps) for fps in (2.5, 3.5, 29.97)
    ]
    found = in_node(("sampling", "sample", (count, spec.to_dict(), fps)) for count, spec, fps in cases)
    refusals = 0
    for (count, spec, fps), steps in zip(cases, found, strict=True):
        try:
            expected = [list(element) for (element,) in sample(count, spec, fps=fps)]
        except ClipzooError:
            refusals += 1
            assert isinstance(steps, ValueError) and "too few frames" in str(steps), (count, spec)
        else:
            assert steps == expected, (count, spec)
    assert 100 < refusals < len(cases) / 2


def test_windows_and_what_they_say_together_are_as_in_a_timeline() -> None:
    cases = [
        (count, length, stride) for count in (1, 5, 50, 250, 251) for length in (1, 50, 64) for stride in (1, 25, 32)
    ]
    spans = windows(251, 50, 25)
    answers = np.random.default_rng(0).random((len(spans), 3), np.float32)
    calls = [("sampling", "windows", case) for case in cases]
    *found, parts = in_node([*calls, ("sampling", "smooth", (spans, answers.tolist()))])
    assert [[tuple(span) for span in each] for each in found] == [windows(*case) for case in cases]
    edges, curve = smooth(spans, answers)
    assert [(part["start"], part["stop"]) for part in parts] == list(itertools.pairwise(edges))
    np.testing.assert_allclose([part["answer"] for part in parts], curve, atol=1e-6)


@pytest.mark.parametrize("name", ["area", "linear", "cubic", "nearest"])
def test_frames_are_resized_as_opencv_resizes_them(name: str) -> None:
    rng = np.random.default_rng(0)
    frames = [cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), np.uint8), (0, 0), 0.6) for size, _ in SIZES]
    found = in_node(("pixels", "resize", (image(f), *to, name)) for f, (_, to) in zip(frames, SIZES, strict=True))
    for frame, (_, (tall, broad)), each in zip(frames, SIZES, found, strict=True):
        expected = cv2.resize(frame, (broad, tall), interpolation=getattr(cv2, f"INTER_{name.upper()}"))
        off = np.abs(array(each).astype(int) - expected)
        assert off.max() <= 1 and (off > 0).mean() < 0.005, (frame.shape, expected.shape, off.max(), (off > 0).mean())


def test_clips_are_those_of_read_clip(motion: ClipIndex) -> None:
    path = motion.paths[3]
    video = cv2.VideoCapture(str(path))
    frames = [frame[..., ::-1] for ok, frame in iter(video.read, (False, None)) if ok]
    base = ClipSpec(frames=5, height=24, width=20)
    specs = [
        base, base.replace(color_order="bgr", short="wrap", frames=12), base.replace(resize="fit"),
        base.replace(resize="fit", resize_to=31, interpolation="linear"), base.replace(modality="gray"),
        base.replace(modality="grouped", resize="fit", sampling="segments"), base.replace(height=200, width=170),
        base.replace(height=frames[0].shape[0], width=frames[0].shape[1]),
    ]  # fmt: skip
    prepared = in_node(("pixels", "prepare", (image(f), spec.to_dict())) for spec in specs for f in frames)
    count = len(frames)
    steps = in_node(("sampling", "sample", (count, spec.to_dict(), 25)) for spec in specs)
    held = [{"$map": list(enumerate(prepared[n * count : (n + 1) * count]))} for n in range(len(specs))]
    clips = in_node(
        ("pixels", "assemble", (taken, kept, spec.to_dict()))
        for taken, kept, spec in zip(steps, held, specs, strict=True)
    )
    for spec, clip in zip(specs, clips, strict=True):
        expected = read_clip(path, spec)
        off = np.abs(np.frombuffer(clip, np.uint8).reshape(spec.shape).astype(int) - expected)
        assert off.max() <= 1 and (off > 0).mean() < 0.01, (spec, off.max())
        assert np.ptp(expected) > 50


@pytest.mark.parametrize(
    ("pixels", "x264"),
    [
        ("yuv420p", {}),
        ("yuv420p", {"colormatrix": "bt709", "bframes": "3"}),
        ("yuv420p", {"colormatrix": "bt2020nc", "sar": "4/3"}),
        ("yuv420p", {"colormatrix": "smpte240m", "videoformat": "pal", "cqm": "jvt"}),
        ("yuvj420p", {"fullrange": "on"}),
    ],
)
def test_colors_of_h264_are_those_of_opencv(tmp_path: Path, pixels: str, x264: dict[str, str]) -> None:
    path = write_h264(tmp_path / "clip.mp4", frames=4, pixels=pixels, **x264)
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
    (table,) = in_node([("mp4", "readFrameTable", ({"$blob": path.read_bytes()},))])

    def planes(picture: np.ndarray) -> dict[str, Any]:  # (height * 3 / 2, width): Y, then U, then V, rows of 65 bytes
        sizes, at, found = ((98, 130), (49, 65), (49, 65)), 0, {}
        for name, (height, width) in zip("yuv", sizes, strict=True):
            found[name] = {"data": picture, "offset": at, "stride": width, "step": 1}
            at += height * width
        return found

    found = in_node(("colors", "toRgb", (planes(picture), 98, 130, table["colors"])) for picture in pictures)
    video = cv2.VideoCapture(str(path))
    for each in found:
        expected = video.read()[1][..., ::-1]
        assert np.abs(array(each).astype(int) - expected).max() <= 3  # 0 where libswscale has this processor's own code
        assert np.ptp(expected) > 100


def test_the_table_of_an_mp4_file_is_that_of_its_packets(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "clip.mp4", frames=40, rate=30, bframes="3")
    plain = write_h264(tmp_path / "plain.mov", frames=3, bframes="0")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        shown = sorted(float(packet.pts * packet.time_base) for packet in packets)
    table, other, none, cut = in_node(
        ("mp4", "readFrameTable", ({"$blob": data},))
        for data in (path.read_bytes(), plain.read_bytes(), b"this is no video", path.read_bytes()[:200])
    )
    assert none is None and cut is None
    assert (table["fps"], table["rotation"], table["codec"][:7]) == (30, 0, "avc1.64")
    assert [sample["size"] for sample in table["samples"]] == [packet.size for packet in packets]
    assert [sample["key"] for sample in table["samples"]] == [packet.is_keyframe for packet in packets]
    data = path.read_bytes()
    for each, packet in zip(table["samples"], packets, strict=True):
        assert data[each["offset"] : each["offset"] + each["size"]] == bytes(packet)
    times = sorted(sample["time"] / 1e6 for sample in table["samples"] if sample["shown"])
    np.testing.assert_allclose(times, np.array(shown) - shown[0], atol=2e-6)
    assert len(other["samples"]) == 3 and other["fps"] == 25


def test_frames_are_turned_and_rates_found() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    turns = {0: frame, 90: np.rot90(frame, -1), 180: np.rot90(frame, 2), 270: np.rot90(frame)}
    found = in_node(("colors", "turned", (image(frame), degrees)) for degrees in turns)
    for each, expected in zip(found, turns.values(), strict=True):
        np.testing.assert_array_equal(array(each), expected)
    milliseconds = [round(n * 1000 / 24) / 1000 for n in (0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)]  # some lack
    ntsc = [n * 1001 / 30000 for n in range(16)]
    odd = [n / 17 for n in range(16)]
    assert in_node(("video", "rateOf", (times,)) for times in (milliseconds, ntsc, odd, [0.5])) == pytest.approx(
        [24, 30000 / 1001, 17, 30]
    )


def test_the_folder_has_all_that_the_page_needs(tmp_path: Path) -> None:
    model, out = (
        write_model(tmp_path / "levels.onnx", sealed=True, labels=("größer", "<b>")),
        tmp_path / "deep" / "page",
    )
    runtime = fake_runtime(tmp_path / "ort")
    done = invoke("web", model, out, "--runtime-web", runtime, "--title", "Bright?")
    assert done.returncode == 0 and str(out) in done.stdout, done.stderr
    assert {path.name for path in (out / "runtime").iterdir()} == {*FILES, "LICENSE"}
    assert "Microsoft" in (out / "runtime" / "LICENSE").read_text()
    assert (out / "model.onnx").read_bytes() == model.read_bytes()
    for path in SITE.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    for file in out.glob("*.js"):  # what a module imports is there
        for name in re.findall(r'(?:from|import\() ?"\./([^"]+)"', file.read_text()):
            assert (out / name).is_file(), (file, name)
    assert not [file for file in out.iterdir() if file.suffix in (".html", ".css", ".js") and "//" in loads(file)]
    contract = json.loads((out / "contract.json").read_text(encoding="utf-8"))
    assert (contract["title"], contract["labels"]) == ("Bright?", ["größer", "<b>"])
    assert contract["specs"] == {"video": SPEC.to_dict()}
    (clip,) = in_node([("model", "checkClip", (contract["specs"],))])
    np.testing.assert_array_equal(np.frombuffer(clip["video"], np.uint8).reshape(1, *SPEC.shape), check_clip(SPEC))
    expected = Classifier(model).scores(check_clip(SPEC))["probabilities"][0]
    assert contract["check"] == pytest.approx(expected.tolist())
    assert [path.name for path in out.parent.iterdir()] == ["page"]


def test_a_page_is_replaced_only_when_asked_and_nothing_else_ever(tmp_path: Path) -> None:
    model, runtime = write_model(tmp_path / "m.onnx"), fake_runtime(tmp_path / "ort")
    (runtime / "LICENSE").write_text("their own")
    out = write_web_page(model, tmp_path / "page", runtime=runtime / "dist")
    assert (out / "runtime" / "LICENSE").read_text() == "their own"
    (out / "old.js").write_text("")
    refused(invoke("web", model, out, "--runtime-web", runtime), "is not empty", "--overwrite")
    other = write_model(tmp_path / "other.onnx", labels=("x", "y"))
    assert invoke("web", other, out, "--runtime-web", runtime, "--overwrite").returncode == 0
    assert json.loads((out / "contract.json").read_text())["labels"] == ["x", "y"] and not (out / "old.js").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("mine")
    refused(invoke("web", model, mine, "--runtime-web", runtime, "--overwrite"), "something else than a page")
    assert [path.name for path in mine.iterdir()] == ["index.html"]
    refused(invoke("web", model, mine / "index.html", "--runtime-web", runtime), "is a file")
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "other.onnx", "ort", "page", "mine"}


def test_mistakes_are_said_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out, runtime = write_model(tmp_path / "m.onnx"), tmp_path / "page", fake_runtime(tmp_path / "ort")
    refused(
        invoke("web", write_model(tmp_path / "s.onnx", metadata=False), out), "s.onnx", "without clipzoo's metadata"
    )
    refused(invoke("web", tmp_path / "none.onnx", out), "no such file")
    lacking = fake_runtime(tmp_path / "few", lacking=FILES[1:3])
    refused(invoke("web", model, out, "--runtime-web", lacking), f"few/dist: lacks {FILES[1]}, {FILES[2]}")
    refused(invoke("web", model, out, "--runtime-web", tmp_path / "nowhere"), "nowhere: is no folder", "--runtime-web")
    spec = ClipSpec(frames=3, height=8, width=10, modality="diff")
    compared = write_model(tmp_path / "diff.onnx", spec=spec)
    refused(invoke("web", compared, out, "--runtime-web", runtime), "'video' takes diff", "rgb, gray, grouped")
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    refused(invoke("web", model, out), "npm, which gets onnxruntime-web@", "install Node.js", "--runtime-web")
    npm = tools / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    npm.chmod(0o755)
    refused(invoke("web", model, out), "npm cannot get onnxruntime-web@", "network is down", "--runtime-web")
    npm.write_text('#!/bin/sh\necho another > "$4/onnxruntime-web.tgz"\n')
    refused(invoke("web", model, out), "is not the one that clipzoo knows")
    assert not out.exists() and not list(tmp_path.glob(".page*"))
