"""Which frames make a clip: the properties of every sampling, and the integers of arXiv 1711.04161."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import ClipSpec, ClipzooError
from loaders.sampling import dense, every_element, sample, segments, uniform, windows
from loaders.spec import FLOWS, PAIRED
from loaders.split import SPLITS, Split

COUNT, FRAMES, LENGTH = st.integers(1, 400), st.integers(1, 30), st.integers(1, 6)
DRAWS = st.lists(st.floats(0, 1, exclude_max=True), min_size=32, max_size=32)


@given(count=st.integers(1, 5000), frames=st.integers(1, 64))
def test_uniform_takes_first_and_last_in_even_steps(count: int, frames: int) -> None:
    indices = uniform(count, frames)
    assert len(indices) == frames
    assert all(0 <= index < count for index in indices)
    if frames == 1:
        assert indices == [(count - 1) // 2]
        return
    assert (indices[0], indices[-1]) == (0, count - 1)
    steps = {b - a for a, b in itertools.pairwise(indices)}
    assert max(steps) - min(steps) <= 1


def test_uniform_as_the_readme_says() -> None:
    assert uniform(30, 5) == [0, 7, 15, 22, 29]  # the peer takes 0, 6, 13, 20, 27 and misses the last
    assert uniform(2, 5) == [0, 0, 1, 1, 1]


@given(count=COUNT, length=st.integers(1, 100), stride=st.integers(1, 100))
def test_windows_are_all_different_and_reach_the_end(count: int, length: int, stride: int) -> None:
    found = windows(count, length, stride)
    assert len(set(found)) == len(found)
    assert found[0][0] == 0
    assert found[-1][1] == count
    assert all(0 <= start < stop <= count and stop - start == min(length, count) for start, stop in found)
    assert all(0 < b[0] - a[0] <= stride for a, b in itertools.pairwise(found))


@given(frames=FRAMES, stride=st.integers(1, 9), room=st.integers(0, 50), draw=st.floats(0, 1, exclude_max=True))
def test_dense_takes_every_stride_th_frame_somewhere(frames: int, stride: int, room: int, draw: float) -> None:
    count = (frames - 1) * stride + 1 + room
    for indices in (dense(count, frames, stride), dense(count, frames, stride, draw)):
        assert len(indices) == frames
        assert indices[0] >= 0 and indices[-1] < count
        assert {b - a for a, b in itertools.pairwise(indices)} <= {stride}
    middle = dense(count, frames, stride)
    assert abs((count - 1 - middle[-1]) - middle[0]) <= 1
    if count - room > 1:
        with pytest.raises(ClipzooError, match="needs"):
            dense(count - room - 1, frames, stride)


@given(count=COUNT, frames=FRAMES, length=LENGTH, draws=DRAWS)
def test_segments_stay_inside_and_in_order(count: int, frames: int, length: int, draws: list[float]) -> None:
    for split in SPLITS:
        starts = segments(count, frames, length, split=split, draws=draws)
        assert len(starts) == frames
        assert all(0 <= start <= max(0, count - length) for start in starts)
        if count >= frames * length:
            assert starts == sorted(starts)
        if count >= frames * length and split == "train":
            # Each stack lies wholly in its own segment.
            for i, start in enumerate(starts):
                assert i * count // frames <= start <= (i + 1) * count // frames - length


def test_segments_to_the_integer() -> None:
    # Worked by hand from the table of arXiv 1711.04161's released code: 60 frames, 25 segments, d = 2.4.
    assert segments(60, 25, split="test")[:6] == [0, 2, 4, 7, 9, 12]
    assert segments(60, 25, split="test")[-1] == 59
    assert segments(60, 4, split="validation") == [7, 22, 37, 52]
    assert segments(60, 4, 5, split="validation") == [5, 20, 35, 50]
    assert segments(60, 4, 5, split="test") == [0, 18, 36, 55]
    assert segments(60, 4, 5, split="train", draws=[0, 0.999, 0.5, 0]) == [0, 25, 35, 45]
    # Too short for 4 stacks of 5.
    assert segments(18, 4, 5, split="test") == [0, 0, 0, 0]
    assert segments(18, 4, 5, split="validation") == [0, 4, 8, 13]
    assert segments(18, 4, 5, split="train", draws=[0.999] * 4) == [4, 8, 13, 13]
    assert segments(3, 4, 5, split="train", draws=[0.9] * 4) == [0] * 4


SPECS = st.builds(
    lambda frames, modality, sampling, stride, short, stack, pairs: ClipSpec(
        frames=frames,
        height=8,
        width=8,
        modality=modality,
        sampling=sampling,
        stride=stride if sampling == "dense" else 1,
        short=short,
        stack=stack if modality == "flow" else 1,
        pairs=pairs if modality in ("grouped", *PAIRED) and (stack == 1 or modality != "flow") else "neighbors",
    ),
    frames=FRAMES,
    modality=st.sampled_from(["rgb", "gray", "grouped", *PAIRED]),
    sampling=st.sampled_from(["uniform", "dense", "segments"]),
    stride=st.integers(1, 5),
    short=st.sampled_from(["spread", "repeat_last", "wrap", "error"]),
    stack=LENGTH,
    pairs=st.sampled_from(["neighbors", "sampled"]),
)


@given(count=COUNT, spec=SPECS, split=st.sampled_from(SPLITS), draws=DRAWS)
def test_every_spec_gives_its_steps_inside_every_file(
    count: int, spec: ClipSpec, split: Split, draws: list[float]
) -> None:
    try:
        steps = sample(count, spec, split=split, draws=draws)
    except ClipzooError as error:
        assert "too few" in str(error)
        assert spec.short == "error" or (spec.short == "spread" and spec.group > 1 and count < spec.reach)
        return
    assert len(steps) == spec.frames
    whole = {step[0] for step in every_element(count, spec)} if spec.pairs == "neighbors" else set()
    for step in steps:
        assert len(step) == spec.stack
        for element in step:
            assert (
                len(element) == spec.group == (3 if spec.modality == "grouped" else 2 if spec.modality in PAIRED else 1)
            )
            assert all(0 <= frame < count for frame in element)
            if spec.pairs == "neighbors":
                assert element in whole  # so that a cache of all places has it


@pytest.mark.parametrize(
    ("short", "wanted"), [("repeat_last", [0, 1, 2, 2, 2]), ("wrap", [0, 1, 2, 0, 1]), ("spread", [0, 1, 1, 2, 2])]
)
def test_short_videos_follow_the_policy(short: str, wanted: list[int]) -> None:
    spec = ClipSpec(frames=5, height=8, width=8, short=short)  # type: ignore[arg-type]
    assert [step[0][0] for step in sample(3, spec)] == wanted
    dense_spec = spec.replace(sampling="dense")
    assert [step[0][0] for step in sample(3, dense_spec)] == wanted
    with pytest.raises(ClipzooError, match=r"3 frames are too few for 5 steps .*: 5 are needed"):
        sample(3, spec.replace(short="error"))


def test_an_interval_is_a_stride_by_the_frame_rate() -> None:
    spec = ClipSpec(frames=3, height=8, width=8, sampling="dense", interval=2.0)
    assert [step[0][0] for step in sample(151, spec, fps=29.97)] == [15, 75, 135]
    with pytest.raises(ClipzooError, match="does not say"):
        sample(151, spec)


def test_flow_takes_stacks_of_neighbors_and_clamps_them() -> None:
    spec = ClipSpec(frames=2, height=8, width=8, modality="flow", stack=3)
    assert sample(9, spec) == [((0, 1), (1, 2), (2, 3)), ((5, 6), (6, 7), (7, 8))]
    clamped = spec.replace(short="repeat_last")
    assert sample(3, clamped) == [((0, 1), (1, 2), (1, 2))] + [((1, 2),) * 3]
    assert sample(1, clamped) == [((0, 0),) * 3] * 2
    for count in (1, 3):
        with pytest.raises(ClipzooError, match="a step compares 4 neighbors"):
            sample(count, spec)
    sampled = ClipSpec(frames=2, height=8, width=8, modality="diff", pairs="sampled")
    assert sample(9, sampled) == [((0, 4),), ((4, 8),)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stride": 2}, "sampling='dense'"),
        ({"sampling": "dense", "interval": 0.0}, "interval"),
        ({"sampling": "dense", "interval": 1.0, "stride": 2}, "exclude"),
        ({"stack": 5}, "modality='flow'"),
        ({"pairs": "sampled"}, "two frames"),
        ({"flow": {"method": "dis"}}, "flow"),
        ({"modality": "flow", "flow": {"method": "magic"}}, "'magic'"),
        ({"modality": "flow", "flow": {"bound": -1}}, "bound"),
        ({"modality": "flow", "flow": {"color": 1}}, "'color'"),
        ({"short": "stretch"}, "short"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ClipzooError) as error:
        ClipSpec.from_dict({"schema": 1, "frames": 4, "height": 8, "width": 8, **fields})
    assert said in str(error.value)


@pytest.mark.parametrize("modality", FLOWS)
def test_a_flow_spec_survives_as_json(modality: str) -> None:
    spec = ClipSpec(frames=4, height=8, width=8, modality=modality)  # type: ignore[arg-type]
    assert spec.flow is not None
    assert ClipSpec.from_dict(spec.to_dict()) == spec


@given(count=st.integers(60, 400), frames=st.integers(1, 8), draws=DRAWS)
def test_rgb_and_flow_of_one_draw_show_the_same_instants(count: int, frames: int, draws: list[float]) -> None:
    rgb = ClipSpec(frames=frames, height=8, width=8, sampling="segments")
    flow = rgb.replace(modality="flow", stack=5)
    for ((frame,),), stack in zip(
        sample(count, rgb, split="train", draws=draws), sample(count, flow, split="train", draws=draws), strict=True
    ):
        assert stack[0][0] - 1 <= frame <= stack[-1][1] + 1
