"""Models by name. Listing them needs no Keras; creating them does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from loaders.check import names, near, whole
from loaders.errors import ClipzooError
from loaders.spec import MOST, ClipSpec, FlowSpec
from loaders.tasks import Task
from zoo.model_infos import MODEL_INFOS, ModelInfo
from zoo.presets import called, find_weights

if TYPE_CHECKING:
    import keras

_CARDS: dict[str, ModelInfo] = {card.name: card for card in MODEL_INFOS}


def register(card: ModelInfo) -> ModelInfo:
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


def model_info(name: str) -> ModelInfo:
    """What is known of a model of the zoo.

    Raises:
        ClipzooError: no such model; the message has the near names.
    """
    if name not in _CARDS:
        raise ClipzooError(f"no model {name!r}; {near(str(name), list_models())}")
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
        spec: other fields of the input contract, such as `{"sampling": "dense", "stride": 4}`; see ClipSpec. `flow` may
            be a table of fields of a FlowSpec; of a model of two streams it is for the one that takes flow.
        options: of the model, such as `units=64` or `backbone_weights="imagenet"` (a name of published weights, fetched
            once; a file; or `none`); see its builder.

    Returns:
        A `keras.Model` from uint8 (B, frames, height, width, channels) to probabilities, or numbers,
        float32 (B, classes).

    Raises:
        ClipzooError: no such model or option, or a value out of its range.
    """
    from zoo.contract import class_names, set_origin

    chosen = model_info(name)
    if "trainable_layers" in options:
        raise ClipzooError(
            "trainable_layers is no option of a model any more: what trains is the recipe's train_from, 'head', 'all' "
            "or the name of a layer (--set recipe.train_from=head)"
        )
    settled = sorted({"name", "labels", *chosen.options} & set(options))
    if settled:
        raise ClipzooError(f"{name} has no option {', '.join(map(repr, settled))}: the name of the model settles it")
    contract = list(input_specs(name, frames=frames, size=size, spec=spec, flow=options.pop("flow", None)).values())
    if chosen.flow_input:
        options["flow"] = contract[1]
    network, origin = {**chosen.options, **options}.get("backbone", chosen.network), None
    for option in ("backbone_weights", "weights"):
        if options.get(option) is not None:
            options[option], origin = find_weights(network, options[option], option=option)
    model: keras.Model = called(chosen.builder)(
        contract[0],
        class_names(classes, task=task),
        name=name,
        task=task,
        **chosen.options,
        **options,
    )
    if origin is not None:
        set_origin(model, origin)
    return model


def input_specs(
    name: str,
    *,
    frames: int | None = None,
    size: int | Sequence[int] | None = None,
    spec: Mapping[str, Any] | None = None,
    flow: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, ClipSpec]:
    """The input contract of a model before it is built, by modality; arguments as those of `create_model`.

    Args:
        name: of the model.
        frames: see `create_model`, as `size` and `spec`.
        size: see there.
        spec: see there.
        flow: of a model of two streams: other fields of the one that takes flow.
        options: of the model; they change no input.

    Raises:
        ClipzooError: no such model or field, or a value out of its range.
    """
    chosen, fields = model_info(name), dict(spec or {})
    if isinstance(fields.get("flow"), Mapping):
        fields["flow"] = FlowSpec.from_dict(fields["flow"])
    if flow is not None and not chosen.flow_input:
        raise ClipzooError(f"{name} has no option 'flow', which is of models of two streams; say spec.flow")
    if not chosen.flow_input:
        return {"video": _changed(chosen, fields, frames=frames, size=size)}
    motion = {"flow": fields.pop("flow")} if "flow" in fields else {}
    rgb = _changed(chosen, fields, frames=frames, size=size)
    if flow is not None:
        if not isinstance(flow, Mapping):
            raise ClipzooError(f"flow ({flow!r}) must be a table of fields of a ClipSpec")
        names("flow: ClipSpec", flow, _FIELDS)
        motion |= flow
        if isinstance(motion.get("flow"), Mapping):
            motion["flow"] = FlowSpec.from_dict(motion["flow"])
    return {"rgb": rgb, "flow": rgb.replace(**{"modality": "flow", "stack": 5, **motion})}


_FIELDS = tuple(field.name for field in dataclasses.fields(ClipSpec))


def _changed(
    chosen: ModelInfo, changes: dict[str, Any], *, frames: int | None, size: int | Sequence[int] | None
) -> ClipSpec:
    """The card's spec with the user's changes."""
    names("ClipSpec", changes, _FIELDS)
    if frames is not None:
        changes["frames"] = frames
    if changes.get("resize") == "stretch":
        changes.setdefault("resize_to", None)
    if size is not None:
        sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
        if len(sides) != 2:
            raise ClipzooError(f"size ({size!r}) must be a number of pixels, or (height, width)")
        for what, side in zip(("height", "width"), sides, strict=True):
            whole(f"size ({size!r}): {what}", side, most=MOST)
        changes["height"], changes["width"] = sides
        if chosen.spec.resize_to is not None and changes.get("resize", "fit") == "fit":
            # The same share of the frame is cropped away as in the card's size.
            larger = chosen.spec.resize_to * max(sides)
            changes.setdefault("resize_to", round(larger / max(chosen.spec.height, chosen.spec.width)))
    return chosen.spec.replace(**changes)
