"""What is cheaper in the graph when it is done in another order, with the same figures."""

from __future__ import annotations

from typing import Any

from onnx import numpy_helper

POOLS = ("MaxPool", "GlobalMaxPool")


def pool_before_normalizing(graph: Any) -> int:
    """Moves batch normalizations behind the max pooling that follows them, where a quarter or less is left to compute.

    A normalization whose scales are all above 0 never lets a smaller value overtake a greater one, rounding included,
    so the results are equal bit by bit. Where a scale is not above 0, it stays. Behind a convolution without an
    activation it stays too: runtimes fold it into the convolution for nothing.

    Args:
        graph: an ONNX graph, changed in place.

    Returns:
        How many were moved.
    """
    nodes = list(graph.node)
    scales = {tensor.name: tensor for tensor in graph.initializer}
    place = {name: index for index, node in enumerate(nodes) for name in node.output}
    kept = {value.name for value in graph.output}
    moved = 0
    for norm in [node for node in nodes if node.op_type == "BatchNormalization"]:
        source, normalized = norm.input[0], norm.output[0]
        users = [index for index, node in enumerate(nodes) if normalized in node.input]
        before = nodes[place[source]].op_type if source in place else ""
        if len(users) != 1 or nodes[users[0]].op_type not in POOLS or normalized in kept or before == "Conv":
            continue
        if norm.input[1] not in scales or not (numpy_helper.to_array(scales[norm.input[1]]) > 0).all():
            continue
        # source -> norm -> pool becomes source -> pool -> norm; the name between them now is that of the pooled values.
        pool, behind = nodes[users[0]], place[normalized]
        norm.output[0], pool.output[0] = pool.output[0], normalized
        pool.input[0], norm.input[0] = source, normalized
        nodes[behind], nodes[users[0]] = pool, norm
        moved += 1
    if moved:
        fresh = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(fresh)
        del graph.value_info[:]  # shapes noted before; runtimes infer them
    return moved
