"""What the tests share: real clips where they are, made clips otherwise."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from loaders import ClipIndex, draw_motion_clips

DATA = Path(os.environ.get("CLIPZOO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# A shell that starts the tests in the background has them ignore Ctrl-C, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# For what runs in a process of its own, or ends before Keras computes: once is enough, and JAX starts slowest.
not_the_backend_s = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="does not depend on the backend; runs under TensorFlow"
)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, lists and weights; CLIPZOO_DATA names it."""
    if not DATA.is_dir():
        pytest.skip(f"no real clips at {DATA}; set CLIPZOO_DATA")
    return DATA


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> ClipIndex:
    """48 small real files, 8 a class."""
    return draw_motion_clips(tmp_path_factory.mktemp("motion"), clips=48, frames=8, seed=5)


BROKEN_CONVERTER = '''
"""Stands before the real converter on the path, and spoils one weight of what it makes."""
import sys
from pathlib import Path
here = str(Path(__file__).resolve().parents[1])
sys.path = [p for p in sys.path if str(Path(p).resolve()) != here]
del sys.modules["tf2onnx"]
import tf2onnx, onnx.numpy_helper as helper
right = tf2onnx.convert.from_function
def wrong(*args, **kwargs):
    proto, tables = right(*args, **kwargs)
    recurrent = next(node for node in proto.graph.node if node.op_type == "GRU")
    weights = next(t for t in proto.graph.initializer if t.name == recurrent.input[2])
    weights.CopyFrom(helper.from_array(helper.to_array(weights)[:, ::-1].copy(), weights.name))
    return proto, tables
tf2onnx.convert.from_function = wrong
'''
