"""What a backbone is to the models: how to build it, and what pixels it wants."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from loaders.check import choice
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec, ColorOrder
from zoo.weights import arrays_of, copy_weights, load_weights


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An image network without its classifier.

    Attributes:
        build: `build((height, width, channels), weights, **options)` -> model that ends in feature maps
            (B, h, w, features). `weights` is None or `imagenet`.
        mean: taken off the pixels, 0 to 255, in `channel_order`.
        std: divides them.
        channel_order: of its weights.
        imagenet: whether Keras can download ImageNet weights.
        flow_std: divides motion, after 128 is taken off.
    """

    build: Callable[..., keras.Model]
    mean: float | Sequence[float]
    std: float | Sequence[float]
    channel_order: ColorOrder = "rgb"
    imagenet: bool = True
    flow_std: float = 128.0

    @property
    def options(self) -> dict[str, Any]:
        """Options of `build` and their defaults."""
        return options_of(self.build)

    def normalization(self, spec: ClipSpec) -> dict[str, Any]:
        """Options of the ClipInput before it: motion is centered on 128, pixels are as the weights want them.

        What is `grouped` is to the weights what pixels are: where nothing moves, a gray photograph.
        """
        if spec.modality == "flow":
            return {"mean": 128.0, "std": self.flow_std}
        if spec.channels == 3:
            return {"mean": self.mean, "std": self.std, "channel_order": self.channel_order}
        mean, std = (sum(v) / len(v) if isinstance(v, Sequence) else v for v in (self.mean, self.std))
        return {"mean": mean, "std": std}

    def create(
        self,
        shape: tuple[int, int, int],
        *,
        weights: str | Path | None,
        pooling: Literal["max", "average"] = "max",
        **options: Any,
    ) -> keras.Model:
        """Builds the network with global pooling, and gives it weights.

        Args:
            shape: (height, width, channels) of a frame. With weights of 3 channels and a frame of others, the first
                convolution's kernel is averaged over its channels and repeated (cross-modality initialization; Wang et
                al., arXiv 1608.00859).
            weights: None (random), `imagenet` (Keras downloads them once), or a file: see
                `zoo.weights.load_weights`.
            pooling: over the feature maps.
            options: of `build`.

        Raises:
            ClipzooError: weights that cannot be had, or that do not fit.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*usually expects 1 or 3 input channels.*")
            network = self._network(shape, weights, **options)
        pool = keras.layers.GlobalMaxPooling2D if pooling == "max" else keras.layers.GlobalAveragePooling2D
        pooled = pool(name=f"global_{pooling}_pooling")(network.output)
        return keras.Model(network.input, pooled, name="backbone")

    def _network(self, shape: tuple[int, int, int], weights: str | Path | None, **options: Any) -> keras.Model:
        if weights is None:
            return self.build(shape, None, **options)
        if weights != "imagenet":
            network = self.build(shape, None, **options)
            # Only where a file has no names is the network of its own channels needed to read it.
            load_weights(network, weights, rgb=lambda: self.build((*shape[:2], 3), None, **options))
            return network
        if not self.imagenet:
            raise ClipzooError("backbone_weights 'imagenet': there are none for this backbone; give None or a file")
        try:
            source = self.build((*shape[:2], 3), "imagenet", **options)
        except Exception as error:
            raise ClipzooError(
                f"backbone_weights 'imagenet': Keras cannot download them ({error}); give the path of a weights "
                "file, or take a model whose weights come by pip (clipzoo models --presets), such as mobilenetv2_gru"
            ) from error
        if shape[2] == 3:
            return source
        network = self.build(shape, None, **options)
        copy_weights(arrays_of(source), network, "imagenet")
        return network


# Of `create_model` itself, for every model.
COMMON = frozenset({"frames", "size"})


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Keyword-only parameters of a function and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


_BACKBONES: dict[str, Backbone] = {}


def register_backbone(name: str, backbone: Backbone) -> Backbone:
    """Adds an image network, for the option `backbone` of models and of cards.

    Raises:
        ClipzooError: the name is taken.
    """
    if name in _BACKBONES:
        raise ClipzooError(f"a backbone {name!r} is registered already")
    _BACKBONES[name] = backbone
    return backbone


def list_backbones() -> list[str]:
    """Names of the backbones, sorted."""
    return sorted(_BACKBONES)


def backbone(name: str) -> Backbone:
    """A backbone by its name.

    Raises:
        ClipzooError: no such backbone.
    """
    choice("backbone", name, list_backbones())
    return _BACKBONES[name]
