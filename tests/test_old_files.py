"""Files of the first version still load, and answer as they did. They were written by the code at 23e9095."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export import Classifier

FIXTURES = Path(__file__).parent / "fixtures"


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
