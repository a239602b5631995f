"""TSM, the temporal shift module (Lin, Gan, Han, arXiv 1811.08383), and its authors' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from loaders.check import choice, number, whole
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.backbones import mobilenetv2
from zoo.backbones.backbone import backbone as backbone_named
from zoo.consensus import consensus
from zoo.foreign_arrays import read_torch
from zoo.frames import frame_features
from zoo.layers import PACKAGE
from zoo.npz import Arrays
from zoo.weights import copy_weights, load_whole

Shift = Literal["both", "past"]

HEAD = "logits"  # as `zoo.contract.head` names it
_AUTHORS_NETWORK = "mobilenetv2"
_TORCH = (".pth", ".pt", ".tar")  # the authors' training writes `.pth.tar`


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalShift(keras.layers.Layer):
    """Puts some channels of a frame's neighbors in the place of its own: time is seen at no multiply-adds.

    (B * T, h, w, C) -> the same shape, the frames of a clip one behind the other. With n the whole part of share * C:

    | shift | channels 0 to n-1 of a frame are those of | channels n to 2n-1 |
    |---|---|---|
    | `both` | the next frame | the frame before |
    | `past` | the frame before | its own |

    All others are its own. A neighbor that there is not gives zeros.

    Args:
        frames: T, of a clip.
        share: of the channels, for each way, 0 to 1/2; 0 changes nothing.
        shift: `both` ways, or from the `past` alone: then no frame knows a later one.

    Raises:
        ClipzooError: a value out of its range.
    """

    def __init__(self, frames: int, *, share: float = 1 / 8, shift: Shift = "both", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole("TemporalShift frames", frames)
        number("share", share, least=0, most=0.5)
        choice("shift", shift, get_args(Shift))
        self.frames, self.share, self.shift = int(frames), float(share), shift

    def call(self, maps: Any) -> Any:
        moved = self.moved(maps.shape[-1])
        if not moved:
            return maps
        clips = ops.reshape(maps, (-1, self.frames, *maps.shape[1:]))
        parts = []
        for place, way in enumerate(self._ways):
            neighbors = clips[:, 1:] if way == "next" else clips[:, :-1]
            gap = (0, 1) if way == "next" else (1, 0)
            part = neighbors[..., place * moved : (place + 1) * moved]
            parts.append(ops.pad(part, ((0, 0), gap, (0, 0), (0, 0), (0, 0))))
        parts.append(clips[..., len(self._ways) * moved :])
        return ops.reshape(ops.concatenate(parts, axis=-1), (-1, *maps.shape[1:]))

    def moved(self, channels: int) -> int:
        """How many of so many channels come from a neighbor, for each way."""
        return int(self.share * channels)

    def sources(self, channels: int) -> np.ndarray:
        """The same as `call` for runtimes that take channels by their numbers.

        Returns:
            int64 (T, C): which of the T * C channels of a clip, frame by frame, each is; T * C stands for zeros.
        """
        own = np.arange(self.frames * channels).reshape(self.frames, channels)
        found, moved = own.copy(), self.moved(channels)
        for place, way in enumerate(self._ways):
            part = slice(place * moved, (place + 1) * moved)
            to, of = (slice(None, -1), slice(1, None)) if way == "next" else (slice(1, None), slice(None, -1))
            found[:, part] = own.size
            found[to, part] = own[of, part]
        return found

    @property
    def _ways(self) -> tuple[str, ...]:
        return ("next", "before") if self.shift == "both" else ("before",)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frames": self.frames, "share": self.share, "shift": self.shift}


def tsm(
    spec: ClipSpec,
    labels: tuple[str, ...],
    *,
    name: str,
    task: Task,
    backbone: str,
    dropout: float = 0.5,
    shift: Shift = "both",
    share: float = 1 / 8,
    backbone_weights: str | Path | None = None,
    weights: str | Path | None = None,
    **backbone_options: Any,
) -> keras.Model:
    """Builds a model of 2-D convolutions that knows of order: TSM with residual shift (section 4.2 of the paper).

    A `TemporalShift` stands at the entry of every residual branch of the backbone; the shortcut goes round it. Behind
    the backbone all is as in `zoo.consensus.average`. Layers are named as the plain backbone's, so its weights fit.

    Args:
        spec: the input contract.
        labels: names of the classes or numbers.
        name: of the model.
        task: what they are.
        backbone: one that is built of residual blocks: `mobilenetv2` or `efficientnet_lite0`.
        dropout: share of the averaged features that is dropped, 0 <= dropout < 1.
        shift: `both` ways in time, or from the `past` alone, for streams: no frame knows a later one.
        share: of the channels, for each way; see `TemporalShift`.
        backbone_weights: None, a file as `zoo.weights.load_weights` takes it, or, of MobileNetV2, a checkpoint of the
            paper's authors (`.pth`), whose head is left.
        weights: a `.keras` or `.npz` file of the whole model, or such a checkpoint with its head: its labels must be as
            many, and its shift the same.
        backbone_options: `alpha` of MobileNetV2.

    Raises:
        ClipzooError: no such option, a value out of its range, a backbone without shortcuts, or weights that do not
            fit.
    """
    number("dropout", dropout, least=0, below=1)
    if backbone_weights is not None and weights is not None:
        raise ClipzooError(f"backbone_weights ({backbone_weights!r}) and weights ({weights!r}) exclude each other")
    if "entry" not in signature(backbone_named(backbone).build).parameters:
        raise ClipzooError(f"backbone ({backbone!r}) has no entry to residual branches, where TSM shifts")

    def entry(maps: Any, block: str) -> Any:
        return TemporalShift(spec.frames, share=share, shift=shift, name=f"{block}_shift")(maps)

    of_authors = _is_checkpoint(backbone_weights)
    video, features = frame_features(
        spec,
        tsm,
        name=name,
        backbone=backbone,
        backbone_weights=None if of_authors else backbone_weights,
        pooling="average",
        backbone_options=backbone_options,
        entry=entry,
    )
    model = keras.Model(video, consensus(features, labels, task, dropout=dropout), name=name)
    if of_authors:
        found = _checkpoint("backbone_weights", backbone_weights, backbone)
        copy_weights(found, model.get_layer("frames").layer, str(backbone_weights))
    elif _is_checkpoint(weights):
        found = _checkpoint("weights", weights, backbone, shift=shift if share else "none")
        copy_weights(found, model, str(weights), what="weights")
    elif weights is not None:
        load_whole(model, weights)
    return model


def arrays(state: Mapping[str, np.ndarray]) -> Arrays:
    """The authors' MobileNetV2 as our layers have it, with its head where it has one.

    | there | here |
    |---|---|
    | `module.base_model.features.N. ...` | the layers of `mobilenetv2` |
    | `module.base_model.features.N.conv.0.net.weight`, where they shift | `blockN_expand_conv` |
    | `module.new_fc.weight` (classes, 1280), `module.new_fc.bias` | `logits`, kernel (1280, classes) |

    Their network for streams (`online_demo`) has neither `module.base_model` nor `net`; its head is `classifier`.

    Args:
        state: what `zoo.foreign_arrays.read_torch` gives of a checkpoint of mit-han-lab/temporal-shift-module.

    Raises:
        ClipzooError: a parameter is missing.
    """
    plain = {
        name.removeprefix("module.").removeprefix("base_model.").replace(".net.", "."): values
        for name, values in state.items()
    }
    found = mobilenetv2.arrays(plain)
    for last in ("new_fc", "classifier"):
        if {f"{last}.weight", f"{last}.bias"} <= set(plain):
            kernel, bias = (np.asarray(plain[f"{last}.{part}"], np.float32) for part in ("weight", "bias"))
            found[HEAD] = [np.ascontiguousarray(kernel.T), bias]
    return found


def _is_checkpoint(file: str | Path | None) -> bool:
    return file is not None and Path(file).suffix in _TORCH


def _checkpoint(what: str, file: Any, backbone: str, *, shift: str | None = None) -> Arrays:
    """Reads the authors' checkpoint that the option `what` names; `shift` is the model's, where it must be theirs."""
    if backbone != _AUTHORS_NETWORK:
        raise ClipzooError(
            f"{what} {str(file)!r}: is a checkpoint of PyTorch, which is read for {_AUTHORS_NETWORK} alone, not for "
            f"{backbone}; give a .npz or .keras file"
        )
    state = read_torch(Path(file))
    try:
        found = arrays(state)
    except ClipzooError as error:
        raise ClipzooError(f"{what} {str(file)!r}: {error}") from None
    # Nothing else in the arrays tells a network that shifts from another one.
    of_clips = any(".base_model." in f".{name}" for name in state)
    theirs = ("both" if any(".net." in name for name in state) else "none") if of_clips else "past"
    if shift not in (None, theirs):
        say = "share=0" if theirs == "none" else f"shift={theirs}"
        raise ClipzooError(f"{what} {str(file)!r}: is of a network whose shift is {theirs!r}, not {shift!r}; say {say}")
    return found
