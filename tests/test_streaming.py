"""Files that take frames one by one: what they answer, what they are made of, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from benchmarks.harness.models import randomize
from export import Classifier, Metadata, Stream, to_onnx, watch
from export.card import _exported
from loaders import ClipSpec, ClipzooError
from loaders.tasks import task_kind
from tests.support.commands import invoke, refused
from tests.support.models import LABELS, lively
from tests.support.triton import parse
from tests.test_timeline import write_video
from zoo.consensus import consensus
from zoo.layers import ClipInput, FrameWise
from zoo.run import Run
from zoo.tsm import TemporalShift

pytestmark = [pytest.mark.keras, pytest.mark.either]
FRAMES = 3


def tiny(*, frames: int = FRAMES, shift: str = "past", task: str = "classification", **fields: Any) -> keras.Model:
    """A TSM of two shifts, made in no time; its weights are the same whatever the number of frames."""
    spec = ClipSpec(frames=frames, **{"height": 8, "width": 8, "sampling": "dense", **fields})
    image = keras.Input(spec.shape[1:])
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    for block in ("block1", "block2"):
        moved = TemporalShift(frames, share=1 / 4, shift=shift, name=f"{block}_shift")(x)
        moved = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"{block}_conv")(moved)
        x = keras.layers.Add(name=f"{block}_add")([x, moved])
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pool")(x), name="backbone")
    video = keras.Input(spec.shape, dtype="uint8", name="video")
    features = FrameWise(network, name="frames")(ClipInput(spec, name="clip_input")(video))
    return randomize(keras.Model(video, consensus(features, LABELS, task, dropout=0.5), name="tiny"))  # type: ignore[arg-type]


def frames_for(model: keras.Model, count: int) -> np.ndarray:
    """Frames of the model's size, of every brightness."""
    height, width = model.input.shape[2:4]
    rng = np.random.default_rng(2)
    levels = rng.permutation(np.linspace(20, 235, count))[:, None, None, None]
    return np.clip(levels + rng.normal(0, 20, (count, height, width, 3)), 0, 255).astype(np.uint8)


def answered(stream: Stream, frames: np.ndarray) -> list[np.ndarray | None]:
    """Probabilities or numbers in the order of the labels, behind each frame."""
    found = [stream.push(frame) for frame in frames]
    labels = stream.metadata.labels
    return [each and np.array([(each.probabilities or each.values)[name] for name in labels]) for each in found]


def by_a_longer_clip(model: keras.Model, long: keras.Model, frames: np.ndarray, last: int) -> np.ndarray:
    """The answer of the mean features of the `last` frames of a clip of all frames: all is known of the past."""
    before = keras.Model(long.input, long.get_layer("frames").output)
    features = before.predict(frames[None], verbose=0)[0, -last:].mean(axis=0)
    dense, answer = model.get_layer("logits"), model.layers[-1]
    return keras.ops.convert_to_numpy(answer(dense(features[None])))[0]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny()


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "tiny.onnx"
    metadata = to_onnx(model, path, stream=True)
    assert metadata.parity["variation"] > 1e-3
    return path


def test_a_stream_answers_as_the_model_on_the_same_frames(model: keras.Model, file: Path) -> None:
    frames = frames_for(model, 2 * FRAMES)
    stream = Stream(file)
    found = answered(stream, frames)
    assert found[: FRAMES - 1] == [None] * (FRAMES - 1) and all(each is not None for each in found[FRAMES - 1 :])
    expected = model.predict(frames[None, :FRAMES], verbose=0)[0]
    np.testing.assert_allclose(found[FRAMES - 1], expected, atol=1e-4)
    # Later its frames know those before the window, as a longer clip does and the model's own does not.
    long = tiny(frames=2 * FRAMES)
    long.set_weights(model.get_weights())
    np.testing.assert_allclose(found[-1], by_a_longer_clip(model, long, frames, FRAMES), atol=1e-4)
    assert np.abs(found[-1] - model.predict(frames[None, FRAMES:], verbose=0)[0]).max() > 1e-3
    stream.reset()
    again = answered(stream, frames[FRAMES:])[-1]
    np.testing.assert_allclose(again, model.predict(frames[None, FRAMES:], verbose=0)[0], atol=1e-4)


def test_a_server_keeps_the_states(file: Path, tmp_path: Path) -> None:
    done = invoke("triton", file, tmp_path, "--name", "tiny", "--streams", 12, "--idle", 2.5, "--queue-delay", 300)
    assert done.returncode == 0, done.stderr
    config = parse(tmp_path / "tiny" / "config.pbtxt")
    assert [each.name for each in config.input] == ["frame"] and [each.name for each in config.output] == ["logits"]
    batching, graph = config.sequence_batching, onnx.load(file).graph
    assert batching.max_sequence_idle_microseconds == 2_500_000
    assert (batching.oldest.max_candidate_sequences, batching.oldest.max_queue_delay_microseconds) == (12, 300)
    assert {each.input_name: each.output_name for each in batching.state} == Metadata.read(file).stream
    dims = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]] for value in graph.input}
    for each in batching.state:
        (first,) = each.initial_state
        assert list(each.dims) == list(first.dims) == dims[each.input_name] and first.zero_data
    assert not config.HasField("dynamic_batching") and not config.model_warmup
    refused(invoke("triton", file, tmp_path, "--tensorrt"), "not for a file that takes frames one by one")
    refused(invoke("triton", file, tmp_path, "--idle", 0), "idle (0.0)")


def test_the_file_says_what_it_hands_on(model: keras.Model, file: Path) -> None:
    metadata, graph = Metadata.read(file), onnx.load(file).graph
    assert metadata.stream == {"state_0": "next_state_0", "state_1": "next_state_1"}
    assert metadata.specs == {"frame": model.get_layer("clip_input").spec}
    assert [value.name for value in graph.input] == ["frame", "state_0", "state_1"]
    assert [value.name for value in graph.output] == ["logits", "next_state_0", "next_state_1"]
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[1].type.tensor_type.shape.dim]
    assert dims == ["batch", 2, 8, 8]  # a quarter of the channels, as ONNX has maps
    assert [node.op_type for node in graph.node].count("Transpose") == 1  # of the frame


def test_a_state_goes_on_where_it_stood_and_is_of_one_file(model: keras.Model, file: Path, tmp_path: Path) -> None:
    frames = frames_for(model, 8)
    stream = Stream(file)
    answered(stream, frames[:4])
    state = stream.state
    kept = copy.deepcopy(state)
    rest = answered(stream, frames[4:])
    other = Stream(file)
    other.restore(state)
    np.testing.assert_array_equal(answered(other, frames[4:]), rest)
    other.restore(kept)  # later frames changed nothing of it
    np.testing.assert_array_equal(answered(other, frames[4:]), rest)
    proto = onnx.load(file)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(ClipzooError, match=r"other\.onnx: the state is of another file"):
        Stream(tmp_path / "other.onnx", verify=False).restore(state)


def test_the_file_is_watched(file: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "lamp.avi", ((0.6, 100),), fps=10)
    watched = watch(file, str(video), out=tmp_path / "out.mp4")
    assert watched.frames + watched.dropped == 6 and watched.answers == max(0, watched.frames - FRAMES + 1)


def test_where_clips_are_taken_it_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match=r"tiny\.onnx: takes frames one by one, not clips: give it to export.Stream"):
        Classifier(file)
    video = write_video(tmp_path / "lamp.avi", ((0.6, 100),), fps=10)
    refused(invoke("predict", file, video), "takes frames one by one")
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "stream.onnx").write_bytes(file.read_bytes())
    assert _exported(run, {"labels": LABELS}) == {}


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ('{"state_0": "next_state_0"}', "do not fit its metadata"),
        ('{"state_0": "next_state_0", "state_1": "none"}', "do not fit its metadata"),
        ('{"state_0": 3}', "names no states of a stream; export it again"),
        ("[1]", "has damaged clipzoo metadata"),
    ],
)
def test_a_damaged_file_is_one_sentence(file: Path, stream: str, said: str, tmp_path: Path) -> None:
    proto = onnx.load(file)
    (held,) = [prop for prop in proto.metadata_props if prop.key == "clipzoo.stream"]
    held.value = stream
    onnx.save(proto, tmp_path / "damaged.onnx")
    with pytest.raises(ClipzooError, match=rf"damaged\.onnx.*{said}"):
        Stream(tmp_path / "damaged.onnx", verify=False)
    with pytest.raises(ClipzooError, match="is not what was exported"):
        Stream(tmp_path / "damaged.onnx")


def test_another_model_shift_or_sampling_is_refused() -> None:
    from export.streaming import FrameNetwork

    for made, said in (
        (tiny(shift="both"), "shifts both ways, so its frames know later ones: train it with shift=past"),
        (tiny(sampling="segments"), "sampling 'segments', which needs the end of a file: train it with sampling=dense"),
        (lively("convnet_gru"), "model 'convnet_gru' cannot take frames one by one: .* is made of a TSM"),
    ):
        with pytest.raises(ClipzooError, match=said):
            FrameNetwork(made, made.get_layer("clip_input").spec)


@pytest.mark.parametrize("options", [{"precision": "float16"}, {"features": True}])
def test_what_excludes_a_stream_is_said(options: dict[str, Any], model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match=r"stream \(--stream\) excludes"):
        to_onnx(model, tmp_path / "x.onnx", stream=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "fields"), [("multilabel", {}), ("regression", {}), ("classification", {"modality": "gray"})]
)
def test_every_task_and_modality_streams(task: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(task=task, **fields)
    assert to_onnx(model, tmp_path / "x.onnx", stream=True).task == task
    assert task_kind(task).outputs[0] in [value.name for value in onnx.load(tmp_path / "x.onnx").graph.output]
    if not fields:
        frames = frames_for(model, FRAMES)
        expected = model.predict(frames[None], verbose=0)[0]
        np.testing.assert_allclose(answered(Stream(tmp_path / "x.onnx"), frames)[-1], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm_mobilenetv2", "tsm_efficientnet_lite0"])
def test_the_zoo_s_models_stream(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"size": 64, "shift": "past", "spec": {"sampling": "dense"}}
    model = lively(name, **options)
    to_onnx(model, tmp_path / "x.onnx", stream=True)
    frames = frames_for(model, 2 * FRAMES)
    found = answered(Stream(tmp_path / "x.onnx"), frames)
    np.testing.assert_allclose(found[FRAMES - 1], model.predict(frames[None, :FRAMES], verbose=0)[0], atol=1e-4)
    long = lively(name, frames=2 * FRAMES, **options)
    long.set_weights(model.get_weights())
    np.testing.assert_allclose(found[-1], by_a_longer_clip(model, long, frames, FRAMES), atol=1e-4)
