"""A file that takes frames one by one, with the states that it hands on; what `to_onnx(stream=True)` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.checksum import verify as verify_file
from export.metadata import Metadata
from export.runtime import Classifier
from export.session import open_session, said_by
from loaders.errors import ClipzooError
from loaders.tasks import TaskKind


class Stateful:
    """Such a file, open.

    Args:
        path: the file.
        metadata: of it.
        provider: as of `Classifier`.
        threads: likewise.
        provider_options: likewise.

    Raises:
        ClipzooError: its inputs and outputs are not what its metadata says, or as `open_session`.
    """

    def __init__(
        self,
        path: str | Path,
        metadata: Metadata,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.metadata = Path(path), metadata
        self.session = open_session(self.path, provider=provider, threads=threads, provider_options=provider_options)
        self._check_interface()

    def states(self) -> dict[str, np.ndarray]:
        """At the beginning of a stream: zeros, float32 (1, channels, height, width) each."""
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}

    def keep(self, pixels: np.ndarray, states: dict[str, np.ndarray]) -> np.ndarray:
        """Computes a frame.

        Args:
            pixels: uint8 (height, width, channels).
            states: those behind the frame before; replaced by those behind this one.

        Returns:
            Its logits, or numbers, float32 (labels,).

        Raises:
            ClipzooError: ONNX Runtime cannot compute the file, or an answer is no finite number.
        """
        names = [self.metadata.kind.outputs[0], *self.metadata.stream.values()]
        try:
            rows, *after = self.session.run(names, {self._frame: pixels[None], **states})
        except Exception as error:  # the exceptions of ONNX Runtime share no base class but this
            raise ClipzooError(
                f"{self.path}: ONNX Runtime cannot compute it ({said_by(error)}); export it again"
            ) from None
        if not np.isfinite(rows).all():
            raise ClipzooError(
                f"the answer of {self.path} is no finite number ({rows[0].tolist()}); its weights are damaged: export "
                "it again"
            )
        states.update(zip(self.metadata.stream, after, strict=True))
        return rows[0]

    def answer(self, kept: Mapping[str, np.ndarray]) -> np.ndarray:
        """The consensus: what the frames' logits or numbers, (frames, labels), say together, (labels,)."""
        (rows,) = kept.values()
        return consensus(rows, self.metadata.kind)

    def _check_interface(self) -> None:
        (self._frame, spec), *more = self.metadata.specs.items()
        stream, labels = self.metadata.stream, len(self.metadata.labels)
        inputs = {value.name: (value.type, value.shape[1:]) for value in self.session.get_inputs()}
        outputs = {value.name: (value.type, value.shape[1:]) for value in self.session.get_outputs()}
        wanted = {self._frame: ("tensor(uint8)", list(spec.shape[1:]))}
        wanted |= {name: outputs.get(after, ("nothing", [])) for name, after in stream.items()}
        if more or inputs != wanted or outputs.get(self.metadata.kind.outputs[0]) != ("tensor(float)", [labels]):
            raise ClipzooError(
                f"{self.path}: its inputs {inputs} and outputs {outputs} do not fit its metadata: a frame of "
                f"{spec.shape[1:]}, {labels} labels, and the states {', '.join(stream)}; export it again"
            )
        self._shapes = {name: (1, *inputs[name][1]) for name in stream}


def open_exported(path: str | Path, *, verify: bool = True, **session: Any) -> Stateful | Classifier:
    """An exported file of either kind: one that takes frames one by one, or one that takes clips.

    Args:
        path: the file.
        verify: whether it must be, byte for byte, what was exported.
        session: `provider`, `threads` and `provider_options` of `Classifier`.

    Raises:
        ClipzooError: as `Classifier`.
    """
    if verify:
        verify_file(path)
    metadata = Metadata.read(path)
    return Stateful(path, metadata, **session) if metadata.stream else Classifier(path, verify=False, **session)


def consensus(rows: np.ndarray, kind: TaskKind) -> np.ndarray:
    """The answer, float32 (..., labels), of the logits or numbers of the frames of a clip, (..., frames, labels)."""
    found: np.ndarray = kind.activate(rows.mean(axis=-2, dtype=np.float64)).astype(np.float32)
    return found
