"""The page in a headless browser: it answers as the runtime does, on frames and on files, and a visitor can use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import Classifier, to_onnx, write_web_page
from loaders import read_clip
from tests.support.h264 import remux, write_h264
from tests.support.onnx_files import write_model
from tests.support.web import CHROMIUM, in_browser

FAMILIES = ("convnet_gru", "mobilenet_gru", "mobilenetv2_average", "tsm_mobilenetv2", "i3d", "dtpp_rgb")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="pages are tested in Chromium, which is not installed"),
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime Web: CLIPZOO_RUNTIME_WEB names its folder, else npm gets it."""
    from export.web.runtime import fetch_runtime
    from loaders import ClipzooError

    if "CLIPZOO_RUNTIME_WEB" in os.environ:
        return Path(os.environ["CLIPZOO_RUNTIME_WEB"])
    try:
        return fetch_runtime(tmp_path_factory.mktemp("npm"))
    except ClipzooError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def forty(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """40 real H.264 clips in MP4: 20 of surveillance cameras as they are, 20 of HMDB51 out of AVI."""
    folder = tmp_path_factory.mktemp("h264")
    fights = sorted((data / "fights").glob("*/*.mp4"))[::15]
    actions = sorted((data / "hmdb21").glob("*/*.avi"))[::45]
    yield [*fights[:20], *(remux(path, folder / f"{n}.mp4") for n, path in enumerate(actions[:20]))]


def test_a_visitor_sees_the_answer_of_a_file(runtime: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "levels.onnx")
    page = write_web_page(model, tmp_path / "page", runtime=runtime, title="How bright?")
    video = write_h264(tmp_path / "clip.mp4", frames=150, rate=25, bframes="3")
    found = in_browser(page, [{"kind": "page", "file": "clip.mp4"}], {"clip.mp4": video})
    (seen,) = found["answers"]
    expected = Classifier(model).predict(video)
    assert found["isolated"] and (os.cpu_count() == 1 or "threads" in found["where"])  # by the service worker alone
    assert (seen["title"], seen["best"], seen["message"]) == ("How bright?", expected.label, "")
    assert expected.probability is not None and f"{round(100 * expected.probability)} %" in seen["bars"]
    assert "150 frames" in seen["facts"] and "ms" in seen["facts"] and "time a clip" in seen["facts"]
    assert seen["cells"] >= 6 and seen["now"] and seen["clock"].startswith("At 0:0")


def test_a_file_that_is_no_video_is_said(runtime: Path, tmp_path: Path) -> None:
    page = write_web_page(write_model(tmp_path / "levels.onnx"), tmp_path / "page", runtime=runtime)
    (seen,) = in_browser(page, [{"kind": "page", "file": "x"}], {"x": b"this is no video"})["answers"]
    assert "cannot play clip.mp4" in seen["message"] and not seen["bars"]


@pytest.mark.keras
@pytest.mark.either
@pytest.mark.parametrize(
    "name", ["convnet_gru", "mobilenet_gru", "mobilenetv2_average", "tsm_mobilenetv2", "i3d", "dtpp_rgb"]
)
def test_given_frames_get_the_answer_of_the_runtime(name: str, runtime: Path, tmp_path: Path) -> None:
    from tests.support.models import clips_for, lively

    model = lively(name)
    clips = clips_for(model)
    to_onnx(model, tmp_path / "model.onnx")
    classifier = Classifier(tmp_path / "model.onnx")
    page = write_web_page(tmp_path / "model.onnx", tmp_path / "page", runtime=runtime)
    (key,) = classifier.specs
    files: dict[str, Path | bytes] = {f"{n}.{key}": clip.tobytes() for n, clip in enumerate(clips)}
    found = in_browser(page, [{"kind": "clip", "file": str(n)} for n in range(len(clips))], files)
    expected = classifier.scores(clips)["probabilities"]
    assert np.ptp(expected, axis=0).max() > 1e-3  # far more than what is allowed
    assert np.abs(np.array(found["answers"]) - expected).max() <= 1e-4


@pytest.mark.keras
@pytest.mark.either
def test_files_get_the_answer_of_the_runtime(runtime: Path, forty: list[Path], tmp_path: Path) -> None:
    import zoo
    from tests.support.models import lively

    model = lively("mobilenet_gru", classes=tuple("abcdefgh"), frames=5, size=64)
    _tell_apart(model, np.stack([read_clip(path, next(iter(zoo.specs(model).values()))) for path in forty]))
    to_onnx(
        model, tmp_path / "model.onnx", force=True
    )  # such answers are all but sure, and its check knows other clips
    classifier = Classifier(tmp_path / "model.onnx")
    page = write_web_page(tmp_path / "model.onnx", tmp_path / "page", runtime=runtime)
    names = [f"{n}.mp4" for n in range(len(forty))]
    found = in_browser(page, [{"kind": "video", "file": n} for n in names], dict(zip(names, forty, strict=True)))[
        "answers"
    ]
    assert len(found) == 40 and all(each.get("exact") for each in found), found
    expected = np.concatenate(list(classifier.answers(forty)))
    seen = np.array([each["answer"] for each in found])
    assert len(set(expected.argmax(1))) >= 6  # it tells them apart
    same = int((seen.argmax(1) == expected.argmax(1)).sum())
    off = np.abs(seen - expected)
    print(f"same top-1 {same} of 40, mean difference {off.mean():.5f}, greatest {off.max():.5f}")
    assert same >= 38
    assert off.mean() <= 0.02


def _tell_apart(model: Any, clips: np.ndarray) -> None:
    """Centers and widens the logits of a model for some clips, so that each class is the answer of some of them."""
    import keras

    from benchmarks.harness.models import leaves

    head = [layer for layer in leaves(model) if isinstance(layer, keras.layers.Dense)][-1]
    logits = np.log(model.predict(clips, verbose=0) + 1e-9)
    logits -= logits.mean(axis=1, keepdims=True)
    scale = 2 / logits.std(axis=0).mean()
    kernel, bias = head.get_weights()
    head.set_weights([kernel * scale, (bias - logits.mean(axis=0)) * scale])
