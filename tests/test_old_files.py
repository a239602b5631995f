"""Files of the first version still load, and answer as they did. They were written by the code at 23e9095.

Their specs are of schema 1, whose values had British spellings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import Classifier, Metadata
from loaders import Augmentation, ClipIndex, ClipSpec, ClipzooError, FlowSpec
from loaders.canvas import canvas_key
from loaders.terminal import parse_spec
from tests.support.commands import invoke, refused
from zoo.recipe import Recipe
from zoo.saving import saved_specs
from zoo.settings import read_settings

FIXTURES = Path(__file__).parent / "fixtures"
RUN = FIXTURES / "old_run"
SPEC = ClipSpec(
    frames=2, height=16, width=16, sampling="segments", resize="fit", resize_to=18, interpolation="linear",
    pairs="neighbors",
)  # fmt: skip


def test_an_old_onnx_file_gives_the_answers_that_it_gave() -> None:
    classifier = Classifier(FIXTURES / "old.onnx")
    assert classifier.labels == ("down", "growing", "left", "right", "turning", "up")
    assert (classifier.metadata.model, classifier.metadata.task) == ("dtpp_rgb", "classification")
    assert classifier.specs["rgb"].shape == (2, 16, 16, 3)
    with np.load(FIXTURES / "old.npz") as held:
        found = classifier.scores(held["clips"])
        for name in ("logits", "probabilities"):
            np.testing.assert_allclose(found[name], held[name], atol=1e-5)
            assert np.ptp(held[name], axis=0).max() > 1e-3


def test_each_old_file_holds_schema_1_and_is_read_in_the_words_of_today() -> None:
    files = [FIXTURES / "old.onnx", RUN / "run.json", RUN / "model.keras"]
    record = json.loads(files[1].read_text())
    assert record["specs"]["rgb"]["schema"] == 1 and record["specs"]["rgb"]["pairs"] == "neighbours"
    assert SPEC.to_dict()["schema"] == 2
    for specs in (Metadata.read(files[0]).specs, parse_spec(str(files[1])), saved_specs(files[2])):
        assert list(specs.values()) == [SPEC]
    assert {**SPEC.to_dict(), **read_settings(str(files[1]), []).spec} == SPEC.to_dict()


def as_first(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as schema 1 wrote them."""
    pairs = {"neighbors": "neighbours", "sampled": "sampled"}[fields["pairs"]]
    return {**fields, "schema": 1, "pairs": pairs}


@given(
    frames=st.integers(1, 64),
    sides=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    modality=st.sampled_from(["rgb", "gray", "diff", "diff_mask", "flow_mask", "flow_hsv", "flow"]),
    pairs=st.sampled_from(["neighbors", "sampled"]),
    sampling=st.sampled_from(["uniform", "dense", "segments"]),
    short=st.sampled_from(["spread", "repeat_last", "wrap", "error"]),
)
def test_every_spec_of_schema_1_is_read_as_it_was_meant(
    frames: int, sides: tuple[int, int], modality: Any, pairs: Any, sampling: Any, short: Any
) -> None:
    if modality in ("rgb", "gray"):
        pairs = "neighbors"
    spec = ClipSpec(
        frames=frames, height=sides[0], width=sides[1], modality=modality, pairs=pairs, sampling=sampling, short=short
    )
    old = json.loads(json.dumps(as_first(spec.to_dict())))
    kept = json.dumps(old)
    assert ClipSpec.from_dict(old) == spec
    assert json.dumps(old) == kept  # what was given is not changed
    assert ClipSpec.from_dict(json.loads(spec.to_json())) == spec


def test_a_run_of_schema_1_is_done_again_with_all_that_it_says(tmp_path: Path) -> None:
    record = json.loads((RUN / "run.json").read_text())
    flow = {"pairs": "neighbours", "stack": 2}
    record |= {"recipe": {"augmentation": {"crop": "centre", "flip": False}}, "options": {"flow": flow}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    settings = read_settings(str(tmp_path / "run.json"), [])
    assert settings.spec["pairs"] == "neighbors" and settings.model["flow"] == {"pairs": "neighbors", "stack": 2}
    again = Recipe.from_dict(settings.recipe).augmentation_for({"rgb": SPEC}, ["a", "b"])
    assert again == Augmentation(flip=False, crop="center")
    for newer in (
        {**record, "specs": {"rgb": {**record["specs"]["rgb"], "schema": 3}}},
        {**SPEC.to_dict(), "schema": 3},
    ):
        (tmp_path / "run.json").write_text(json.dumps(newer))
        with pytest.raises(ClipzooError, match="ClipSpec schema 3 is newer than 2, the one that this clipzoo knows"):
            read_settings(str(tmp_path / "run.json"), [])


def test_an_old_name_by_hand_is_answered_with_the_new_one(motion: ClipIndex, tmp_path: Path) -> None:
    called = r"ClipSpec pairs \('neighbours'\) is called 'neighbors' now"
    with pytest.raises(ClipzooError, match=called):
        SPEC.replace(pairs="neighbours")
    with pytest.raises(ClipzooError, match=called):
        ClipSpec.from_dict({**SPEC.to_dict(), "pairs": "neighbours"})  # of schema 2
    with pytest.raises(ClipzooError, match=r"Augmentation crop \('centre'\) is called 'center' now"):
        Augmentation(crop="centre")  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match=r"schema \(1\) must be 2; ClipSpec\.from_dict reads a table of schema 1"):
        SPEC.replace(schema=1)
    (tmp_path / "mine.toml").write_text('[recipe]\naugmentation = {crop = "centre"}\n')
    with pytest.raises(ClipzooError, match="is called 'center' now"):
        Recipe.from_dict(read_settings(str(tmp_path / "mine.toml"), []).recipe)
    spec = "frames=2,size=8,modality=diff,pairs=neighbours"
    refused(invoke("show", motion.root, "--spec", spec, "--out", tmp_path / "grid.png"), "is called 'neighbors' now")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (ClipSpec(frames=5, height=112, width=96), "7e0f61dfbd4bb406"),
        (
            ClipSpec(frames=3, height=16, width=16, modality="diff", pairs="sampled", sampling="dense", stride=2),
            "0bfd502e151b0c4c",
        ),
        (
            ClipSpec(
                frames=2, height=8, width=8, modality="flow", stack=4, sampling="segments", resize="fit", resize_to=10,
                flow=FlowSpec(method="farneback", bound=7),
            ),
            "c7428342018e572f",
        ),
    ],
)  # fmt: skip
def test_entries_of_a_cache_keep_their_names(spec: ClipSpec, name: str) -> None:
    assert canvas_key("none.avi", spec, span=None, split="test").startswith(name)  # else what took days is made anew
