"""What a caller says of a model that does not say it itself: its input, its labels, its task. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from export.metadata import check_labels
from loaders import check
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind

INPUT = "video"  # what the input is called where a spec is given without a name
Scale = float | Sequence[float] | Mapping[str, float | Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What is said of a model. What is empty or None was not said.

    Attributes:
        specs: input name -> ClipSpec.
        labels: names of the classes or numbers, in the order of the outputs.
        task: what they are.
        mean: input name -> what is taken off the pixels; a number, or one for each channel.
        std: input name -> what divides them; likewise.
    """

    specs: Mapping[str, ClipSpec] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    task: Task | None = None
    mean: Mapping[str, float | list[float]] = field(default_factory=dict)
    std: Mapping[str, float | list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        specs = {name: spec.to_dict() for name, spec in self.specs.items()}
        return {**vars(self), "specs": specs, "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelDescription:
        """Reads what `to_dict` wrote."""
        specs = {name: ClipSpec.from_dict(spec) for name, spec in fields["specs"].items()}
        return cls(**{**fields, "specs": specs, "labels": tuple(fields["labels"])})


def describe(
    *,
    spec: ClipSpec | Mapping[str, ClipSpec] | None,
    labels: Sequence[str] | None,
    task: Task | None,
    mean: Scale,
    std: Scale,
) -> ModelDescription:
    """Checks what `to_onnx` was given.

    Raises:
        ClipzooError: it is not what `to_onnx` takes.
    """
    specs = {INPUT: spec} if isinstance(spec, ClipSpec) else spec or {}
    if not isinstance(specs, Mapping) or not all(isinstance(each, ClipSpec) for each in specs.values()):
        raise ClipzooError(f"spec ({spec!r}) must be a ClipSpec, or a table of them by input name")
    if task is not None:
        task_kind(task)
    scaled = mean != 0 or std != 1
    if scaled and not specs:
        raise ClipzooError(f"mean ({mean!r}) and std ({std!r}) are of an input that spec describes: give spec too")
    return ModelDescription(
        specs=specs,
        labels=check_labels(labels, task=task or "classification") if labels is not None else (),
        task=task,
        mean=_by_input("mean", mean, specs),
        std=_by_input("std", std, specs),
    )


def _by_input(what: str, value: Scale, specs: Mapping[str, ClipSpec]) -> dict[str, float | list[float]]:
    """A number, or one for each channel, for each input."""
    if isinstance(value, Mapping) and set(value) != set(specs):
        raise ClipzooError(f"{what} is for the inputs {', '.join(value)}, spec for {', '.join(specs)}")
    scales: dict[str, float | list[float]] = {}
    for name, spec in specs.items():
        given = value[name] if isinstance(value, Mapping) else value
        several = isinstance(given, Sequence) and not isinstance(given, str)
        numbers = list(given) if isinstance(given, Sequence) and several else [given]
        for each in numbers:
            check.number(what, each)
            if what == "std" and each == 0:
                raise ClipzooError(f"std ({given!r}) must not be 0: it divides the pixels")
        if several and len(numbers) != spec.channels:
            raise ClipzooError(f"{what} ({given!r}) must be one number, or {spec.channels}, one for each channel")
        scales[name] = numbers if several else numbers[0]  # type: ignore[assignment]
    return scales
