"""The network of an exported file: arrays of clips to its outputs. Needs NumPy and ONNX Runtime, nothing else."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from export.checksum import verify as verify_file
from export.metadata import Metadata
from export.session import ON_CPU, PROVIDERS, Provider, open_session, said_by
from export.tensorrt import engine_options
from loaders.check import whole
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import FEATURES

_CPU_PIXELS = 2**18


class ClipNetwork:
    """A file in a session of ONNX Runtime; its arguments, attributes and errors stand at `Classifier`."""

    def __init__(
        self,
        path: str | Path,
        *,
        provider: Provider = "cpu",
        threads: int | None = None,
        provider_options: Mapping[str, str] | None = None,
        max_batch: int = 8,
        verify: bool = True,
    ) -> None:
        whole("max_batch", max_batch)
        self.path, self.max_batch = Path(path), max_batch
        if verify:
            verify_file(self.path)
        self.metadata = Metadata.read(self.path)
        if self.metadata.stream:
            raise ClipzooError(
                f"{self.path}: takes frames one by one, not clips: give it to export.Stream, or to clipzoo watch; "
                "clipzoo export without --stream writes a file that takes clips"
            )
        given = dict(provider_options or {})
        if provider == "tensorrt":
            given = {**engine_options(self.specs, most=max_batch), **given}
        self.session = open_session(self.path, provider=provider, threads=threads, provider_options=given)
        self.provider: str = self.session.get_providers()[0]
        self._check_interface()

    @property
    def specs(self) -> dict[str, ClipSpec]:
        """The input contract: input name -> ClipSpec."""
        return self.metadata.specs

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.metadata.labels

    def scores(
        self, clips: Mapping[str, np.ndarray] | np.ndarray, *, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the network. On a CPU, large clips go through it one by one: what the layers hand on then stays in the
        cache.

        Args:
            clips: uint8 (B, frames, height, width, channels), by input name where there are several inputs.
            names: of the clips, for messages; their places in the batch if left out.

        Returns:
            `logits` and `probabilities`, or `values` of a regression, each float32 (B, labels); all finite.

        Raises:
            ClipzooError: the clips are not what the specs say, ONNX Runtime cannot compute the file, or an answer is no
                finite number.
        """
        return self._compute(clips, dict.fromkeys(self.outputs, len(self.labels)), names)

    def features(
        self, clips: Mapping[str, np.ndarray] | np.ndarray, *, names: Sequence[str] | None = None
    ) -> np.ndarray:
        """What the head of the model is given, of a file that was exported with features; arguments as of `scores`.

        Returns:
            float32 (B, D), all finite.

        Raises:
            ClipzooError: the file has no features, or as `scores`.
        """
        self.require_features()
        return self._compute(clips, {FEATURES: self._widths[FEATURES]}, names)[FEATURES]

    def require_features(self) -> None:
        """Raises ClipzooError where the file was exported without features."""
        if not self.metadata.features:
            raise ClipzooError(
                f"{self.path}: was exported without features; export it again with features=True (clipzoo export RUN "
                f"{self.path.name} --features)"
            )

    def _compute(
        self,
        clips: Mapping[str, np.ndarray] | np.ndarray,
        outputs: Mapping[str, int],
        names: Sequence[str] | None,
    ) -> dict[str, np.ndarray]:
        """Outputs by name, each (clips, its width)."""
        named = clips if isinstance(clips, Mapping) else {next(iter(self.specs)): clips}
        for name, spec in self.specs.items():
            found = named.get(name)
            if found is None or found.dtype != np.uint8 or found.ndim != 5 or found.shape[1:] != spec.shape:
                what = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise ClipzooError(f"{self.path}: input {name!r} takes uint8 (batch, *{spec.shape}); got {what}")
        given = {name: named[name] for name in self.specs}
        counts = {name: len(clips) for name, clips in given.items()}
        count, at_once = min(counts.values()), self._at_once
        if count != max(counts.values()):
            raise ClipzooError(f"{self.path}: every input must have as many clips as the others; got {counts}")
        parts = [
            self._run({name: clips[begin : begin + at_once] for name, clips in given.items()}, outputs)
            for begin in range(0, max(1, count), at_once)
        ]
        answers = {
            name: rows[0] if len(rows) == 1 else np.concatenate(rows)
            for name, rows in zip(outputs, zip(*parts, strict=True), strict=True)
        }
        for rows in answers.values():
            wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(wrong):
                which = names[wrong[0]] if names else f"clip {wrong[0]} of {count}"
                raise ClipzooError(
                    f"{which}: the answer of {self.path} is no finite number ({rows[wrong[0]].tolist()}); its weights "
                    "are damaged, or float16 cannot hold what it computes: export it again, in float32"
                )
        return answers

    def _run(self, given: Mapping[str, np.ndarray], outputs: Mapping[str, int]) -> list[np.ndarray]:
        """The outputs for some clips; raises ClipzooError where there are none, or of other widths."""
        try:
            answers: list[np.ndarray] = self.session.run(list(outputs), dict(given))
        except Exception as error:  # the exceptions of ONNX Runtime share no base class but this
            raise ClipzooError(
                f"{self.path}: ONNX Runtime cannot compute it ({said_by(error)}); give it fewer clips at once if "
                "memory is short, else export it again"
            ) from None
        count = len(next(iter(given.values())))
        for (name, width), rows in zip(outputs.items(), answers, strict=True):
            if rows.shape != (count, width):
                what = "features" if name == FEATURES else "labels"
                raise ClipzooError(
                    f"{self.path}: its output {name!r} is {rows.shape} where {count} clips and {width} {what} make "
                    f"{(count, width)}; export it again"
                )
        return answers

    @property
    def _at_once(self) -> int:
        """Clips that go through the network together: on a CPU, no more than stay in its cache."""
        if self.provider == PROVIDERS["tensorrt"]:
            return self.max_batch
        if self.provider not in ON_CPU:
            return sys.maxsize
        return max(1, _CPU_PIXELS // sum(math.prod(spec.shape) for spec in self.specs.values()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; the last is the answer."""
        return self.metadata.kind.outputs

    def _check_interface(self) -> None:
        inputs = {value.name: (value.type, value.shape[1:]) for value in self.session.get_inputs()}
        outputs = {value.name: value.shape[-1:] for value in self.session.get_outputs()}
        self._widths = {name: shape[-1] for name, shape in outputs.items() if shape}
        if set(inputs) != set(self.specs):
            raise ClipzooError(
                f"{self.path}: its specs are for {', '.join(self.specs)}, its inputs {', '.join(inputs)}"
            )
        for name, spec in self.specs.items():
            kind, shape = inputs[name]
            if kind != "tensor(uint8)" or shape != list(spec.shape):
                raise ClipzooError(
                    f"{self.path}: its spec {spec.shape} does not fit its input {name!r}, {kind} {shape}"
                )
        if any(outputs.get(name) != [len(self.labels)] for name in self.outputs):
            raise ClipzooError(f"{self.path}: its {len(self.labels)} labels do not fit its outputs {outputs}")
        if self.metadata.features and not isinstance(self._widths.get(FEATURES), int):
            raise ClipzooError(f"{self.path}: says that it gives features, and its outputs are {outputs}")
