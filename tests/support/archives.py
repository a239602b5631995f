"""Weights of others, for the tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.errors import ClipzooError
from zoo.presets import source, weights_file

SKIPPED = "published weights cannot be had"  # how the summary of a test run counts them


def published(network: str, name: str) -> Path:
    """The `.npz` file of published weights, fetched once a machine; skips where they cannot be had."""
    found = source(network, name)
    assert found is not None
    try:
        return weights_file(found)
    except ClipzooError as error:
        pytest.skip(f"{SKIPPED}: {error}")
