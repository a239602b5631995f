"""Where a model looks: Grad-CAM (Selvaraju et al., arXiv 1610.02391) over the frames of a clip, on either backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from loaders.check import near
from loaders.errors import ClipzooError
from loaders.tasks import task_kind
from zoo.contract import answer_layer, labels, specs, task, with_logits
from zoo.frozen import Place, call_of, cut_at, inputs_of, network_of
from zoo.layers import ClipInput, FrameWise

_POOLINGS = (
    keras.layers.AveragePooling2D, keras.layers.AveragePooling3D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D,
)  # fmt: skip


def explain(
    model: keras.Model, clips: np.ndarray | Mapping[str, np.ndarray], *, label: str | None = None
) -> np.ndarray | dict[str, np.ndarray]:
    """Shows which places of each frame speak for a label: Grad-CAM (arXiv 1610.02391, equations 1 and 2).

    The feature maps A are those of the last layer before pooling. The weight of a channel is the mean, over the places
    of its map, of the gradient of the label's logit (not of its probability) with respect to them; the heat is
    ReLU(sum over channels of weight * A). Each frame of a frame-wise backbone is an image of its own, with weights of
    its own. The maps of a trunk over space and time, as I3D has, are one volume: the mean is over time too. The heat
    is then resized, linearly over time and space, to the clip's frames, and divided by its maximum in the clip, so that
    frames compare. Global max pooling hands gradients to the maxima alone; their mean is the weight all the same.

    Args:
        model: of the zoo, or any that has ClipInput layers, feature maps over time and space, and an Answer.
        clips: uint8 (B, T, H, W, C), 0 to 255; for several inputs, a dict of them by name.
        label: whose heat, of `zoo.labels(model)`. Left out: of each clip its top class, or its highest label; of
            numbers the first. The gradient of a number is that of the number itself: heat is where it grows.

    Returns:
        Heat, float32 (B, T, H, W), 0 to 1: 1 the hottest place of the clip. All 0 where nothing speaks for the label.
        For several inputs, a dict by name; each is divided by its own maximum.

    Raises:
        ClipzooError: no such label, clips that the model does not take, or a model without such feature maps.
    """
    cam = GradCam(model)
    given = {name: np.asarray(value) for name, value in clips.items()} if isinstance(clips, Mapping) else clips
    seen = cam.look(given)
    if label is not None:
        chosen = np.full(len(seen.answer), cam.place(label))
    elif task_kind(task(model)).classes:
        chosen = seen.answer.argmax(axis=1)
    else:
        chosen = np.zeros(len(seen.answer), np.int64)
    heat = cam.heat(seen, chosen)
    return heat if len(heat) > 1 else next(iter(heat.values()))


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What a model made of clips.

    Attributes:
        maps: feature maps, a tensor (B, t, h, w, channels) for each input.
        answer: float32 (B, labels): probabilities, or numbers.
    """

    maps: list[Any]
    answer: np.ndarray


class GradCam:
    """A model in two parts, clips -> feature maps and feature maps -> logits, for any number of clips and labels.

    Args:
        model: as `explain` takes it.

    Raises:
        ClipzooError: it has no feature maps over time and space, or one that several inputs make.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.specs = specs(model)
        self.labels = labels(model)
        self.kind = task_kind(task(model))
        found = self._places()
        self._inputs = list(found)
        # Frames of a frame-wise backbone are images each; else a map is one volume.
        self._volume = {name: not _framewise(place) for name, place in found.items()}
        parts = cut_at(with_logits(model), list(found.values()))
        self._front, self._back = _forward(parts.frozen), _forward(parts.rest)
        self._gradient = _gradient(parts.rest, self.kind.outputs[0])

    def place(self, label: str) -> int:
        """The position of a label among the outputs; raises ClipzooError where there is none of that name."""
        if label not in self.labels:
            raise ClipzooError(f"model {self.model.name!r} has no label {label!r}; {near(label, self.labels)}")
        return self.labels.index(label)

    def look(self, clips: np.ndarray | Mapping[str, np.ndarray]) -> Activations:
        """Computes feature maps and answer of clips, as `explain` takes them."""
        maps = self._front(self._checked(clips))
        answer = self._back(maps)[self.kind.answer]
        return Activations(maps=list(maps) if isinstance(maps, list | tuple) else [maps], answer=_numpy(answer))

    def heat(self, seen: Activations, chosen: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Heat by input name, float32 (B, T, H, W), 0 to 1, of the label at position `chosen` of each clip."""
        wanted = np.eye(len(self.labels), dtype=np.float32)[np.asarray(chosen)]
        found = {}
        for name, maps, gradient in zip(self._inputs, seen.maps, self.gradients(seen.maps, wanted), strict=True):
            weights = gradient.mean(axis=(1, 2, 3) if self._volume[name] else (2, 3), keepdims=True)
            warm = np.maximum(0, (weights * _numpy(maps)).sum(axis=-1))
            full = _resized(warm, self.specs[name].shape[:3])
            most = full.max(axis=(1, 2, 3), keepdims=True)
            found[name] = np.divide(full, most, out=np.zeros_like(full), where=most > 0)
        return {name: found[name] for name in self.specs}

    def gradients(self, maps: list[Any], wanted: np.ndarray) -> list[np.ndarray]:
        """Gradients of the wanted logits with respect to feature maps, float32, each of its map's shape.

        Args:
            maps: as `Activations` has them.
            wanted: float32 (B, labels), the weight of each clip's logits: 1 for a label, else 0.
        """

        found = self._gradient(maps if len(maps) > 1 else maps[0], wanted)
        return [_numpy(each) for each in (found if len(maps) > 1 else [found])]

    def _checked(self, clips: np.ndarray | Mapping[str, np.ndarray]) -> Any:
        given = clips if isinstance(clips, Mapping) else {next(iter(self.specs)): np.asarray(clips)}
        if set(given) != set(self.specs):
            raise ClipzooError(f"model {self.model.name!r} takes {', '.join(self.specs)}, not {', '.join(given)}")
        for name, spec in self.specs.items():
            if given[name].dtype != np.uint8 or given[name].shape[1:] != spec.shape:
                found = f"{given[name].dtype} {given[name].shape}"
                raise ClipzooError(f"clips for {name!r} must be uint8 (clips, *{spec.shape}); got {found}")
        return [given[name] for name in self.specs]

    def _places(self) -> dict[str, Place]:
        """Where the last feature map of each input stands."""
        none = ClipzooError(
            f"model {self.model.name!r} has no feature map over time and space between an input and its answer; "
            "Grad-CAM needs one (B, T, h, w, channels) for each input, before pooling"
        )
        found: dict[str, Place] = {}
        for place in _last_maps(answer_layer(self.model).output, rank=5):
            if place is None:
                raise none
            wrapper, tensor = place
            sources = set(_sources(tensor if wrapper is None else call_of(wrapper).output_tensors[0]))
            if len(sources) != 1 or sources & set(found):
                raise none
            found[sources.pop()] = place
        return found


def _forward(network: keras.Model) -> Callable[[Any], Any]:
    """What calls a network in inference. JAX is to compile the whole: else it compiles each operation by itself, which
    takes longer. TensorFlow need not: to trace the whole takes longer than to run it once."""
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(lambda weights, given: network.stateless_call(*weights, given, training=False)[0])
        return lambda given: compiled(_weights(network), given)
    return lambda given: network(given, training=False)


def _gradient(network: keras.Model, output: str) -> Callable[[Any, np.ndarray], Any]:
    """The gradient of a weighted sum of an output, by name, with respect to what the network is given."""

    def total(found: Any, wanted: np.ndarray) -> Any:
        return keras.ops.sum(keras.ops.cast(found[output], "float32") * wanted)

    if keras.backend.backend() == "jax":
        import jax

        def end(given: Any, weights: Any, wanted: np.ndarray) -> Any:
            return total(network.stateless_call(*weights, given, training=False)[0], wanted)

        compiled = jax.jit(jax.grad(end))
        return lambda given, wanted: compiled(given, _weights(network), wanted)
    import tensorflow as tf

    def gradient(given: Any, wanted: np.ndarray) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(given)
            end = total(network(given, training=False), wanted)
        return tape.gradient(end, given)

    return gradient


def _weights(network: keras.Model) -> list[list[Any]]:
    return [[w.value for w in kind] for kind in (network.trainable_variables, network.non_trainable_variables)]


def _numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor).astype(np.float32)


def _last_maps(end: Any, *, rank: int) -> Iterator[Place | None]:
    """The last tensors of that rank on all ways back from `end`, poolings left aside; None for an input."""
    waiting, known = [end], set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in known:
            continue
        known.add(id(tensor))
        operation = tensor._keras_history.operation
        network = network_of(operation)
        if isinstance(operation, keras.layers.InputLayer | ClipInput):
            yield None
            continue
        if len(tensor.shape) == rank and not isinstance(operation, _POOLINGS):
            yield None, tensor
            continue
        inside: list[Place | None] = []
        if isinstance(network, keras.Model) and len(network.outputs or ()) == 1:
            inside = list(_last_maps(network.outputs[0], rank=4 if isinstance(operation, FrameWise) else rank))
        place = inside[0] if len(inside) == 1 else None
        if place is not None and place[0] is None:  # else it stands deeper, or there is none
            yield operation, place[1]
        else:
            waiting += inputs_of(tensor)


def _sources(tensor: Any) -> Iterator[str]:
    """Names of the inputs that a tensor is made of."""
    waiting, known = [tensor], set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in known:
            known.add(id(tensor))
            if isinstance(tensor._keras_history.operation, keras.layers.InputLayer):
                yield tensor.name
            else:
                waiting += inputs_of(tensor)


def _framewise(place: Place) -> bool:
    wrapper, tensor = place
    maker = tensor._keras_history.operation if wrapper is None else wrapper
    return isinstance(maker, FrameWise | keras.layers.TimeDistributed)


def _resized(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(B, t, h, w) -> (B, T, H, W), linear between the middles of the places; beyond the outermost they go on flat."""
    for axis, size in enumerate(shape, start=1):
        # Each place of the result is a mean of two of the map, which a matrix says.
        count = maps.shape[axis]
        middles = (np.arange(size) + 0.5) * count / size - 0.5
        mixed = np.stack([np.interp(middles, np.arange(count), row) for row in np.eye(count)]).astype(np.float32)
        maps = np.moveaxis(np.tensordot(maps, mixed, axes=(axis, 0)), -1, axis)
    return maps
