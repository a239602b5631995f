"""A converter that spoils what it makes."""

from __future__ import annotations

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
