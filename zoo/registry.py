"""The models by name. Listing them needs no Keras; creating and loading them does."""

from __future__ import annotations

import dataclasses
import difflib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task

if TYPE_CHECKING:
    import keras

ARTICLE = "Metal3d, Training neural network with image sequence, an example with video as input (2019)"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a model before it is built.

    Attributes:
        name: what `create_model` takes.
        summary: one line.
        spec: the default input contract.
        builder: `module:function`; called as `function(spec, labels, name=name, task=task, **options)`.
        options: settled by the name; the user's come on top.
        parameters: weights of the default model with 51 classes (HMDB51), moving statistics included.
        multiply_adds: of one clip through the default model: convolutions, dense and recurrent layers.
        source: where the architecture comes from.
    """

    name: str
    summary: str
    spec: ClipSpec
    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: int
    multiply_adds: int
    source: str


_CARDS: dict[str, Card] = {}


def register(card: Card) -> Card:
    """Adds a model to the zoo.

    Raises:
        ClipzooError: the name is taken.
    """
    if card.name in _CARDS:
        raise ClipzooError(f"a model {card.name!r} is registered already")
    _CARDS[card.name] = card
    return card


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that fit a shell pattern such as `mobilenet*`, sorted."""
    return sorted(name for name in _CARDS if fnmatchcase(name, pattern))


def card(name: str) -> Card:
    """The card of a model.

    Raises:
        ClipzooError: no such model; the message has the near names.
    """
    if name not in _CARDS:
        near = difflib.get_close_matches(name, _CARDS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list_models())}"
        raise ClipzooError(f"no model {name!r}; {hint}")
    return _CARDS[name]


def create_model(
    name: str,
    *,
    classes: int | Sequence[str],
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    task: Task = "classification",
    spec: Mapping[str, Any] | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a model of the zoo.

    Args:
        name: one of `list_models()`.
        classes: how many, or their names in the order of the outputs; of the numbers, for regression.
        frames: frames in a clip; the card's if left out.
        size: height and width in pixels, one number for both; the card's if left out.
        task: `classification` (one class a clip), `multilabel` (several, or none) or `regression` (numbers).
        spec: other fields of the input contract, such as `{"sampling": "dense", "stride": 4}`; see ClipSpec.
        options: of the model, such as `units=64` or `backbone_weights="imagenet"`; see its builder.

    Returns:
        A `keras.Model` from uint8 (B, frames, height, width, channels) to probabilities, or numbers,
        float32 (B, classes).

    Raises:
        ClipzooError: no such model or option, or a value out of its range.
    """
    from zoo.contract import class_names

    chosen = card(name)
    settled = sorted({"name", "labels", *chosen.options} & set(options))
    if settled:
        raise ClipzooError(f"{name} has no option {', '.join(map(repr, settled))}: the name of the model settles it")
    changes: dict[str, Any] = dict(spec or {})
    strange = sorted(set(changes) - {field.name for field in dataclasses.fields(ClipSpec)})
    if strange:
        raise ClipzooError(f"ClipSpec has no field {', '.join(map(repr, strange))}")
    if frames is not None:
        changes["frames"] = frames
    if changes.get("resize") == "stretch":
        changes.setdefault("resize_to", None)
    if size is not None:
        changes["height"], changes["width"] = (size, size) if isinstance(size, int) else size
        if chosen.spec.resize_to is not None and changes.get("resize", "fit") == "fit":
            # The same share of the frame is cropped away as in the card's size.
            larger = chosen.spec.resize_to * max(changes["height"], changes["width"])
            changes.setdefault("resize_to", round(larger / max(chosen.spec.height, chosen.spec.width)))
    module, _, function = chosen.builder.partition(":")
    build = getattr(import_module(module), function)
    model: keras.Model = build(
        chosen.spec.replace(**changes),
        class_names(classes, task=task),
        name=name,
        task=task,
        **chosen.options,
        **options,
    )
    return model


def load_model(path: str | Path, *, compile: bool = False) -> keras.Model:
    """Loads a model that was saved as a `.keras` file, on whichever backend Keras runs now. It computes in float32,
    whatever precision it was trained in.

    Args:
        path: the file, or a run's folder, which holds `model.keras`.
        compile: whether to bring optimizer and loss back too.

    Raises:
        ClipzooError: no such file, not a Keras file, or not one of clipzoo's.
    """
    from zoo.contract import specs
    from zoo.precision import set_precision

    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    model = load_keras(file, compile=compile)
    specs(model)
    set_precision(model, "float32")
    return model


def load_keras(file: Path, *, compile: bool = False) -> keras.Model:
    """Loads any `.keras` file, ours or not; raises as `load_model` does, and for weights that are not numbers."""
    import keras
    import numpy as np

    # Keras does not import the classes that a file names ("Could not locate class"); zoo.sgd brings the layers too.
    import_module("zoo.sgd" if compile else "zoo.layers")
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    if not zipfile.is_zipfile(file):
        raise ClipzooError(f"{file}: is not a .keras file")
    try:
        model: keras.Model = keras.saving.load_model(file, compile=compile)
    except ClipzooError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise; a damaged file is the user's to mend
        raise ClipzooError(f"{file}: cannot be loaded as a Keras model ({_first_line(error)})") from error
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ClipzooError(
                f"{file}: weight {weight.path} holds values that are not numbers; train again, or load another"
            )
    return model


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _recurrent(name: str, cell: str, backbone: str, size: int, parameters: int, multiply_adds: int, what: str) -> None:
    register(
        Card(
            name=name,
            summary=f"{what} on every frame, global max pooling, {cell.upper()}",
            spec=ClipSpec(frames=5, height=size, width=size),
            builder="zoo.recurrent:recurrent",
            options={"backbone": backbone, "cell": cell},
            parameters=parameters,
            multiply_adds=multiply_adds,
            source=ARTICLE,
        )
    )


_recurrent("convnet_gru", "gru", "convnet", 112, 5_468_787, 12_826_205_376, "ConvNet of eight 3x3 convolutions")
_recurrent("convnet_lstm", "lstm", "convnet", 112, 5_505_523, 12_826_389_696, "ConvNet of eight 3x3 convolutions")
_recurrent("mobilenet_gru", "gru", "mobilenet", 224, 4_106_739, 2_840_293_056, "MobileNet")
_recurrent("mobilenet_lstm", "lstm", "mobilenet", 224, 4_176_243, 2_840_641_216, "MobileNet")
_recurrent("mobilenetv2_gru", "gru", "mobilenetv2", 224, 3_185_011, 1_499_428_416, "MobileNetV2")
_recurrent("vgg16_gru", "gru", "vgg16", 224, 15_494_259, 76_734_373_056, "VGG16")


_DTPP = "Zhu, Zou, Zhu, End-to-end Video-level Representation Learning for Action Recognition, arXiv 1711.04161 (2018)"
_SEGMENTS = ClipSpec(
    frames=25, height=224, width=224, sampling="segments", resize="fit", resize_to=256, interpolation="linear"
)


def _stream(name: str, builder: str, parameters: int, multiply_adds: int, summary: str, **fields: Any) -> None:
    register(
        Card(
            name=name,
            summary=summary,
            spec=_SEGMENTS.replace(**fields),
            builder=f"zoo.two_stream:{builder}",
            parameters=parameters,
            multiply_adds=multiply_adds,
            source=_DTPP,
        )
    )


_ON = "BN-Inception on 25"
_stream("dtpp_rgb", "stream", 10_655_891, 50_789_767_168, f"{_ON} frames, temporal pyramid pooling")
_stream("dtpp_flow", "stream", 10_677_843, 57_673_914_368, f"{_ON} flow stacks, pyramid", modality="flow", stack=5)
_stream("dtpp_diff", "stream", 10_655_891, 50_789_767_168, f"{_ON} frame differences, pyramid", modality="diff")
_stream("dtpp", "two_stream", 21_333_734, 108_463_681_536, "dtpp_rgb and dtpp_flow, logits fused 0.4 to 0.6")
