"""Keras -> ONNX: the graph, the gate, the metadata. The conversion itself always runs on TensorFlow."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import zoo
from benchmarks.harness.models import randomize
from export import Classifier, ParityError, to_onnx
from export.graph import pool_before_normalizing
from export.parity import compare, require
from export.synthetic import synthetic_clips
from loaders import ClipSpec, ClipzooError
from loaders.tasks import TASKS
from tests.support.converter import BROKEN_CONVERTER
from tests.support.models import LABELS, SMALL, clips_for, lively
from tests.support.onnx_files import turned

pytestmark = pytest.mark.keras
GRAPHS: list[tuple[str, dict[str, Any]]] = [
    ("convnet_gru", {}),
    ("convnet_lstm", {"bidirectional": True}),
]
if keras.config.backend() == "jax":
    GRAPHS = GRAPHS[:1]  # the conversion is the same process; what differs is who saved the model
LONG = (
    "mobilenet_average",
    "mobilenet_gru",
    "mobilenet_lstm",
    "mobilenetv2_gru",
    "efficientnet_lite0_gru",
    "vgg16_gru",
    "mobilenetv2_average",
    "efficientnet_lite0_average",
)


@pytest.mark.parametrize(
    ("name", "options"), [*GRAPHS, *(pytest.param(name, {}, marks=pytest.mark.slow) for name in LONG)]
)
def test_the_graph_is_native_and_the_answers_are_keras_s(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, file = lively(name, **options), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # models of the zoo are exported without a remark
        metadata = to_onnx(model, file)
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    operators = [node.op_type for node in proto.graph.node]
    cell = name.rpartition("_")[2].upper()
    assert {op: operators.count(op) for op in ("GRU", "LSTM") if op in operators} == (
        {} if cell == "AVERAGE" else {cell: 1}
    )
    assert not {"Loop", "Scan", "If"} & set(operators)
    convolutions = sum(
        isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        for layer in model.get_layer("frames").layer.layers
    )
    assert operators.count("Conv") == convolutions
    assert {(o.domain, o.version) for o in proto.opset_import if o.domain == ""} == {("", 17)}
    assert proto.ir_version <= 8
    (video,) = proto.graph.input
    shape = [axis.dim_param or axis.dim_value for axis in video.type.tensor_type.shape.dim]
    assert (video.name, shape) == ("video", ["batch", *model.input_shape[1:]])
    assert video.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in proto.graph.output] == ["logits", "probabilities"]

    assert metadata.model == name
    assert metadata.specs == zoo.specs(model)
    assert metadata.labels == LABELS
    assert metadata.parity["source"].startswith("random")
    assert metadata.parity["variation"] > 1e-3
    clips = clips_for(model, count=5)
    expected = zoo.with_logits(model).predict(clips, verbose=0)
    found = Classifier(file).scores(clips)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4)
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-4 * np.ptp(expected["logits"]))


@pytest.mark.either
def test_openvino_reads_the_file(tmp_path: Path) -> None:
    import openvino

    model, file = lively("convnet_gru", bidirectional=True), tmp_path / "model.onnx"
    to_onnx(model, file)
    clips = clips_for(model)
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(clips)[compiled.output("probabilities")]
    np.testing.assert_allclose(found, model.predict(clips, verbose=0), atol=1e-4)


@pytest.mark.slow
def test_sequences_and_backward_layers_convert_too(tmp_path: Path) -> None:
    """Users stack recurrent layers; each must become one node."""
    base = zoo.create_model("convnet_gru", classes=LABELS, **SMALL["convnet_gru"])
    x = base.get_layer("frames").output
    x = keras.layers.GRU(5, return_sequences=True, go_backwards=True)(x)
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))(x)
    x = keras.layers.LSTM(3, go_backwards=True, use_bias=False)(x)
    model = randomize(keras.Model(base.input, zoo.contract.head(x, LABELS, "classification"), name="stacked"))
    to_onnx(model, tmp_path / "stacked.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "stacked.onnx").graph.node]
    assert (operators.count("GRU"), operators.count("LSTM")) == (1, 2)


@pytest.mark.slow
@pytest.mark.either
def test_a_layer_without_a_native_operator_is_named_in_a_warning(tmp_path: Path) -> None:
    base = zoo.create_model("convnet_gru", classes=LABELS, **SMALL["convnet_gru"])
    odd = keras.layers.GRU(3, activation="elu", name="odd_gru")(base.get_layer("frames").output)
    model = randomize(keras.Model(base.input, zoo.contract.head(odd, LABELS, "classification")))
    with pytest.warns(UserWarning, match=r"0 native GRU and LSTM nodes for 1 layers \(not odd_gru\); 1 Loop"):
        metadata = to_onnx(model, tmp_path / "odd.onnx")
    assert metadata.parity["probabilities"] < 1e-5 and metadata.parity["variation"] > 1e-3
    assert "Loop" in {node.op_type for node in onnx.load(tmp_path / "odd.onnx").graph.node}


@pytest.mark.slow
@pytest.mark.either
def test_a_model_whose_answers_hardly_vary_is_exported_only_by_force(tmp_path: Path) -> None:
    model = zoo.create_model("convnet_gru", classes=LABELS, **SMALL["convnet_gru"])
    with pytest.raises(
        ParityError, match=r"parity proves nothing on 8 clips \(random.*force=True \(--force\)"
    ) as error:
        to_onnx(model, tmp_path / "model.onnx")
    assert error.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []
    metadata = to_onnx(model, tmp_path / "model.onnx", force=True)
    assert metadata.parity["variation"] < 1e-3
    same = np.repeat(clips_for(model, count=1), 3, axis=0)
    with pytest.raises(ParityError, match=r"on 3 clips \(given\)"):
        to_onnx(lively("convnet_gru"), tmp_path / "same.onnx", clips=same)


@pytest.mark.slow
@pytest.mark.either
def test_a_model_made_for_mixed_precision_is_exported_in_float32(tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = lively("convnet_gru")
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("frames").compute_dtype == "bfloat16"
    assert to_onnx(model, tmp_path / "model.onnx").precision == "float32"
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [node.type for node in session.get_outputs()] == ["tensor(float)"] * 2


@pytest.mark.slow
def test_given_clips_are_the_gate_s(tmp_path: Path) -> None:
    model = lively("convnet_gru")
    metadata = to_onnx(model, tmp_path / "m.onnx", clips=clips_for(model, count=2))
    assert Classifier(tmp_path / "m.onnx").metadata == metadata
    for changed in turned(tmp_path / "m.onnx", tmp_path / "turned.onnx"):
        with pytest.raises(ClipzooError):
            Classifier(changed)
    assert (metadata.parity["clips"], metadata.parity["source"]) == (2, "given")
    with pytest.raises(ClipzooError, match="must be uint8"):
        to_onnx(model, tmp_path / "n.onnx", clips=np.zeros((2, 1, 1, 1, 3), np.uint8))


@pytest.mark.either
@pytest.mark.slow
def test_a_broken_converter_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path" / "tf2onnx").mkdir(parents=True)
    (tmp_path / "path" / "tf2onnx" / "__init__.py").write_text(BROKEN_CONVERTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    out = tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    out.write_bytes(b"an earlier file")
    with pytest.raises(ParityError, match="parity failed on 8 clips") as error:
        to_onnx(lively("convnet_gru"), out)
    assert error.value.exit_status == 1
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]
    assert out.read_bytes() == b"an earlier file"


def test_the_gate_counts_in_shares_of_the_spread_and_refuses_what_is_no_number() -> None:
    answers = {"logits": np.array([[0.0, 10.0], [5.0, -10.0]]), "probabilities": np.array([[0.0, 1.0], [1.0, 0.0]])}
    near = {**answers, "logits": answers["logits"] + 1e-3}
    assert compare(answers, near, source="").differences["logits"] == pytest.approx(5e-5)
    require(compare(answers, near, source=""))
    for change in (
        {"logits": answers["logits"] + 1e-2},
        {"probabilities": answers["probabilities"] + 2e-4},
        {"logits": answers["logits"] * np.nan},
    ):
        with pytest.raises(ParityError):
            require(compare(answers, {**answers, **change}, source=""))


def test_answers_that_tell_nothing_of_the_clip_do_not_pass() -> None:
    """Shares are counted as they are, or, where a network is sure of one class, by their odds; numbers as a share."""

    def classes(*logits: list[float]) -> dict[str, np.ndarray]:
        rows = np.array(logits)
        return {"logits": rows, "probabilities": TASKS["classification"].activate(rows)}

    sure = classes([20.0, 0.0], [24.0, 0.0])
    assert compare(sure, sure, source="").variation < 1e-8
    blind = classes([0.3, 0.1], [0.3 + 1e-6, 0.1])
    everywhere = classes([20.0, 0.0], [26.0, 6.0])  # another logit, the same probability to the last bit
    for answers, telling in (
        (sure, True),
        (classes([0.3, 0.1], [0.4, 0.1]), True),
        (blind, False),
        (everywhere, False),
    ):
        parity = compare(answers, answers, source="")
        assert parity.telling == telling
        require(parity, force=True)
        if not telling:
            with pytest.raises(ParityError, match="proves nothing"):
                require(parity)
    for values, telling in (([1e-6, 3e-6], True), ([1000.0, 1000.1], False), ([0.0, 0.0], False)):
        numbers = {"values": np.array(values)[:, None]}
        assert compare(numbers, numbers, source="", task="regression").telling == telling


@pytest.mark.either
def test_clips_are_fair_to_a_network_that_looks_at_brightness_or_its_change() -> None:
    """Noise of one kind gives every clip one mean, one maximum and one change: what pools over frames sees no more."""
    specs = {
        "rgb": ClipSpec(frames=4, height=24, width=32),
        "flow": ClipSpec(frames=2, height=8, width=8, modality="flow", stack=3),
    }
    made = synthetic_clips(specs)
    for name, spec in specs.items():
        clips = made[name]
        assert (clips.dtype, clips.shape) == (np.uint8, (8, *spec.shape))
        np.testing.assert_array_equal(clips, synthetic_clips(specs)[name])
        share = clips / 255.0
        noise = np.random.default_rng(0).integers(0, 256, clips.shape) / 255
        measures = {
            "mean": lambda x: x.mean(axis=(1, 2, 3, 4)),
            "maximum": lambda x: x.max(axis=(1, 2, 3)).mean(axis=1),
            "contrast": lambda x: x.std(axis=(1, 2, 3, 4)),
            "change in time": lambda x: np.abs(np.diff(x, axis=1)).mean(axis=(1, 2, 3, 4)),
            "change in space": lambda x: np.abs(np.diff(x, axis=3)).mean(axis=(1, 2, 3, 4)),
        }
        for what, measure in measures.items():
            assert np.ptp(measure(share)) > max(0.1, 2 * np.ptp(measure(noise))), what


@pytest.mark.either
def test_a_model_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"garbage")
    with pytest.raises(ClipzooError, match=r"bad\.keras"):
        to_onnx(tmp_path / "bad.keras", tmp_path / "out.onnx")
    with pytest.raises(ClipzooError, match="no such model file"):
        to_onnx(tmp_path / "nowhere", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.either
@pytest.mark.slow
def test_a_gpu_is_never_seen_by_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    run = subprocess.run

    def watch(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs["env"])
        return run(*args, **kwargs)

    monkeypatch.setattr(subprocess, "run", watch)
    to_onnx(lively("convnet_gru"), tmp_path / "model.onnx")
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["KERAS_BACKEND"]) == ("-1", "tensorflow")
    assert onnxruntime.InferenceSession(tmp_path / "model.onnx").get_inputs()[0].type == "tensor(uint8)"


def _pooled(scales: np.ndarray, pool: str) -> onnx.ModelProto:
    """ReLU -> batch normalization -> pooling, channels first."""
    make = onnx.helper.make_node
    rng = np.random.default_rng(3)
    arrays = {
        "scale": scales,
        "shift": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "variance": rng.uniform(0.5, 2, 4),
    }
    window = {"kernel_shape": [2, 2], "strides": [2, 2]} if pool == "MaxPool" else {}
    nodes = [
        make("Relu", ["x"], ["relu"]),
        make("BatchNormalization", ["relu", *arrays], ["norm"]),
        make(pool, ["norm"], ["y"], **window),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "pooled",
        [onnx.helper.make_tensor_value_info("x", kind, ["batch", 4, 6, 6])],
        [onnx.helper.make_tensor_value_info("y", kind, ["batch", 4, None, None])],
        [onnx.numpy_helper.from_array(np.float32(array), name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.either
@pytest.mark.parametrize("pool", ["MaxPool", "GlobalMaxPool"])
def test_pooling_before_normalizing_changes_no_bit(pool: str) -> None:
    def run(proto: onnx.ModelProto) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        answer: np.ndarray = session.run(None, {"x": clips})[0]
        return answer

    clips = np.random.default_rng(0).normal(size=(5, 4, 6, 6)).astype(np.float32)
    proto = _pooled(np.array([0.1, 1.0, 2.0, 1e-6]), pool)
    before = run(proto)
    assert pool_before_normalizing(proto.graph) == 1
    assert [node.op_type for node in proto.graph.node] == ["Relu", pool, "BatchNormalization"]
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_array_equal(run(proto), before)

    turned = _pooled(np.array([0.1, -1.0, 2.0, 1.0]), pool)
    assert pool_before_normalizing(turned.graph) == 0
    assert [node.op_type for node in turned.graph.node] == ["Relu", "BatchNormalization", pool]


@pytest.mark.slow
def test_the_convnet_pools_before_it_normalizes(tmp_path: Path) -> None:
    to_onnx(lively("convnet_gru"), tmp_path / "model.onnx")
    names = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    pools = [i for i, name in enumerate(names) if name in ("MaxPool", "GlobalMaxPool")]
    assert len(pools) == 4
    assert all(names[i + 1] == "BatchNormalization" and names[i - 1] == "Relu" for i in pools)


@pytest.mark.either
@pytest.mark.slow
def test_channels_are_turned_while_they_are_bytes(tmp_path: Path) -> None:
    to_onnx(lively("dtpp_rgb", backbone="bn_inception", size=32, width=0.0625), tmp_path / "model.onnx")
    names = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert names.index("Concat") < names.index("Cast")
    assert not {"ReverseSequence", "Gather", "Shape"} & set(names)


@pytest.mark.either
@pytest.mark.parametrize(
    "name",
    ["convnet_gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mobilenet_average", "dtpp", "i3d"))],
)
def test_a_float16_file_answers_as_keras_does(name: str, tmp_path: Path) -> None:
    model = lively(name)
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    assert to_onnx(model, whole).precision == "float32"
    metadata = to_onnx(model, half, precision="float16")
    assert metadata.precision == "float16"
    assert metadata.parity["tolerance"] == 2e-2
    assert metadata.parity["same_decision"] == 1
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    proto = onnx.load(half)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    kinds = {
        node.op_type: weights[node.input[1]].data_type
        for node in proto.graph.node
        if node.op_type in ("Conv", "LSTM", "GRU")
    }
    assert kinds.pop("Conv") == onnx.TensorProto.FLOAT16
    assert all(kind == onnx.TensorProto.FLOAT for kind in kinds.values())
    casts = {node.output[0]: node.attribute[0].i for node in proto.graph.node if node.op_type == "Cast"}
    means = [node.input[0] for node in proto.graph.node if node.op_type == "ReduceMean"]
    assert len(means) == (name == "mobilenet_average")
    assert all(casts.get(mean) == onnx.TensorProto.FLOAT for mean in means)
    clips = clips_for(model, count=5)
    classifier = Classifier(half)
    assert classifier.metadata.precision == "float16"
    found, expected = classifier.scores(clips), zoo.with_logits(model).predict(clips, verbose=0)
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=2e-2)


def test_float16_must_say_the_same_class() -> None:
    reference = {
        "logits": np.array([[1.0, 0.999], [5.0, -5.0]]),
        "probabilities": np.array([[0.5005, 0.4995], [0.9, 0.1]]),
    }
    swapped = {
        "logits": np.array([[0.999, 1.0], [5.0, -5.0]]),
        "probabilities": np.array([[0.4995, 0.5005], [0.9, 0.1]]),
    }
    parity = compare(reference, swapped, source="two", precision="float16")
    assert parity.same_decision == 0.5
    with pytest.raises(ParityError, match="another class than Keras for 50%"):
        require(parity)
    numbers, near = {"values": reference["logits"]}, {"values": swapped["logits"]}
    require(compare(numbers, near, source="two", precision="float16", task="regression"))
    with pytest.raises(ClipzooError, match="precision"):
        to_onnx("model.keras", "model.onnx", precision="int3")  # type: ignore[arg-type]
