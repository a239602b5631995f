"""Weights by layer name: into a backbone from files, from an RGB network into one of other channels, out of Caffe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from loaders.errors import ClipzooError
from zoo.npz import Arrays, read_npz
from zoo.saving import load_keras


def load_weights(network: keras.Model, file: str | Path, *, rgb: Callable[[], keras.Model]) -> None:
    """Loads a backbone's weights.

    Args:
        network: its layers' names are looked up in the file.
        file: `.npz` (keys `layer.0`, `layer.1`, ...), a `.keras` file (of a backbone, or of a model that holds one), or
            an `.h5` or `.weights.h5` file of the network without its top.
        rgb: makes the same network for 3 channels, for `.h5` files where `network` has others.

    Raises:
        ClipzooError: no such file, not of this network, or not numbers.
    """
    file = Path(file)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "no such file"
        raise ClipzooError(f"backbone_weights {str(file)!r}: {what}; it must be None, 'imagenet' or a file")
    if file.suffix == ".npz":
        copy_weights(read_npz(file), network, str(file))
    elif file.suffix == ".keras":
        copy_weights(_read_keras(file), network, str(file))
    elif file.suffix not in (".h5", ".hdf5"):
        raise ClipzooError(f"backbone_weights {str(file)!r}: must be a .keras, .npz, .h5 or .weights.h5 file")
    else:
        source = network if network.input_shape[-1] == 3 else rgb()
        try:
            source.load_weights(file)
        except Exception as error:  # h5py and Keras raise what they like
            raise _misfit(file, str(error).strip().splitlines()[0]) from error
        copy_weights(arrays_of(source), network, str(file))


def copy_weights(
    arrays: Mapping[str, Sequence[np.ndarray]], network: keras.Model, origin: str, *, what: str = "backbone_weights"
) -> None:
    """Gives each layer of a network the arrays of its name.

    The kernel of a convolution on the network's input may have another number of channels: it is averaged over them
    and repeated (cross-modality initialization).

    Args:
        arrays: layer name -> arrays in Keras's order; names that the network has not are left.
        network: whose every layer with weights must be found.
        origin: where they come from, for messages.
        what: the option that named it, for messages; with `weights` no kernel is averaged.

    Raises:
        ClipzooError: a layer is missing, its shapes differ, or a value is not a number.
    """
    channels = network.input_shape[-1]
    for layer in _leaves(network):
        if layer.name not in arrays:
            raise _misfit(origin, f"it has no layer {layer.name!r}", what)
        given = [np.asarray(array) for array in arrays[layer.name]]
        wanted = [tuple(weight.shape) for weight in layer.weights]
        first = what == "backbone_weights" and given and given[0].ndim in (4, 5) and wanted[0][-2] == channels
        if first and given[0].shape != wanted[0]:
            given[0] = cross_modality(given[0], channels)
        if [array.shape for array in given] != wanted:
            raise _misfit(origin, f"layer {layer.name!r} has {[array.shape for array in given]}, not {wanted}", what)
        if not all(np.isfinite(array).all() for array in given):
            raise ClipzooError(f"{what} {origin!r}: layer {layer.name!r} holds values that are not numbers")
        layer.set_weights(given)


def cross_modality(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel for other inputs: the mean over its channels, for each new channel (arXiv 1608.00859).

    Args:
        kernel: (height, width, channels before, filters), or (time, height, width, channels before, filters).
        channels: wanted.
    """
    return np.repeat(kernel.mean(axis=-2, keepdims=True), channels, axis=-2)


def arrays_of(model: keras.Model) -> Arrays:
    """The weights of every leaf layer by its name; raises ClipzooError where two layers have one name."""
    found: Arrays = {}
    for layer in _leaves(model):
        if layer.name in found:
            raise ClipzooError(
                f"model {model.name!r} holds two backbones, with a layer {layer.name!r} each; give one stream's file"
            )
        found[layer.name] = layer.get_weights()
    return found


def load_whole(model: keras.Model, file: str | Path) -> None:
    """Loads all weights of a model by layer name from a `.keras` or `.npz` file; raises as `load_weights` does."""
    file = Path(file)
    if not file.is_file() or file.suffix not in (".npz", ".keras"):
        raise ClipzooError(f"weights {str(file)!r}: must be a .keras or .npz file that is there")
    arrays = read_npz(file) if file.suffix == ".npz" else _read_keras(file)
    copy_weights(arrays, model, str(file), what="weights")


def from_caffe(
    arrays: Mapping[str, Sequence[np.ndarray]], *, levels: Sequence[int] = (1, 2, 4), head: str | None = "rgb_logits"
) -> Arrays:
    """The authors' arrays (their Caffe layout) as Keras has them.

    | Caffe | Keras |
    |---|---|
    | names with `/` | `_` |
    | convolution (out, in, height, width) | (height, width, in, out) |
    | batch normalization: scale, shift, mean, variance, each (1, C, 1, 1) | gamma, beta, mean, variance, each (C,) |
    | dense (out, in), in = level, then channel, then bin | (in, out), in = level, then bin, then channel |

    Args:
        arrays: layer name -> its blobs, in the order of the `.caffemodel`.
        levels: of the pyramid in front of the dense layer.
        head: what the dense layer behind the pyramid is called here: `rgb_logits` or `flow_logits`; None leaves dense
            layers out, as for an ImageNet network with its classifier.

    Raises:
        ClipzooError: a blob whose shape is none of these.
    """
    found: Arrays = {}
    for name, blobs in arrays.items():
        first, *rest = (np.asarray(blob) for blob in blobs)
        flat = [blob.reshape(-1) for blob in rest]
        here = name.replace("/", "_")
        if first.ndim == 4 and len(rest) == 3:
            found[here] = [first.reshape(-1), *flat]
        elif first.ndim == 4:
            found[here] = [first.transpose(2, 3, 1, 0), *flat]
        elif first.ndim == 2:
            if head is None:
                continue
            if head in found:
                raise ClipzooError(f"Caffe layer {name!r} is a second dense layer; say head=None to leave them out")
            found[head] = [_pyramid_order(first, levels, name), *flat]
        else:
            raise ClipzooError(f"Caffe layer {name!r} has a blob of shape {first.shape}, which these networks have not")
    return found


def _pyramid_order(kernel: np.ndarray, levels: Sequence[int], name: str) -> np.ndarray:
    bins = sum(levels)
    if kernel.shape[1] % bins:
        raise ClipzooError(f"Caffe layer {name!r} takes {kernel.shape[1]} features, no multiple of {bins} bins")
    channels = kernel.shape[1] // bins
    parts, start = [], 0
    for level in levels:
        part = kernel[:, start : start + channels * level].reshape(len(kernel), channels, level)
        parts.append(part.transpose(2, 1, 0).reshape(level * channels, len(kernel)))
        start += channels * level
    return np.concatenate(parts)


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers that have weights and hold no other layer."""
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if layer.weights and not list(layer._flatten_layers(include_self=False)):
            yield layer


def _read_keras(file: Path) -> Arrays:
    return arrays_of(load_keras(file))


def _misfit(origin: str | Path, why: str, what: str = "backbone_weights") -> ClipzooError:
    if what == "weights":
        return ClipzooError(f"weights {str(origin)!r}: is not of this model ({why}); check classes, frames and options")
    return ClipzooError(
        f"backbone_weights {str(origin)!r}: does not fit this backbone ({why}); check its options (alpha, width) and "
        "that the file is without a classifier"
    )
