"""What a backbone is to the models: how to build it, and what pixels it wants."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec, ColorOrder


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An image network without its classifier.

    Attributes:
        build: `build((height, width, channels), weights, **options)` -> model that ends in feature maps
            (B, h, w, features). `weights` is None or `imagenet`.
        mean: taken off the pixels, 0 to 255, in `channel_order`.
        std: divides them.
        channel_order: of its weights.
        imagenet: whether ImageNet weights can be had.
    """

    build: Callable[..., keras.Model]
    mean: float | Sequence[float]
    std: float | Sequence[float]
    channel_order: ColorOrder = "rgb"
    imagenet: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """Options of `build` and their defaults."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def normalisation(self, spec: ClipSpec) -> dict[str, Any]:
        """Options of the ClipInput before it: motion is centred on 128, pixels are as the weights want them."""
        if spec.modality == "flow":
            return {"mean": 128.0, "std": 128.0}
        if spec.channels == 3:
            return {"mean": self.mean, "std": self.std, "channel_order": self.channel_order}
        mean, std = (sum(v) / len(v) if isinstance(v, Sequence) else v for v in (self.mean, self.std))
        return {"mean": mean, "std": std}

    def create(
        self, shape: tuple[int, int, int], *, weights: str | Path | None, trainable_layers: int, **options: Any
    ) -> keras.Model:
        """Builds the network with global max pooling, gives it weights, and freezes what is not to train.

        Args:
            shape: (height, width, channels) of a frame.
            weights: None (random, every layer trains), `imagenet` (Keras downloads them once), or an `.h5` or
                `.weights.h5` file of this network without its top.
            trainable_layers: with weights, how many of the last layers train; the others are frozen, their batch
                normalisation in inference mode.
            options: of `build`.

        Raises:
            ClipzooError: weights that cannot be had, or that do not fit.
        """
        imagenet = weights == "imagenet"
        if imagenet and not self.imagenet:
            raise ClipzooError("backbone_weights 'imagenet': there are none for this backbone; give None or a file")
        if imagenet and shape[2] != 3:
            raise ClipzooError(f"backbone_weights 'imagenet' needs 3 channels, the ClipSpec has {shape[2]}")
        try:
            network = self.build(shape, "imagenet" if imagenet else None, **options)
        except Exception as error:
            if not imagenet:
                raise
            raise ClipzooError(
                f"backbone_weights 'imagenet' cannot be had ({error}); give the path of a weights file instead"
            ) from error
        if weights is not None and not imagenet:
            _load(network, Path(weights))
        if weights is not None:
            layers = network.layers
            for layer in layers[: max(0, len(layers) - trainable_layers)]:
                layer.trainable = False  # leaf layers all: a backbone is flat
        pooled = keras.layers.GlobalMaxPooling2D(name="global_max_pooling")(network.output)
        return keras.Model(network.input, pooled, name="backbone")


def _load(network: keras.Model, file: Path) -> None:
    if not file.is_file():
        raise ClipzooError(f"backbone_weights {str(file)!r}: no such file; it must be None, 'imagenet' or a file")
    try:
        network.load_weights(file)
    except Exception as error:  # h5py and Keras raise what they like
        raise ClipzooError(
            f"backbone_weights {str(file)!r}: does not fit this backbone ({str(error).strip().splitlines()[0]}); "
            "check its options (alpha, width) and that the file is without a classifier"
        ) from error
