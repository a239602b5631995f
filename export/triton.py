"""An exported file as a model of NVIDIA's Triton Inference Server: its folder, its `config.pbtxt`, its labels.

The configuration is protobuf text of `model_config.proto` (github triton-inference-server/common). The contract of the
file goes along as `parameters`, which the server gives to whoever asks for the configuration: a client needs no file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from export.folders import entries
from export.metadata import Metadata
from export.runtime import Classifier
from export.stateful import Stateful, open_exported
from export.tensorrt import shape_profile
from loaders import check
from loaders.atomic import replacing, write_text
from loaders.errors import ClipzooError, WriteError
from loaders.tasks import FEATURES

Kind = Literal["cpu", "gpu"]
LABELS = "labels.txt"
_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How a server runs a model.

    Attributes:
        max_batch_size: clips, or frames of as many streams, that go through the network together, >= 1; 1 turns dynamic
            batching off.
        preferred_batch_sizes: that the batcher aims at, each from 1 to `max_batch_size`; none: as many as wait.
        queue_delay: how long it lets a request wait for others, microseconds, >= 0.
        instances: copies of the model, on each GPU or on the CPU, >= 1.
        kind: where they run: `cpu` or `gpu`. Left out: `gpu` with TensorRT, else `cpu`.
        tensorrt: whether ONNX Runtime hands the graph to TensorRT. It builds one engine for all batch sizes from 1 to
            `max_batch_size`, fastest at the largest of the preferred ones: without that profile it builds another for
            each size that comes (onnxruntime#18272). The server must know `trt_profile_min_shapes`; 24.03 does not
            (triton-inference-server/server#7156). Not for a file that takes frames one by one.
        warm_up: whether a model answers random clips, one and a full batch, before it is said to be ready. A file that
            takes frames one by one does not: they would be a stream.
        streams: that a server follows at once, >= 1, of a file that takes frames one by one; more wait.
        idle: seconds after which a stream that sends no frame is forgotten, > 0.

    Raises:
        ClipzooError: a value is out of its range.
    """

    max_batch_size: int = 8
    preferred_batch_sizes: tuple[int, ...] = ()
    queue_delay: int = 0
    instances: int = 1
    kind: Kind | None = None
    tensorrt: bool = False
    warm_up: bool = True
    streams: int = 64
    idle: float = 5.0

    def __post_init__(self) -> None:
        check.whole("max_batch_size", self.max_batch_size)
        for size in self.preferred_batch_sizes:
            check.whole("a preferred batch size", size, most=self.max_batch_size)
        check.whole("queue_delay", self.queue_delay, least=0)
        check.whole("instances", self.instances)
        check.whole("streams", self.streams)
        check.number("idle", self.idle, above=0, unit="seconds")
        if self.kind is not None:
            check.choice("kind", self.kind, get_args(Kind))
        if self.tensorrt and self.kind == "cpu":
            raise ClipzooError("kind ('cpu') does not go with TensorRT, which computes on GPUs; leave one of them out")


def write_triton_model(
    model: str | Path,
    repository: str | Path,
    options: TritonOptions | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    verify: bool = True,
) -> Path:
    """Puts an exported file into a model repository: `<name>/config.pbtxt`, `<name>/labels.txt`, `<name>/1/model.onnx`.

    The server batches clips that wait. Of a file that takes frames one by one it keeps the states, each stream's apart,
    and batches frames of several streams: a client sends frames alone, with `sequence_id`, and `sequence_start` at the
    first.

    A model that is there already gets the next version, which a server then takes, if its configuration stays as it is.
    A server that watches the repository sees each version whole or not at all.

    Args:
        model: the ONNX file.
        repository: the folder that `tritonserver --model-repository` is given; it is made if need be.
        options: how the server runs it.
        name: of the model; the file's name without its suffix if left out.
        overwrite: replace a configuration, or labels, that are there and differ. All versions share them.
        verify: whether the file must be, byte for byte, what was exported.

    Returns:
        The file of the version, `<repository>/<name>/<version>/model.onnx`.

    Raises:
        ClipzooError: as `Classifier`; a name that is none; a model of that name with another configuration; TensorRT
            for a file that takes frames one by one.
        WriteError: the repository cannot be written.
    """
    model, options = Path(model), options or TritonOptions()
    name = model.stem if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ClipzooError(
            f"{name!r} is no name of a model, which stands in URLs: letters, digits, '_', '-' and '.'; give another"
        )
    opened = open_exported(model, verify=verify)
    folder = Path(repository) / name
    shared = {
        "config.pbtxt": config(opened, name, options),
        LABELS: "\n".join(opened.metadata.labels) + "\n",
    }
    _require_same(folder, shared, overwrite=overwrite)
    version = 1 + max(_versions(folder), default=0)
    for file, text in shared.items():
        if not _holds(folder / file, text):
            write_text(folder / file, text)
    fresh = folder / f".{version}"  # Triton takes numbers alone for versions
    with replacing(fresh / "model.onnx") as partial:
        shutil.copyfile(model, partial)
    try:
        return fresh.rename(folder / str(version)) / "model.onnx"
    except OSError as error:
        raise WriteError(folder / str(version), error.strerror or str(error)) from None


def config(opened: Classifier | Stateful, name: str, options: TritonOptions) -> str:
    """The text of `config.pbtxt`; dims are without the batch."""
    session, metadata, most = opened.session, opened.metadata, options.max_batch_size
    # What a client sends and gets; states stay on the server.
    inputs = [_tensor(value) for value in session.get_inputs() if value.name not in metadata.stream]
    outputs = [_tensor(value) for value in session.get_outputs() if value.name not in metadata.stream.values()]
    for each in outputs:
        if metadata.kind.classes and each["name"] != FEATURES:
            each["label_filename"] = LABELS
    fields: dict[str, Any] = {
        "name": name,
        "platform": "onnxruntime_onnx",
        "max_batch_size": most,
        "input": inputs,
        "output": outputs,
        "instance_group": {
            "count": options.instances,
            "kind": _Word(f"KIND_{(options.kind or ('gpu' if options.tensorrt else 'cpu')).upper()}"),
        },
    }
    preferred = _Numbers(sorted(set(options.preferred_batch_sizes)))
    waiting = {
        **({"preferred_batch_size": preferred} if preferred else {}),
        "max_queue_delay_microseconds": options.queue_delay,
    }
    if metadata.stream:
        if options.tensorrt:
            raise ClipzooError("TensorRT is not for a file that takes frames one by one; leave it out (--tensorrt)")
        fields["sequence_batching"] = {
            "max_sequence_idle_microseconds": round(options.idle * 1e6),
            "oldest": {"max_candidate_sequences": options.streams, **waiting},
            "state": [
                _state(value, metadata.stream) for value in session.get_inputs() if value.name in metadata.stream
            ],
        }
    elif (options.streams, options.idle) != (TritonOptions.streams, TritonOptions.idle):
        raise ClipzooError(
            "streams and idle (--streams, --idle) are for a file that takes frames one by one; leave them out"
        )
    elif most > 1:
        fields["dynamic_batching"] = waiting
    if options.tensorrt:
        fields["optimization"] = {
            "execution_accelerators": {"gpu_execution_accelerator": _tensorrt(metadata, options)},
        }
    if options.warm_up and not metadata.stream:
        fields["model_warmup"] = [
            {
                "name": f"batch of {size}",
                "batch_size": size,
                "inputs": [
                    {
                        "key": each["name"],
                        "value": {"data_type": each["data_type"], "dims": each["dims"], "random_data": True},
                    }
                    for each in inputs
                ],
            }
            for size in sorted({1, most})
        ]
    # What may differ from version to version stays with the versions: they share this file.
    contract = replace(metadata, parity={}, versions={}, origins=())
    fields["parameters"] = [{"key": key, "value": {"string_value": text}} for key, text in contract.to_props().items()]
    return "\n".join(_lines(fields)) + "\n"


def _tensor(value: Any) -> dict[str, Any]:
    return {"name": value.name, "data_type": _Word(_TYPES[value.type]), "dims": _Numbers(value.shape[1:])}


def _state(value: Any, stream: Mapping[str, str]) -> dict[str, Any]:
    """A state that the server hands on from frame to frame, and that begins with zeros."""
    kind = {"data_type": _Word(_TYPES[value.type]), "dims": _Numbers(value.shape[1:])}
    return {
        "input_name": value.name,
        "output_name": stream[value.name],
        **kind,
        "initial_state": {"name": f"first {value.name}", **kind, "zero_data": True},
    }


def _tensorrt(metadata: Metadata, options: TritonOptions) -> dict[str, Any]:
    """The accelerator, with a profile of the shapes from one clip to a full batch."""
    parameters = {
        "precision_mode": "FP16" if metadata.precision == "float16" else "FP32",
        **shape_profile(
            metadata.specs, most=options.max_batch_size, usual=max(options.preferred_batch_sizes, default=None)
        ),
    }
    return {"name": "tensorrt", "parameters": [{"key": key, "value": value} for key, value in parameters.items()]}


def _versions(folder: Path) -> list[int]:
    """Numbers of the versions that are there."""
    return [int(name) for name in entries(folder) if re.fullmatch("[1-9][0-9]*", name)]


def _require_same(folder: Path, shared: Mapping[str, str], *, overwrite: bool) -> None:
    """Raises ClipzooError where a model is there that another configuration would change, or something else."""
    if overwrite or not entries(folder):
        return
    for file, text in shared.items():
        if not _holds(folder / file, text):
            raise ClipzooError(
                f"{folder}: holds a model already, and its {file} is not what this file and these options give; give "
                "the options that it has, another name (--name), or replace what its versions share (--overwrite)"
            )


def _holds(file: Path, text: str) -> bool:
    try:
        return file.read_bytes() == text.encode()
    except OSError:
        return False


class _Word(str):
    """A name of an enumeration: it has no quotes."""


class _Numbers(list[int]):
    """Numbers on one line."""


def _lines(fields: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Fields as protobuf text; a list of messages is the field again and again."""
    for name, value in fields.items():
        for each in value if isinstance(value, list) and not isinstance(value, _Numbers) else [value]:
            if isinstance(each, Mapping):
                yield f"{'  ' * depth}{name} {{"
                yield from _lines(each, depth + 1)
                yield f"{'  ' * depth}}}"
            else:
                yield f"{'  ' * depth}{name}: {_scalar(each)}"


def _scalar(value: object) -> str:
    if isinstance(value, _Word):
        return value
    return json.dumps(value, ensure_ascii=False)  # text, true and false, numbers and lists of them are JSON's
