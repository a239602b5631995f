"""Keras layers traced so that the converter finds one native ONNX operator for each.

Left alone, a GRU becomes a `Loop` (tensorflow-onnx#1684), or, where a GPU is seen, an operator that the converter does
not know (#2359); a batch normalization becomes a multiplication and an addition. While `native_layers()` is entered,
a recurrent layer emits `CudnnRNNV3`, which is never run: it only carries the layer's weights, laid out as ONNX wants
them, to `OP_HANDLERS`, which writes `GRU` or `LSTM`. A batch normalization emits the fused operator, which the
converter keeps whole. A temporal shift works on maps as convolutions have them in ONNX, channels first, so that nothing
is turned round between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from zoo.tsm import TemporalShift

# Keras keeps the gates of a GRU as z, r, h and of an LSTM as i, f, c, o; ONNX wants z, r, h and i, o, f, c.
_GATES = {"gru": (0, 1, 2), "lstm": (0, 3, 1, 2)}


@contextmanager
def native_layers() -> Iterator[None]:
    """While this is entered, tracing a model on TensorFlow emits native operators."""
    with ExitStack() as stack:
        for owner, method, replacement in (
            (keras.layers.GRU, "call", _recurrent),
            (keras.layers.LSTM, "call", _recurrent),
            (keras.layers.Bidirectional, "call", _bidirectional),
            (keras.layers.BatchNormalization, "call", _normalize),
            (TemporalShift, "call", _shift),
        ):
            stack.enter_context(patch.object(owner, method, _bound(owner, method, replacement)))
        yield


def _bound(owner: type, method: str, replacement: Any) -> Any:
    original = getattr(owner, method)

    def call(layer: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        return replacement(layer, inputs, original, *args, **options)

    return call


def _recurrent(layer: Any, inputs: Any, original: Any, *args: Any, **options: Any) -> Any:
    if _more(args, options) or not is_native(layer):
        return original(layer, inputs, *args, **options)
    outputs, last = _emit([layer], inputs)
    if not layer.return_sequences:
        return last[0]
    return tf.reverse(outputs, [1]) if layer.go_backwards else outputs


def _bidirectional(layer: Any, inputs: Any, original: Any, *args: Any, **options: Any) -> Any:
    forward, backward = layer.forward_layer, layer.backward_layer
    both = layer.merge_mode == "concat" and type(forward) is type(backward)
    if not both or _more(args, options) or not (is_native(forward) and is_native(backward)):
        return original(layer, inputs, *args, **options)
    outputs, last = _emit([forward, backward], inputs)
    return outputs if layer.return_sequences else tf.concat([last[0], last[1]], axis=-1)


def _emit(layers: list[Any], inputs: Any) -> tuple[Any, Any]:
    """One operator for one layer, or for two that run both ways.

    Returns:
        Outputs of all steps (B, T, directions * units), and the last of each direction (directions, B, units).
    """
    kind = _kind(layers[0])
    units, features = layers[0].units, inputs.shape[-1]
    with tf.init_scope():  # out of the graph, where variables have values
        weights = np.concatenate([part.ravel() for part in _onnx_weights(layers, kind)]).astype(np.float32)
    batch = tf.shape(inputs)[0]
    state = tf.zeros((len(layers), batch, units))
    steps = tf.fill([batch], tf.shape(inputs)[1])
    outputs, last, *_ = tf.raw_ops.CudnnRNNV3(
        input=tf.transpose(inputs, (1, 0, 2)),
        input_h=state,
        input_c=state if kind == "lstm" else tf.zeros(()),
        params=tf.constant(weights),
        sequence_lengths=steps,
        rnn_mode=kind,
        direction="bidirectional" if len(layers) == 2 else "unidirectional",
        # The operator has no attribute for what _write_recurrent needs to know besides; its seeds are free.
        seed=int(len(layers) == 1 and layers[0].go_backwards),
        seed2=features,
        is_training=False,
        time_major=True,
    )
    outputs = tf.ensure_shape(tf.transpose(outputs, (1, 0, 2)), (None, inputs.shape[1], len(layers) * units))
    return outputs, tf.ensure_shape(last, (len(layers), None, units))


def _onnx_weights(layers: list[Any], kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights in ONNX's layout.

    Returns:
        W (directions, gates * units, features), R (directions, gates * units, units), and B (directions, 2 * gates *
        units).
    """
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for layer in layers:
        units, gates = layer.units, _GATES[kind]
        order = np.concatenate([np.arange(units) + gate * units for gate in gates])
        cell = layer.cell
        bias = np.zeros((2, len(order)), np.float32)
        if cell.use_bias:
            given = keras.ops.convert_to_numpy(cell.bias)
            bias[: given.ndim] = given.reshape(-1, len(order))  # a GRU has two rows, an LSTM one
        kernel, recurrent = (keras.ops.convert_to_numpy(w) for w in (cell.kernel, cell.recurrent_kernel))
        columns.append((kernel.T[order], recurrent.T[order], bias[:, order].ravel()))
    w, r, b = (np.stack(part) for part in zip(*columns, strict=True))
    return w, r, b


def _more(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether a layer is given a first state or a mask, for which no native operator is written."""
    return any(each is not None for each in (*args, options.get("initial_state"), options.get("mask")))


def is_native(layer: Any) -> bool:
    """Whether a layer computes what the ONNX operator does; all others become what TensorFlow makes of them."""
    if not isinstance(layer, keras.layers.GRU | keras.layers.LSTM) or layer.stateful or layer.return_state:
        return False
    plain = layer.activation is keras.activations.tanh and layer.recurrent_activation is keras.activations.sigmoid
    return plain and (_kind(layer) == "lstm" or layer.reset_after)


def _kind(layer: Any) -> str:
    return "gru" if isinstance(layer, keras.layers.GRU) else "lstm"


def _normalize(layer: Any, inputs: Any, original: Any, *args: Any, **options: Any) -> Any:
    if len(inputs.shape) != 4 or layer.axis not in (-1, 3):
        return original(layer, inputs, *args, **options)
    channels = inputs.shape[-1]
    scale = layer.gamma if layer.scale else tf.ones((channels,))
    offset = layer.beta if layer.center else tf.zeros((channels,))
    return tf.compat.v1.nn.fused_batch_norm(
        inputs, scale, offset, layer.moving_mean, layer.moving_variance, epsilon=layer.epsilon, is_training=False
    )[0]


def _shift(layer: Any, maps: Any, original: Any, *args: Any, **options: Any) -> Any:
    """One `Pad` and one `Gather`, between two `Reshape` that move no bytes.

    It was the quickest of four forms, taking turns on two cores in ONNX Runtime, if by little: `Slice`, `Pad` and
    `Concat`; the same with zeros that are concatenated; and what TensorFlow traces, which turns the maps round twice.
    """
    height, width, channels = maps.shape[1:]
    if not layer.moved(channels):
        return original(layer, maps, *args, **options)
    clips = tf.reshape(tf.transpose(maps, (0, 3, 1, 2)), (-1, layer.frames * channels, height, width))
    clips = tf.pad(clips, ((0, 0), (0, 1), (0, 0), (0, 0)))  # where there is no neighbor, the channel behind all
    taken = tf.gather(clips, tf.constant(layer.sources(channels).ravel(), tf.int64), axis=1)
    return tf.transpose(tf.reshape(taken, (-1, channels, height, width)), (0, 2, 3, 1))


def _write_recurrent(context: Any, node: Any, name: str, args: Any) -> None:
    """tf2onnx's custom_op_handlers: `CudnnRNNV3` as `_emit` wrote it -> ONNX `GRU` or `LSTM`."""
    kind = node.get_attr_value("rnn_mode")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    direction = node.get_attr_value("direction")
    both = (direction.decode() if isinstance(direction, bytes) else direction) == "bidirectional"
    backwards, features = node.get_attr_value("seed"), node.get_attr_value("seed2")
    directions, gates = 1 + both, len(_GATES[kind])
    weights = node.inputs[3].get_tensor_value(as_list=False)
    units = context.get_shape(node.input[1])[-1]
    shapes = [(directions, gates * units, k) for k in (features, units)] + [(directions, 2 * gates * units)]
    sizes = np.cumsum([np.prod(shape) for shape in shapes])
    parts = [part.reshape(shape) for part, shape in zip(np.split(weights, sizes[:-1]), shapes, strict=True)]
    constants = [
        context.make_const(f"{node.name}_{letter}", part).output[0] for letter, part in zip("WRB", parts, strict=True)
    ]
    source, outputs, dtypes, out_shapes = node.input[0], node.output, node.output_dtypes, node.output_shapes
    context.remove_node(node.name)
    settings: dict[str, Any] = {
        "hidden_size": units,
        "direction": "bidirectional" if both else "reverse" if backwards else "forward",
    }
    if kind == "gru":
        settings["linear_before_reset"] = 1  # Keras's reset_after
    native = context.make_node(kind.upper(), [source, *constants], attr=settings, output_count=2)
    # Y is (T, directions, B, units); the traced operator gives (T, B, directions * units).
    turned = context.make_node("Transpose", [native.output[0]], attr={"perm": [0, 2, 1, 3]})
    flat = context.make_const(f"{node.name}_flat", np.array([0, 0, directions * units], np.int64))
    context.make_node(
        "Reshape", [turned.output[0], flat.output[0]], outputs=[outputs[0]], shapes=out_shapes[:1], dtypes=dtypes[:1]
    )
    context.make_node("Identity", [native.output[1]], outputs=[outputs[1]], shapes=out_shapes[1:2], dtypes=dtypes[1:2])


OP_HANDLERS: dict[str, tuple[Any, list[Any]]] = {"CudnnRNNV3": (_write_recurrent, [])}
