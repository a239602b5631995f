"""A file becomes a model of Triton: its configuration is read by Triton's own schema, and held against the file."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import Classifier, Metadata, TritonOptions, write_triton_model
from loaders import ClipIndex, ClipSpec, ClipzooError, read_inputs
from tests.support.commands import ROOT, invoke, refused
from tests.support.onnx_files import LABELS, SPEC, write_model
from tests.support.triton import parse, serving

TYPES = {TensorProto.UINT8: "TYPE_UINT8", TensorProto.FLOAT: "TYPE_FP32"}
FLOW = ClipSpec(frames=2, height=8, width=6, modality="flow", stack=3)


def write_streams(path: Path) -> Path:
    """A file of two inputs that gives features too."""
    props = {
        "clipzoo.specs": json.dumps({"video": SPEC.to_dict(), "flow": FLOW.to_dict()}),
        "clipzoo.features": '"pool"',
    }
    model = onnx.load(write_model(path, props=props))
    shape = ["batch", *FLOW.shape]
    model.graph.input.append(helper.make_tensor_value_info("flow", TensorProto.UINT8, shape))
    model.graph.node.append(helper.make_node("Identity", ["centered_column"], ["features"]))
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 1]))
    path.write_bytes(model.SerializeToString())
    return path


def interface(values: Any) -> list[tuple[str, str, list[int]]]:
    """Name, type and dims without the batch of a graph's inputs or outputs."""
    tensors = [(value.name, value.type.tensor_type) for value in values]
    return [(name, TYPES[t.elem_type], [dim.dim_value for dim in t.shape.dim[1:]]) for name, t in tensors]


def configured(config: Any, field: str) -> list[tuple[str, str, list[int]]]:
    """The same of a configuration."""
    kind = config.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type
    return [(v.name, kind.values_by_number[v.data_type].name, list(v.dims)) for v in getattr(config, field)]


def holds_together(model: Path, file: Path) -> Any:
    """Checks a version of a model in a repository against the file that it is of; gives its configuration."""
    config, graph = parse(file.parents[1] / "config.pbtxt"), onnx.load(model).graph
    assert file.read_bytes() == model.read_bytes()
    assert configured(config, "input") == interface(graph.input)
    assert configured(config, "output") == interface(graph.output)
    assert (config.name, config.platform) == (file.parents[1].name, "onnxruntime_onnx")
    metadata = Metadata.read(model)
    said = {key: value.string_value for key, value in config.parameters.items()}
    held = Metadata.from_props(said, "config.pbtxt")
    assert (held.specs, held.labels, held.task) == (metadata.specs, metadata.labels, metadata.task)
    assert (file.parents[1] / "labels.txt").read_text(encoding="utf-8").splitlines() == list(metadata.labels)
    return config


def test_the_configuration_is_that_of_the_file(tmp_path: Path) -> None:
    model = write_model(tmp_path / "levels.onnx", sealed=True, labels=('a "b"', "größer\\"))
    done = invoke("triton", model, tmp_path / "repository")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "repository" / "levels" / "1" / "model.onnx"
    assert str(file) in done.stdout
    config = holds_together(model, file)
    assert config.max_batch_size == 8
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, 2)]  # KIND_CPU
    assert config.HasField("dynamic_batching") and not config.HasField("optimization")
    assert {each.label_filename for each in config.output} == {"labels.txt"}
    assert [each.batch_size for each in config.model_warmup] == [1, 8]
    assert list(config.model_warmup[0].inputs["video"].dims) == list(SPEC.shape)


def test_two_inputs_and_features_with_all_options(tmp_path: Path) -> None:
    model = write_streams(tmp_path / "streams.onnx")
    done = invoke(
        "triton", model, tmp_path / "deep" / "repository", "--name", "two.streams", "--batch", 16, "--preferred", 8,
        "--preferred", 4, "--queue-delay", 700, "--instances", 2, "--tensorrt", "--no-warm-up",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = holds_together(model, tmp_path / "deep" / "repository" / "two.streams" / "1" / "model.onnx")
    assert config.max_batch_size == 16
    batching = config.dynamic_batching
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([4, 8], 700)
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, 1)]  # KIND_GPU
    assert not config.model_warmup
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert dict(accelerator.parameters) == {
        "precision_mode": "FP32",
        "trt_profile_min_shapes": "video:1x3x8x10x3,flow:1x2x8x6x6",
        "trt_profile_opt_shapes": "video:8x3x8x10x3,flow:8x2x8x6x6",
        "trt_profile_max_shapes": "video:16x3x8x10x3,flow:16x2x8x6x6",
    }
    assert [each.label_filename for each in config.output] == ["labels.txt", "labels.txt", ""]  # features are no labels


def test_one_clip_at_a_time_has_no_batcher(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", props={"clipzoo.precision": '"float16"'})
    file = write_triton_model(model, tmp_path, TritonOptions(max_batch_size=1, tensorrt=True))
    config = holds_together(model, file)
    assert not config.HasField("dynamic_batching") and len(config.model_warmup) == 1
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert accelerator.parameters["trt_profile_max_shapes"] == "video:1x3x8x10x3"


def test_a_model_that_is_there_gets_the_next_version(tmp_path: Path) -> None:
    first, second = (write_model(tmp_path / f"{name}.onnx", sealed=True, props={"clipzoo.parity": parity})
                     for name, parity in (("a", '{"clips": 1}'), ("b", '{"clips": 2}')))  # fmt: skip
    repository = tmp_path / "repository"
    write_triton_model(first, repository, name="m")
    (repository / "m" / "9").mkdir()
    config = repository / "m" / "config.pbtxt"
    before = config.stat().st_mtime_ns
    done = invoke("triton", second, repository, "--name", "m")
    assert done.returncode == 0 and "version 10" in done.stdout, done.stderr
    assert config.stat().st_mtime_ns == before  # a server would load the model again
    holds_together(second, repository / "m" / "10" / "model.onnx")
    assert {path.name for path in (repository / "m").iterdir()} == {"1", "9", "10", "config.pbtxt", "labels.txt"}


def test_what_the_versions_share_is_not_changed_unasked(tmp_path: Path) -> None:
    model, folder = write_model(tmp_path / "m.onnx"), tmp_path / "repository" / "m"
    write_triton_model(model, tmp_path / "repository")
    refused(invoke("triton", model, tmp_path / "repository", "--batch", 4), "config.pbtxt is not what", "--overwrite")
    other = write_model(tmp_path / "other.onnx", labels=("x", "y"))
    refused(invoke("triton", other, tmp_path / "repository", "--name", "m"), "holds a model already")
    assert not (folder / "2").exists() and parse(folder / "config.pbtxt").max_batch_size == 8
    assert invoke("triton", other, tmp_path / "repository", "--name", "m", "--overwrite").returncode == 0
    holds_together(other, folder / "2" / "model.onnx")


def test_mistakes_are_said_and_write_nothing(tmp_path: Path) -> None:
    model, repository = write_model(tmp_path / "m.onnx", sealed=True), tmp_path / "repository"
    stranger = write_model(tmp_path / "stranger.onnx", metadata=False)
    refused(invoke("triton", stranger, repository), "stranger.onnx", "without clipzoo's metadata")
    refused(invoke("triton", tmp_path / "none.onnx", repository), "no such file")
    refused(invoke("triton", model, repository, "--batch", 0), "--batch", "1")
    refused(invoke("triton", model, repository, "--streams", 4), "for a file that takes frames one by one")
    refused(invoke("triton", model, repository, "--preferred", 9), "a preferred batch size (9)", "from 1 to 8")
    refused(invoke("triton", model, repository, "--queue-delay", -1), "queue_delay (-1)")
    refused(invoke("triton", model, repository, "--instances", 0), "instances (0)")
    refused(invoke("triton", model, repository, "--tensorrt", "--kind", "cpu"), "does not go with TensorRT")
    refused(invoke("triton", model, repository, "--name", "../m"), "'../m' is no name of a model")
    with pytest.raises(ClipzooError, match=r"kind \('tpu'\)"):
        TritonOptions(kind="tpu")  # type: ignore[arg-type]
    assert not repository.exists()
    repository.mkdir()
    (repository / "m").write_text("")
    refused(invoke("triton", model, repository), "is a file")
    (repository / "m").unlink()
    model.write_bytes(model.read_bytes().replace(b"centered", b"Centered"))
    refused(invoke("triton", model, repository), "is not what was exported")
    assert list(repository.iterdir()) == []
    assert invoke("triton", model, repository, "--no-verify").returncode == 0


def test_the_client_sends_what_the_contract_says(motion: ClipIndex, tmp_path: Path) -> None:
    model = write_model(tmp_path / "levels.onnx")
    file = write_triton_model(model, tmp_path / "repository")
    classify = runpy.run_path(str(ROOT / "examples" / "triton_client.py"))["classify"]
    video = motion.paths[3]
    with serving(file) as (server, asked):
        answer = classify(server, "levels", str(video))
    (request,) = asked
    clip = read_inputs(video, {"video": SPEC})["video"]
    (sent,) = request["inputs"]
    assert (sent["name"], sent["datatype"], sent["shape"]) == ("video", "UINT8", [1, *SPEC.shape])
    np.testing.assert_array_equal(request["arrays"]["video"], clip[None])
    assert request["outputs"] == [{"name": "probabilities", "parameters": {"binary_data": True}}]
    expected = Classifier(model).predict(video)
    assert list(answer) == list(expected.probabilities) and set(answer) == set(LABELS)
    assert answer == pytest.approx(expected.probabilities, abs=1e-6)


def test_the_client_has_about_20_lines() -> None:
    body = (ROOT / "examples" / "triton_client.py").read_text().partition("def classify")[2].partition("if __name__")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


@pytest.mark.keras
@pytest.mark.either
def test_an_exported_model_of_the_zoo_is_served(onnx_file: Path, videos: Path, tmp_path: Path) -> None:
    file = write_triton_model(onnx_file, tmp_path, TritonOptions(max_batch_size=4), name="run")
    holds_together(onnx_file, file)
    classify = runpy.run_path(str(ROOT / "examples" / "triton_client.py"))["classify"]
    video = next((videos / "left").iterdir())
    with serving(file) as (server, _):
        answer = classify(server, "run", str(video))
    assert answer == pytest.approx(Classifier(onnx_file).predict(video).probabilities, abs=1e-6)
