"""Frames that enter one by one: which are kept, when an answer is due, and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from export import Classifier, Prediction, Stream
from export.steps import Steps
from loaders import ClipIndex, ClipSpec, ClipzooError, clip_from_frames, read_clip
from loaders.decode import read_frames
from tests.support.onnx_files import SPEC, by_hand, write_model

DENSE = SPEC.replace(sampling="dense", stride=2)


def levels(count: int, *, height: int = 12, width: int = 14) -> list[np.ndarray]:
    """Frames that are all different."""
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def answers(stream: Stream, frames: Iterable[np.ndarray]) -> dict[int, Prediction]:
    """Those that were due, by the number of the frame."""
    found = {number: stream.push(frame) for number, frame in enumerate(frames)}
    return {number: answer for number, answer in found.items() if answer is not None}


def file_of(folder: Path, spec: ClipSpec) -> Path:
    return write_model(folder / "model.onnx", spec=spec, shape=spec.shape)


def test_an_answer_is_that_of_the_clip_of_the_last_frames(tmp_path: Path) -> None:
    file = file_of(tmp_path, DENSE)
    frames = levels(14)
    found = answers(Stream(file, fps=10), frames)
    assert list(found) == [4, 6, 8, 10, 12]  # the third kept frame is the fifth; the hop is one kept frame
    classifier = Classifier(file)
    for number, answer in found.items():
        wanted = classifier.predict(np.stack(frames[number - 4 : number + 1]))
        assert answer.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
        assert (answer.start, answer.end) == pytest.approx(((number - 4) / 10, number / 10))
    assert len({answer.probability for answer in found.values()}) == len(found)


def test_without_a_rate_frames_are_counted(tmp_path: Path) -> None:
    found = answers(Stream(file_of(tmp_path, DENSE)), levels(9))
    assert list(found) == [4, 6, 8]
    assert {(answer.start, answer.end) for answer in found.values()} == {(None, None)}


def test_a_stream_of_a_file_s_frames_answers_as_the_file_s_clip(motion: ClipIndex, tmp_path: Path) -> None:
    class All:
        def __init__(self, count: int, fps: float) -> None:
            self.wanted, self.fps, self.frames = range(count), fps, list[np.ndarray]()

        def visit(self, number: int, frame: np.ndarray) -> None:
            self.frames.append(frame[..., ::-1].copy())

    spec = SPEC.replace(frames=4, sampling="dense", interval=2 / 15, resize="fit", resize_to=12)
    file, video = file_of(tmp_path, spec), read_frames(motion.path(0), All)
    count = 1 + 3 * round(spec.interval * video.fps)
    start = (len(video.frames) - count) // 2
    found = answers(Stream(file, fps=video.fps), video.frames[start : start + count])
    (answer,) = found.values()
    expected = by_hand(read_clip(motion.path(0), spec))
    assert list(answer.probabilities.values()) == pytest.approx(sorted(expected, reverse=True), abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "gray"},
        {"modality": "diff"},
        {"modality": "rgb_diff"},
        {"modality": "grouped"},
        {"modality": "diff", "pairs": "sampled"},
        {"modality": "grouped", "pairs": "sampled"},
        {"modality": "flow", "stack": 3},
        {"modality": "flow_hsv"},
    ],
)
def test_steps_of_every_modality_are_those_of_the_clip(changes: dict[str, object]) -> None:
    spec = ClipSpec(frames=3, height=16, width=16, sampling="dense", stride=2, **changes)  # type: ignore[arg-type]
    length = (spec.frames + (spec.group - 1 if spec.pairs == "sampled" else 0) - 1) * 2 + 1
    length += spec.reach - 1 if spec.pairs == "neighbors" else 0
    frames, steps = levels(length, height=20, width=18), Steps(spec, fps=None, window=2)
    buffer, found = np.empty_like(frames[0]), []
    for frame in frames:
        buffer[:] = frame  # whoever gives frames may use one buffer for all
        found.append(steps.take(buffer, None))
    made = [step.pixels for step in found if step is not None]
    np.testing.assert_array_equal(np.stack(made), clip_from_frames(frames, spec))


def test_with_times_the_nearest_frame_is_kept() -> None:
    spec = SPEC.replace(sampling="dense", interval=0.1)
    steps = Steps(spec, fps=None, window=2)
    # A camera of 30 a second that jitters; then it is away for a while; then it is slower than the interval.
    times = [0, 0.031, 0.07, 0.098, 0.131, 0.169, 0.199, 0.5, 0.533, 0.567, 0.6, 0.8, 1.0]
    kept = [at for at in times if steps.take(np.zeros((4, 4, 3), np.uint8), at)]
    assert kept == [0, 0.098, 0.199, 0.5, 0.6, 0.8, 1.0]


def test_samplings_that_take_a_whole_clip_take_their_frames_out_of_a_window(tmp_path: Path) -> None:
    file = file_of(tmp_path, SPEC)
    found = answers(Stream(file, fps=3), levels(9))
    assert list(found) == [4, 6, 8]  # 3 frames in 2 s
    assert list(answers(Stream(file, fps=3, window=1, hop=1), levels(9))) == [2, 5, 8]
    with pytest.raises(ClipzooError, match=r"keeps a frame every 0.667 s: give the time"):
        Stream(file).push(levels(1)[0])


def test_reset_begins_anew_and_a_state_goes_on(tmp_path: Path) -> None:
    file, frames = file_of(tmp_path, DENSE), levels(12)
    stream = Stream(file, fps=10)
    first = answers(stream, frames[:7])
    state = stream.state
    rest = answers(stream, frames[7:])
    stream.restore(state)
    assert answers(stream, frames[7:]) == rest
    stream.reset()
    assert answers(stream, frames[:7]) == first and rest
    other = Stream(write_model(tmp_path / "other.onnx", spec=DENSE, labels=("a", "b")), fps=10)
    with pytest.raises(ClipzooError, match=r"other\.onnx: the state is of another file"):
        other.restore(state)


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    file = file_of(tmp_path, DENSE)
    stream, frame = Stream(file, fps=10), levels(1)[0]
    with pytest.raises(ClipzooError, match="no answer yet, for it has 0 of 3 frames"):
        stream.answer()
    with pytest.raises(ClipzooError, match=r"must be uint8 \(height, width, 3\) in RGB order, 0 to 255; got float64"):
        stream.push(frame / 255)
    stream.push(frame, seconds=1)
    with pytest.raises(ClipzooError, match=r"seconds \(0.5\) must not be before the frame before \(1\); reset"):
        stream.push(frame, seconds=0.5)
    with pytest.raises(ClipzooError, match=r"hop \(1 s\): a stride of 2 frames has no time: give fps"):
        Stream(file, hop=1)
    with pytest.raises(ClipzooError, match=r"window \(1 s\) is for samplings that take a whole clip"):
        Stream(file, window=1)
    with pytest.raises(ClipzooError, match=r"fps \(0\) must be a number above 0"):
        Stream(file, fps=0)
    (tmp_path / "damaged.onnx").write_bytes(file.read_bytes()[:200])
    with pytest.raises(ClipzooError, match=r"damaged\.onnx"):
        Stream(tmp_path / "damaged.onnx")


def test_a_warm_up_leaves_no_trace(tmp_path: Path) -> None:
    stream = Stream(file_of(tmp_path, DENSE), fps=10)
    expected = answers(Stream(tmp_path / "model.onnx", fps=10), levels(9))
    stream.warm_up()
    assert answers(stream, levels(9)) == expected
