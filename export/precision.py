"""A float32 graph as float16: half the bytes, for GPUs, which have matrix units for it."""

from __future__ import annotations

from typing import Any

# What stays in float32: sums over time that feed themselves, and exponentials, whose errors do not average out; and
# means over time, which ONNX Runtime has computed as zeros or NaN in float16 on CUDA (onnxconverter-common#323).
IN_FLOAT32 = ("GRU", "LSTM", "ReduceMean", "Softmax", "Sigmoid")


def to_float16(proto: Any) -> Any:
    """Converts a graph with ONNX Runtime's own converter (onnxruntime.transformers.float16).

    Inputs stay uint8, outputs float32; layers over time and the last activation compute in float32, casts about
    them.
    Providers without float16, such as the CPU's, compute in float32 behind casts of their own.

    Args:
        proto: an ONNX model in float32; it is changed.

    Returns:
        The converted model.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    blocked = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32]
    converted = OnnxModel(convert_float_to_float16(proto, keep_io_types=True, op_block_list=blocked))
    converted.topological_sort()  # the converter puts its casts last
    return converted.model
