"""The exported file at work, without Keras: on a hand-made ONNX file, so that nothing here needs a converter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from benchmarks import bench
from export import Classifier, network
from export import session as session_module
from export.session import open_session
from loaders import ClipIndex, ClipzooError, VideoError, read_clip
from tests.support.commands import invoke
from tests.support.onnx_files import LABELS, SPEC, by_hand, write_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


def test_files_and_frames_are_classified(file: Path, motion: ClipIndex) -> None:
    classifier = Classifier(file)
    assert (classifier.labels, classifier.specs) == (LABELS, {"video": SPEC})
    assert classifier.provider == "CPUExecutionProvider"
    found = classifier.predict(motion.path(0))
    assert found.file == str(motion.path(0))
    expected = by_hand(read_clip(motion.path(0), SPEC))
    assert found.probabilities == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-5)
    assert found.label == "dark"
    assert list(found.probabilities) == ["dark", "bright"]
    bright = classifier.predict(np.full((7, 20, 30, 3), 250, np.uint8))
    assert (bright.label, bright.file) == ("bright", None)
    assert bright.probability == pytest.approx(by_hand(np.full(1, 250))[1])


def test_lists_keep_their_order_whatever_the_batch(file: Path, motion: ClipIndex) -> None:
    classifier = Classifier(file)
    singly = [classifier.predict(path) for path in motion.paths[:7]]
    together = classifier.predict(motion.paths[:7], batch_size=3, workers=4)
    assert [p.file for p in together] == [str(path) for path in motion.paths[:7]]
    assert [p.probability for p in together] == pytest.approx([p.probability for p in singly], abs=1e-6)
    mixed = classifier.predict([motion.path(0), np.zeros((2, 8, 8, 3), np.uint8)])
    assert [p.file for p in mixed] == [str(motion.path(0)), None]
    assert classifier.predict([]) == []


def test_a_folder_gives_an_answer_for_each_of_its_videos(file: Path, motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / "videos" / "deep" / "deeper").mkdir(parents=True)
    names = ["videos/b.avi", "videos/deep/a.avi", "videos/deep/deeper/c.avi"]
    for number, name in enumerate(names):
        shutil.copy(motion.path(number), tmp_path / name)
    (tmp_path / "videos" / "notes.txt").write_text("no video")
    classifier = Classifier(file)
    found = classifier.predict(tmp_path / "videos")
    assert [p.file for p in found] == [str(tmp_path / name) for name in names]
    assert [p.probability for p in found] == [classifier.predict(tmp_path / name).probability for name in names]
    (alone,) = classifier.predict(tmp_path / "videos" / "deep" / "deeper")
    assert alone.file == str(tmp_path / names[2])
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    mixed = classifier.predict([tmp_path / names[0], tmp_path / "videos" / "deep", frames])
    assert [p.file for p in mixed] == [*(str(tmp_path / name) for name in names), None]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipzooError, match=r"empty: no video file in it"):
        classifier.predict(str(tmp_path / "empty"))


def test_a_name_that_no_file_can_have_is_said_in_a_sentence(file: Path) -> None:
    with pytest.raises(VideoError, match="null character"):
        Classifier(file).predict("a\0b")
    with pytest.raises(ClipzooError, match="no such file"):
        Classifier("a\0b")


def test_an_answer_that_is_no_number_is_an_error_that_names_the_clip(tmp_path: Path, motion: ClipIndex) -> None:
    """The square root of a logit: NaN where it is below 0, so for every clip."""
    file = write_model(tmp_path / "nan.onnx", nodes=[helper.make_node("Sqrt", ["normal_logits"], ["logits"])])
    classifier = Classifier(file)
    with pytest.raises(ClipzooError, match=r"nan\.onnx is no finite number") as error:
        classifier.predict(motion.paths[:3])
    assert str(error.value).startswith(str(motion.path(0)))
    with pytest.raises(ClipzooError, match=r"clip 0 of 1"):
        classifier.predict(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ClipzooError, match=r"0000\.avi, 0 to 0\.2 s: the answer"):
        classifier.predict_windows(motion.root / "up" / "0000.avi", 0.2)
    huge = write_model(tmp_path / "huge.onnx", nodes=[helper.make_node("Exp", ["normal_logits"], ["logits"])])
    clips = np.full((3, *SPEC.shape), 130, np.uint8)
    assert np.isfinite(Classifier(huge).scores(clips)["logits"]).all()
    endless = write_model(
        tmp_path / "endless.onnx",
        nodes=[helper.make_node("Exp", ["normal_logits"], ["once"]), helper.make_node("Exp", ["once"], ["logits"])],
    )
    clips[1] = 255
    with pytest.raises(ClipzooError, match=r"clip 1 of 3: .*inf"):
        Classifier(endless).scores(clips)


def test_a_broken_file_is_named(file: Path, tmp_path: Path, motion: ClipIndex) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        Classifier(file).predict([motion.path(0), tmp_path / "bad.mp4"])


def test_clips_that_do_not_fit_the_spec_are_refused(file: Path) -> None:
    with pytest.raises(ClipzooError, match="takes uint8"):
        Classifier(file).scores(np.zeros((1, 3, 8, 10, 3), np.float32))


def test_a_provider_that_is_not_there_is_an_error_not_a_fall_back(file: Path) -> None:
    with pytest.raises(ClipzooError, match="provider 'cuda' is not in this ONNX Runtime"):
        Classifier(file, provider="cuda")
    with pytest.raises(ClipzooError, match=r"pip install \"clipzoo\[runtime-openvino\]\""):
        Classifier(file, provider="openvino")
    with pytest.raises(ClipzooError, match="must be one of cpu, cuda, tensorrt, openvino"):
        Classifier(file, provider="gpu")  # type: ignore[arg-type]


def test_tensorrt_builds_one_engine_for_all_batches_and_keeps_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Session:  # the CPU's, under TensorRT's name
        def __init__(self, path: Path, *, provider: str, provider_options: dict[str, str], **_: Any) -> None:
            self.real, self.batches = session_module.open_session(path), list[int]()
            asked.append(provider_options)

        def get_providers(self) -> list[str]:
            return ["TensorrtExecutionProvider"]

        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            self.batches.append(len(next(iter(given.values()))))
            return self.real.run(names, given)  # type: ignore[no-any-return]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    monkeypatch.setattr("export.network.open_session", Session)
    monkeypatch.setenv("CLIPZOO_TENSORRT", str(tmp_path / "engines"))
    clips = np.random.default_rng(0).integers(0, 256, (8, *SPEC.shape), np.uint8)
    mine = {"trt_engine_cache_enable": "0", "trt_fp16_enable": "1"}
    classifier = Classifier(file, provider="tensorrt", max_batch=3, provider_options=mine)
    (given,) = asked
    shape = "x".join(map(str, SPEC.shape))
    (name,) = classifier.specs
    assert [given[f"trt_profile_{end}_shapes"] for end in ("min", "opt", "max")] == [
        f"{name}:{size}x{shape}" for size in (1, 3, 3)
    ]
    assert given["trt_engine_cache_path"] == given["trt_timing_cache_path"] == str(tmp_path / "engines")
    assert given.items() >= mine.items() and given["trt_timing_cache_enable"] == "1"
    answers = classifier.scores(clips)["logits"]
    assert classifier.session.batches == [3, 3, 2]  # never another shape, which would build another engine
    np.testing.assert_allclose(answers, Classifier(file).scores(clips)["logits"], atol=1e-6)
    with pytest.raises(ClipzooError, match=r"max_batch \(0\)"):
        Classifier(file, max_batch=0)


def test_openvino_computes_in_the_precision_that_was_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = session_module.onnxruntime()
    asked: list[dict[str, str]] = []

    class Session:
        def __init__(self, path: str, options: object, *, providers: list[Any], enable_fallback: int) -> None:
            asked.append(providers[0][1])

        def get_providers(self) -> list[str]:
            return ["OpenVINOExecutionProvider" if "broken" not in str(asked[-1]) else "CPUExecutionProvider"]

    monkeypatch.setattr(module, "get_available_providers", lambda: ["OpenVINOExecutionProvider"])
    monkeypatch.setattr(module, "InferenceSession", Session)
    monkeypatch.setattr(session_module, "has", lambda *names: True)
    open_session(file, provider="openvino", threads=3)
    open_session(file, provider="openvino-bfloat16")
    settings = [json.loads(given["load_config"])["CPU"] for given in asked]
    assert settings == [
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"}, {"INFERENCE_PRECISION_HINT": "bf16"},
    ]  # fmt: skip
    with pytest.raises(ClipzooError, match="OpenVINO cannot be loaded"):
        open_session(file, provider="openvino", provider_options={"load_config": "{broken"})
    monkeypatch.setattr(session_module, "has", lambda *names: False)
    with pytest.raises(ClipzooError, match="this processor has no units for bfloat16"):
        open_session(file, provider="openvino-bfloat16")


def test_threads_that_wait_leave_few_cores_to_those_that_decode(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Session:
        def __init__(self, path: str, options: Any, **_: Any) -> None:
            with suppress(RuntimeError):  # nothing was said of it
                asked.append(options.get_session_config_entry("session.intra_op.allow_spinning"))

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(session_module.onnxruntime(), "InferenceSession", Session)
    for count, wanted in ((2, ["0"]), (64, ["0"])):
        monkeypatch.setattr(session_module, "cores", lambda count=count: count)
        open_session(file)
        assert asked == wanted


def test_a_provider_that_does_not_come_up_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = session_module.onnxruntime()
    monkeypatch.setattr(module, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(ClipzooError, match=r"cuda"):
        Classifier(file, provider="cuda")


def test_two_runtimes_at_once_are_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def locate_file(self, name: str) -> Path:
            return Path(self.folder, name)

    monkeypatch.setattr(session_module, "distribution", lambda name: Installed("site"))
    with pytest.warns(UserWarning, match="onnxruntime-openvino are installed together"):
        Classifier(file)
    monkeypatch.setattr(session_module, "distribution", Installed)  # a folder each: the path decides
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(file)


def test_bench_measures_what_it_says(file: Path) -> None:
    rows: list[int] = []
    found = bench(file, batches=(1, 4), seconds=0.05, done=lambda row: rows.append(row.batch))
    assert rows == [1, 4]
    for row, batch in zip(found, (1, 4), strict=True):
        figures = row.summary()
        assert row.settings == {"provider": "CPU"}
        assert figures["rounds"] == len(row.seconds) >= 10
        assert figures["p50_ms"] == pytest.approx(1e3 * np.median(row.seconds))
        assert figures["p95_ms"] >= figures["p90_ms"] >= figures["p50_ms"] > 0
        rates = [batch * len(turn) / sum(turn) for turn in row.turns]
        assert figures["clips_per_second"] == pytest.approx(np.median(rates))
        assert figures["frames_per_second"] == pytest.approx(3 * figures["clips_per_second"])
    with pytest.raises(ClipzooError, match="batches"):
        bench(file, batches=(0,))


def test_bench_tries_all_providers_in_turn(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [row.settings for row in bench(file, provider="all", batches=(1,), seconds=0.05)] == [{"provider": "CPU"}]

    class Off(Classifier):
        """Computes on the CPU, and a little wrong where OpenVINO is asked for."""

        def __init__(self, path: Path, *, provider: str, **more: Any) -> None:
            super().__init__(path, provider="cpu", **more)
            self.wrong = 0.25 * (provider == "openvino")

        def scores(self, *given: Any, **more: Any) -> dict[str, np.ndarray]:
            return {name: rows + self.wrong for name, rows in super().scores(*given, **more).items()}

    monkeypatch.setattr("benchmarks.inference.installed", lambda: ["cpu", "openvino"])
    monkeypatch.setattr("benchmarks.harness.onnx_runners.Classifier", Off)
    found = bench(file, provider="all", batches=(1, 2), seconds=0.05)
    assert [(row.settings["provider"], row.batch) for row in found] == [
        ("CPU", 1), ("OpenVINO", 1), ("CPU", 2), ("OpenVINO", 2),
    ]  # fmt: skip
    assert [row.facts["difference"] for row in found] == pytest.approx([0, 0.25, 0, 0.25])
    assert len(found[0].turns) == len(found[1].turns) > 1
    done = invoke("bench", file, "--provider", "all", "--batch", 1, "--seconds", 0.05)
    assert "differs by" in done.stdout and "fastest with 1 clip(s) at once: " in done.stdout, done.stderr


BLOCKED = """
import json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
from export import Classifier, predict_timeline
classifier = Classifier(sys.argv[1])
found = classifier.predict(sys.argv[2])
assert predict_timeline(classifier, sys.argv[2]).segments[0].label == found.label
print(json.dumps([found.label, found.probability, sorted(m for m in sys.modules if "." not in m)]))
"""


def test_classifying_needs_numpy_opencv_and_onnx_runtime_only(file: Path, motion: ClipIndex) -> None:
    blocked = {"keras", "tensorflow", "jax", "onnx", "tf2onnx", "matplotlib", "typer", "rich", "h5py"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked), str(file), str(motion.path(0))],
        capture_output=True,
        text=True,
        check=True,
    )
    label, probability, modules = json.loads(done.stdout)
    assert (label, probability) == ("dark", pytest.approx(by_hand(read_clip(motion.path(0), SPEC))[0], abs=1e-5))
    assert not blocked & set(modules)


def test_reading_metadata_imports_neither_opencv_nor_keras_nor_onnx_runtime(file: Path) -> None:
    script = (
        "import sys; from export import Metadata; print(Metadata.read(sys.argv[1]).kind.outputs);"
        "print({'cv2', 'keras', 'onnxruntime', 'onnx', 'tensorflow', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["('logits', 'probabilities')", "set()"]


def test_importing_the_packages_loads_no_keras() -> None:
    packages = "import sys, loaders, zoo, export, benchmarks"
    script = f"{packages}; zoo.list_models(); loaders.ClipSpec; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_large_clips_go_through_a_cpu_a_few_at_a_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (7, *SPEC.shape), np.uint8)
    classifier = Classifier(file)
    whole = classifier.scores(clips)
    monkeypatch.setattr(network, "_CPU_PIXELS", 2 * clips[0].size + 1)
    seen = []

    class Session:
        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.append(len(given["video"]))
            answer: list[np.ndarray] = real.run(names, given)
            return answer

    real = classifier.session
    classifier.session = Session()
    parts = classifier.scores(clips)
    assert seen == [2, 2, 2, 1]
    for name, rows in whole.items():
        np.testing.assert_array_equal(parts[name], rows)
    assert classifier.scores(clips[:0])["logits"].shape == (0, 2)
