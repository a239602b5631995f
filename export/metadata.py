"""What an ONNX file says of itself, as the strings of its `metadata_props`."""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from export.checksum import read_props
from loaders import check
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import FEATURES, TASKS, Task, TaskKind, task_kind

PREFIX = "clipzoo."
SCHEMA = 1
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The contract of an exported model.

    Attributes:
        model: its name; one of the zoo's, if it is of the zoo.
        specs: input name -> ClipSpec, in the order of the inputs.
        labels: names of the classes, in the order of the outputs.
        task: what the outputs are: classification, multilabel or regression.
        precision: what the graph computes in, of `int8` its convolutions; inputs are uint8 and outputs float32 in all.
        parity: how far ONNX Runtime was from Keras when the file was written, and on which clips; of `int8`, the
            float32 graph that it was made of.
        quantization: of `int8`: how far it decides as that graph; see `export.quantization.Quantization`.
        versions: of what wrote the file.
        origins: where its weights began, and under which license; see `zoo.origins`.
        features: the layer, or one of each stream, whose output the file gives as `features`; empty: it has no such
            output.
        stream: of a file that takes frames one by one: each state that goes in -> the output that is the same state one
            frame on. Its one spec is that of a clip, its input one frame of it. Empty: the file takes clips.
    """

    model: str
    specs: dict[str, ClipSpec]
    labels: tuple[str, ...]
    task: Task
    parity: dict[str, Any]
    versions: dict[str, str]
    precision: Precision = "float32"
    quantization: dict[str, Any] = field(default_factory=dict)
    origins: tuple[dict[str, str], ...] = ()
    features: str = ""
    stream: dict[str, str] = field(default_factory=dict)

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
            **({"quantization": self.quantization} if self.quantization else {}),
            "origins": list(self.origins),
            **({FEATURES: self.features} if self.features else {}),
            **({"stream": self.stream} if self.stream else {}),
        }
        return {PREFIX + key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}

    @classmethod
    def read(cls, path: str | Path) -> Metadata:
        """Reads the metadata of a file; needs neither ONNX Runtime nor Keras nor OpenCV.

        Raises:
            ClipzooError: no such file, not an ONNX file, or as `from_props`.
        """
        return cls.from_props(read_props(path), path)

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
            check.whole("schema", values["schema"])
            if values["schema"] > SCHEMA:
                raise ClipzooError(f"has metadata of schema {values['schema']}, newer than {SCHEMA}; update clipzoo")
            check.choice("precision", values.setdefault("precision", "float32"), get_args(Precision))
            check.choice("task", values.setdefault("task", "classification"), TASKS)
            if not isinstance(values["model"], str) or not values["specs"]:
                raise ClipzooError("its metadata names no model or no input; export it again")
            if not isinstance(values.setdefault(FEATURES, ""), str):
                raise ClipzooError("its metadata names no layer for its features; export it again")
            stream = values.get("stream", {})
            if not all(isinstance(name, str) for name in (*stream.keys(), *stream.values())):
                raise ClipzooError("its metadata names no states of a stream; export it again")
            return cls(
                model=values["model"],
                specs={name: ClipSpec.from_dict(fields) for name, fields in values["specs"].items()},
                labels=check_labels(values["labels"], task=values["task"]),
                task=values["task"],
                parity=dict(values["parity"]),
                versions=dict(values["versions"]),
                precision=values["precision"],
                quantization=dict(values.get("quantization", {})),
                origins=tuple(dict(each) for each in values.get("origins", ())),
                features=values[FEATURES],
                stream=dict(stream),
            )
        except ClipzooError as error:
            raise ClipzooError(f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            said = reprlib.repr(error)
            raise ClipzooError(f"{path}: has damaged clipzoo metadata ({said}); export it again") from None


def check_labels(labels: object, *, task: Task) -> tuple[str, ...]:
    """Labels as a model or a file must have them: names, each a line of text, none twice, enough for the task.

    Raises:
        ClipzooError: they are not.
    """
    kind = task_kind(task)
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise ClipzooError(f"labels ({reprlib.repr(labels)}) must be a list of names")
    for name in labels:
        # Half of a surrogate pair, which JSON can write, is no text that can be printed.
        if not isinstance(name, str) or not name.strip() or "\n" in name or re.search("[\ud800-\udfff]", name):
            raise ClipzooError(f"labels hold {reprlib.repr(name)}; each must be one line of text")
    twice = [name for name, count in Counter(labels).items() if count > 1]
    if twice:
        raise ClipzooError(f"labels hold {twice[0]!r} twice; each must be another name")
    if len(labels) < kind.fewest:
        raise ClipzooError(f"labels ({reprlib.repr(labels)}) must be at least {kind.fewest} for {task}")
    return tuple(labels)
