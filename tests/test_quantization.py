"""int8 files: what of the graph is quantized, and the gate that lets none through that decides otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import Classifier
from export import quantization as module
from export.convert import _for_int8
from export.parity import ParityError
from export.quantization import to_int8
from loaders import ClipIndex, ClipSpec, ClipzooError, read_inputs
from tests.support.commands import invoke, refused

SPEC = ClipSpec(frames=4, height=16, width=16)
NODES = ("Conv", "Relu", "Conv", "Relu", "MatMul")


def network(classes: int = 6, seed: int = 1, spread: float = 1.0) -> onnx.ModelProto:
    """uint8 clip -> scaled, frames as channels -> two convolutions, one of them depthwise -> mean -> head."""
    rng = np.random.default_rng(seed)
    depthwise = rng.normal(size=(12, 1, 3, 3)) * np.geomspace(1, spread, 12)[:, None, None, None]
    weights = {
        "depthwise": depthwise, "pointwise": rng.normal(size=(8, 12, 1, 1)), "head": rng.normal(size=(8, classes)),
        "scale": np.array(1 / 127.5), "one": np.array(1.0),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["video"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bytes", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centered"]),
        helper.make_node("Transpose", ["centered"], ["turned"], perm=[0, 1, 4, 2, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["channels"]),
        helper.make_node("Conv", ["channels", "depthwise"], ["c1"], group=12),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "pointwise"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("video", TensorProto.UINT8, ["batch", *SPEC.shape])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", classes]) for n in ("logits", "probabilities")],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
        + [numpy_helper.from_array(np.array([-1, 12, 16, 16]), "shape")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def where(index: ClipIndex) -> list[tuple[str, None]]:
    return [(str(path), None) for path in index.paths]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "LEAST_CLIPS", 20)
    yield


def test_convolutions_are_quantized_and_the_head_is_not(motion: ClipIndex) -> None:
    clips = where(motion)
    made, said = to_int8(
        network(), {"video": SPEC}, "classification", calibration=clips[::2], gate=clips[1::2], source="some"
    )
    assert (said.agreement, said.clips, said.calibration, said.source, said.floating) == (
        pytest.approx(1, abs=0.02), 24, 24, "some", (),
    )  # fmt: skip
    onnx.checker.check_model(made, full_check=True)
    assert said.reduced == module.narrow() and 0 < said.difference < 0.1
    kernels = {each.name: each for each in made.graph.initializer}
    for name, axis in (("depthwise", 12), ("pointwise", 8)):
        values = numpy_helper.to_array(kernels[f"{name}_quantized"])
        assert values.dtype == np.int8 and numpy_helper.to_array(kernels[f"{name}_scale"]).shape == (axis,)
        assert np.abs(values.astype(int)).max() <= (64 if said.reduced else 128)
    assert kernels["head"].data_type == TensorProto.FLOAT and "scaled_scale" not in kernels
    # Its answers are those of the float32 graph, nearly.
    one = {"video": read_inputs(clips[0][0], {"video": SPEC})["video"][None]}
    wanted, found = (module._answers(each.SerializeToString(), [one])["logits"] for each in (network(), made))
    assert 0 < np.abs(wanted - found).max() < 0.1 * np.ptp(wanted)


def test_what_does_not_agree_keeps_layers_in_float32_or_gives_no_file(
    motion: ClipIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = where(motion)
    given = {"calibration": clips[::2], "gate": clips[1::2], "source": "some"}
    asked: list[tuple[str, ...]] = []
    right = module._answers

    def answers(graph: bytes, clips: list[module.Clips]) -> dict[str, np.ndarray]:
        """Wrong while a certain convolution is quantized."""
        found, names = right(graph, clips), {each.name for each in onnx.load_from_string(graph).graph.initializer}
        asked.append(tuple(sorted(names & {"depthwise_quantized", "pointwise_quantized"})))
        return {name: values[:, ::-1] for name, values in found.items()} if bad & names else found

    monkeypatch.setattr(module, "_answers", answers)
    bad = {"depthwise_quantized"}
    _, said = to_int8(network(), {"video": SPEC}, "classification", **given)
    assert said.floating == ("Conv_5",) and said.agreement >= 0.98
    bad = {"pointwise_quantized", "depthwise_quantized"}
    with pytest.raises(ParityError, match=r"int8 decides as float32 does for .* so no file was written; give other"):
        to_int8(network(), {"video": SPEC}, "classification", **given)
    _, said = to_int8(network(), {"video": SPEC}, "classification", **given, force=True)
    assert said.agreement < 0.98


def test_too_few_clips_are_refused_and_said(motion: ClipIndex) -> None:
    clips = where(motion)
    few = {"calibration": clips[:4], "gate": [*clips[4:8], ("gone.avi", None)], "source": "these"}
    with pytest.raises(ParityError, match=r"on 20 clips at least, and there are 4 \(these\)"):
        to_int8(network(), {"video": SPEC}, "classification", **few)
    _, said = to_int8(network(), {"video": SPEC}, "classification", **few, force=True)
    assert said.clips == 4
    with pytest.raises(ClipzooError, match="no clip to calibrate on can be read"):
        to_int8(
            network(), {"video": SPEC}, "classification", **{**few, "calibration": [("gone.avi", None)]}, force=True
        )
    with pytest.raises(ClipzooError, match="regression has none"):
        to_int8(network(), {"video": SPEC}, "regression", **few)


def test_no_clip_that_calibrates_is_compared(motion: ClipIndex) -> None:
    asked = _for_int8(None, motion.root)
    calibration, gate = ({file for file, _ in asked[name]} for name in ("calibration", "gate"))
    assert (len(calibration), len(gate)) == (16, 32) and not calibration & gate
    assert {Path(file).parent.name for file in calibration} == set(motion.labels)
    with pytest.raises(ClipzooError, match=r"give calibrate=FOLDER \(--calibrate\), or export a run"):
        _for_int8(None, None)


def test_a_run_that_trained_on_all_its_clips_is_compared_on_some_that_calibrated_nothing(
    motion: ClipIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The recipe auto trains on the validation clips too, in the end."""
    parts = motion.split(validation=0.25, test=0, seed=0)
    trained = replace(motion, clips=tuple(clip._replace(split="train") for clip in motion))
    for folder, index, own in (
        (None, trained, 0),
        (motion.root, trained, 0),
        (None, parts, 12),
        (motion.root, parts, 12),
    ):
        monkeypatch.setattr("export.convert._clips_of", lambda path, index=index: index)
        asked = _for_int8(tmp_path, folder)
        calibration, gate = ({file for file, _ in asked[name]} for name in ("calibration", "gate"))
        assert len(calibration) == len(motion if folder else index.only("train")) // 3
        assert len(gate) > own and (folder or not calibration & gate)
        assert "clips that calibrated nothing" in asked["source"].replace(f" of {motion.root}", "")
        assert ("12 validation clips of the run" in asked["source"]) == bool(own)


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.usefixtures("stripes")
def test_a_run_exports_in_int8(videos: Path, tmp_path: Path) -> None:
    # One that tells its clips apart: else no file is written of whatever precision.
    run = tmp_path / "trained"
    done = invoke(
        "train", videos, "--model", "stripes_average", "--out", run, "--epochs", 20, "--set", "frames=4",
        "--set", "recipe.learning_rate=0.05", "--set", "recipe.batch=4", "--set", "recipe.augmentation=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    few = invoke("export", run, tmp_path / "few.onnx", "--precision", "int8")
    assert few.returncode == 1 and "on 100 clips at least" in few.stderr and not (tmp_path / "few.onnx").exists()
    refused(invoke("export", run, tmp_path / "a.onnx", "--calibrate", videos), "is for precision 'int8'")
    done = invoke("export", run, tmp_path / "model.onnx", "--precision", "int8", "--force", "--features")
    assert done.returncode == 0, done.stderr
    assert "int8: decides as float32 on " in done.stdout and "validation clips of the run" in done.stdout
    classifier = Classifier(tmp_path / "model.onnx")
    held = classifier.metadata
    assert held.precision == "int8" and held.parity["precision"] == "float32" and held.quantization["clips"] >= 2
    clip = next(videos.rglob("*.avi"))
    assert classifier.predict(clip).label in held.labels
    assert classifier.features(np.stack([read_inputs(clip, classifier.specs)["video"]])).shape[1] > 0
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    (moved / "split.csv").unlink()
    refused(invoke("export", moved, tmp_path / "b.onnx", "--precision", "int8"), "give calibrate=FOLDER")
