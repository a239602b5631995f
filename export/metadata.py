"""What an ONNX file says of itself, as the strings of its `metadata_props`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import Task, TaskKind, task_kind

PREFIX = "clipzoo."
SCHEMA = 1
Precision = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The contract of an exported model.

    Attributes:
        model: its name in the zoo.
        specs: input name -> ClipSpec, in the order of the inputs.
        labels: names of the classes, in the order of the outputs.
        task: what the outputs are: classification, multilabel or regression.
        precision: what the graph computes in; inputs are uint8 and outputs float32 in both.
        parity: how far ONNX Runtime was from Keras when the file was written, and on which clips.
        versions: of what wrote the file.
    """

    model: str
    specs: dict[str, ClipSpec]
    labels: tuple[str, ...]
    task: Task
    parity: dict[str, Any]
    versions: dict[str, str]
    precision: Precision = "float32"

    @property
    def kind(self) -> TaskKind:
        """What follows from the task."""
        return task_kind(self.task)

    def to_props(self) -> dict[str, str]:
        """Key -> JSON text, each key with the prefix `clipzoo.`."""
        values = {
            "schema": SCHEMA,
            "model": self.model,
            "specs": {name: spec.to_dict() for name, spec in self.specs.items()},
            "labels": list(self.labels),
            "task": self.task,
            "precision": self.precision,
            "parity": self.parity,
            "versions": self.versions,
        }
        return {PREFIX + key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], path: str | Path) -> Metadata:
        """Reads what `to_props` wrote.

        Args:
            props: the file's `metadata_props`.
            path: the file, for messages.

        Raises:
            ClipzooError: it is not ours, damaged, or of a newer schema.
        """
        if PREFIX + "schema" not in props:
            raise ClipzooError(f"{path}: is an ONNX file without clipzoo's metadata; write it with `clipzoo export`")
        try:
            values = {
                key.removeprefix(PREFIX): json.loads(text) for key, text in props.items() if key.startswith(PREFIX)
            }
            if values["schema"] > SCHEMA:
                raise ClipzooError(
                    f"{path}: has metadata of schema {values['schema']}, newer than {SCHEMA}; update clipzoo"
                )
            return cls(
                model=values["model"],
                specs={name: ClipSpec.from_dict(fields) for name, fields in values["specs"].items()},
                labels=tuple(values["labels"]),
                task=values.get("task", "classification"),
                parity=values["parity"],
                versions=values["versions"],
                precision=values.get("precision", "float32"),
            )
        except ClipzooError as error:
            raise ClipzooError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ClipzooError(f"{path}: has damaged clipzoo metadata ({error!r}); export it again") from None
