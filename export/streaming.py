"""A TSM whose shift knows the past alone, as a network of one frame: what a shift takes of the frame before is a state.

Section 3.3 of TSM (arXiv 1811.08383): online, the first channels of each shift are kept for the next frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from export.stateful import consensus
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import TaskKind
from zoo.contract import answer_layer, task, with_logits
from zoo.layers import ClipInput, FrameWise, OutputActivation
from zoo.tsm import TemporalShift

FRAME = "frame"  # the input
_CHAIN = (
    keras.layers.InputLayer, ClipInput, FrameWise, keras.layers.GlobalAveragePooling1D, keras.layers.Dropout,
    keras.layers.Dense, OutputActivation,
)  # fmt: skip


class FrameNetwork:
    """A network that takes frames one by one, with the states that it hands on.

    Args:
        model: a TSM of the zoo, trained with `shift=past` and dense sampling.
        spec: of its one input.

    Attributes:
        shapes: state that goes in -> its (channels, height, width).
        stream: state that goes in -> the output that is the same state one frame on.
        output: `logits`, or `values` of a regression.

    Raises:
        ClipzooError: another model, shift or sampling.
    """

    def __init__(self, model: keras.Model, spec: ClipSpec) -> None:
        self.spec = spec
        shifts = _shifts(model, spec)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._states: dict[str, str] = {}  # name of the layer -> its state
        for number, layer in enumerate(shifts):
            *size, channels = layer.input.shape[1:]
            self._states[layer.name] = f"state_{number}"
            self.shapes[f"state_{number}"] = (layer.moved(channels), *size)
        self.stream = {name: f"next_{name}" for name in self.shapes}
        answer = answer_layer(model)
        self.output = "logits" if task(model) != "regression" else answer.name
        # The same layers on a clip of one frame.
        clip = keras.Input((1, *spec.shape[1:]), dtype="uint8")
        self._network = keras.models.clone_model(
            with_logits(model), input_tensors=[clip], clone_function=lambda layer: layer
        )

    @property
    def signature(self) -> list[tf.TensorSpec]:
        """Of `__call__`."""
        states = [tf.TensorSpec((None, *shape), tf.float32, name=name) for name, shape in self.shapes.items()]
        return [tf.TensorSpec((None, *self.spec.shape[1:]), tf.uint8, name=FRAME), *states]

    @property
    def dims(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Shapes of inputs and outputs by name, the batch by its name."""
        before = {name: ["batch", *shape] for name, shape in self.shapes.items()}
        after = {self.stream[name]: dims for name, dims in before.items()}
        labels = self._network.output[self.output].shape[-1]
        return {FRAME: ["batch", *self.spec.shape[1:]], **before}, {self.output: ["batch", labels], **after}

    def __call__(self, frame: Any, *states: Any) -> dict[str, Any]:
        """A frame, uint8 (B, height, width, channels), and states, float32 (B, channels, height, width) each, to
        outputs by name; to be traced."""
        before, after = dict(zip(self.shapes, states, strict=True)), {}

        def shift(layer: TemporalShift, maps: Any) -> Any:
            moved = layer.moved(maps.shape[-1])
            if not moved:
                return maps
            name = self._states[layer.name]
            first = tf.transpose(maps, (0, 3, 1, 2))  # as ONNX has maps: nothing is turned round between two layers
            after[self.stream[name]] = tf.identity(first[:, :moved])
            return tf.transpose(tf.concat([before[name], first[:, moved:]], axis=1), (0, 2, 3, 1))

        with ExitStack() as stack:
            stack.enter_context(patch.object(TemporalShift, "call", shift))
            said = self._network(frame[:, None], training=False)[self.output]
        return {self.output: said, **{name: after[name] for name in self.stream.values()}}

    def run(self, session: Any, clips: np.ndarray, kind: TaskKind) -> dict[str, np.ndarray]:
        """What ONNX Runtime says of whole clips, uint8 (B, frames, height, width, channels), frame by frame from the
        beginning of a stream: the outputs of `kind` by name."""
        states = {name: np.zeros((len(clips), *shape), np.float32) for name, shape in self.shapes.items()}
        rows = []
        for place in range(clips.shape[1]):
            row, *after = session.run([self.output, *self.stream.values()], {FRAME: clips[:, place], **states})
            states = dict(zip(self.shapes, after, strict=True))
            rows.append(row)
        frames = np.stack(rows, axis=1)
        found: Mapping[str, np.ndarray] = {"logits": frames.mean(axis=1), kind.answer: consensus(frames, kind)}
        return {name: found[name] for name in kind.outputs}


def _shifts(model: keras.Model, spec: ClipSpec) -> list[TemporalShift]:
    """The layers that shift, in their order; raises ClipzooError where the model cannot take frames one by one."""
    wrapper = next((layer for layer in model.layers if isinstance(layer, FrameWise)), None)
    found = [layer for layer in getattr(wrapper and wrapper.layer, "layers", ()) if isinstance(layer, TemporalShift)]
    found = [layer for layer in found if layer.moved(layer.input.shape[-1])]
    if tuple(type(layer) for layer in model.layers) != _CHAIN or not found:
        raise ClipzooError(
            f"model {model.name!r} cannot take frames one by one: a streaming file is made of a TSM, such as "
            "tsm_mobilenetv2 with shift=past; of all others export.Stream and clipzoo watch take the plain file"
        )
    if any(layer.shift != "past" for layer in found):
        raise ClipzooError(
            f"model {model.name!r} shifts both ways, so its frames know later ones: train it with shift=past (--set "
            "shift=past), or export it without stream (--stream)"
        )
    if spec.sampling != "dense":
        raise ClipzooError(
            f"model {model.name!r} has sampling {spec.sampling!r}, which needs the end of a file: train it with "
            "sampling=dense (--set spec.sampling=dense), or export it without stream (--stream)"
        )
    return found
