"""An exported file at work: video files, or frames, to labels. Needs NumPy, OpenCV and ONNX Runtime, nothing else."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np

from export.metadata import Metadata
from export.session import PROVIDERS, Provider, open_session
from loaders.clip import clip_from_frames, read_batches
from loaders.errors import ClipzooError
from loaders.lists import index_files
from loaders.spans import Span
from loaders.spec import ClipSpec

Source = str | Path | np.ndarray
_CPU_PIXELS = 2**18


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one clip.

    Attributes:
        label: the most probable class; empty for numbers.
        probability: its probability, 0 to 1; None for numbers.
        probabilities: of every class, the most probable first; empty for numbers.
        labels: the classes that are said to be there: the most probable one, or, of a model of several labels a clip,
            all whose probability is at least 1/2.
        values: the numbers of a regression, by name; empty for classes.
        file: where the clip came from; None for frames in memory.
        start: where a window begins in the file, seconds; None for a whole file.
        end: where it ends.
    """

    label: str
    probability: float | None
    probabilities: dict[str, float]
    labels: tuple[str, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    file: str | None = None
    start: float | None = None
    end: float | None = None


class Classifier:
    """A model exported by clipzoo, ready to classify.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda` or `tensorrt`; what is asked for is in use, or it is an error.
        threads: of ONNX Runtime on the CPU; its own choice if left out.
        provider_options: of the provider, as ONNX Runtime names them, such as `{"device_id": "1", "use_tf32": "0"}`.

    Attributes:
        session: ONNX Runtime's own, for what is not done here, such as I/O binding.
        metadata: the file's contract.
        provider: the one in use, as ONNX Runtime names it.

    Raises:
        ClipzooError: no such file, not an ONNX file, not one of ours, or a provider that is not in use.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        provider: Provider = "cpu",
        threads: int | None = None,
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.session = open_session(self.path, provider=provider, threads=threads, provider_options=provider_options)
        self.metadata = Metadata.from_props(self.session.get_modelmeta().custom_metadata_map, self.path)
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

    def scores(self, clips: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network. On a CPU, large clips go through it one by one: what the layers hand on then stays in the
        cache.

        Args:
            clips: uint8 (B, frames, height, width, channels), by input name where there are several inputs.

        Returns:
            `logits` and `probabilities`, or `values` of a regression, each float32 (B, labels).

        Raises:
            ClipzooError: the clips are not what the specs say.
        """
        named = clips if isinstance(clips, Mapping) else {next(iter(self.specs)): clips}
        for name, spec in self.specs.items():
            found = named.get(name)
            if found is None or found.dtype != np.uint8 or found.ndim != 5 or found.shape[1:] != spec.shape:
                what = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise ClipzooError(f"{self.path}: input {name!r} takes uint8 (batch, *{spec.shape}); got {what}")
        names, given = list(self.outputs), {name: named[name] for name in self.specs}
        counts = {name: len(clips) for name, clips in given.items()}
        count, at_once = min(counts.values()), self._at_once
        if count != max(counts.values()):
            raise ClipzooError(f"{self.path}: every input must have as many clips as the others; got {counts}")
        if count <= at_once:
            return dict(zip(names, self.session.run(names, given), strict=True))
        parts = [
            self.session.run(names, {name: clips[begin : begin + at_once] for name, clips in given.items()})
            for begin in range(0, count, at_once)
        ]
        return {name: np.concatenate(rows) for name, rows in zip(names, zip(*parts, strict=True), strict=True)}

    @property
    def _at_once(self) -> int:
        """Clips that go through the network together: on a CPU, no more than stay in its cache."""
        if self.provider != PROVIDERS["cpu"]:
            return sys.maxsize
        return max(1, _CPU_PIXELS // sum(math.prod(spec.shape) for spec in self.specs.values()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; the last is the answer."""
        return self.metadata.kind.outputs

    def answers(
        self,
        files: Sequence[str | Path],
        *,
        spans: Sequence[Span | None] | None = None,
        batch_size: int = 8,
        workers: int = 2,
    ) -> Iterator[np.ndarray]:
        """Classifies video files, or spans of them, batch by batch.

        Yields:
            Probabilities (or numbers), float32 (B, labels), in order.
        """
        for batch in read_batches(files, self.specs, spans=spans, batch_size=batch_size, workers=workers):
            yield self.scores(batch.clips)[self.outputs[-1]]

    def predict_windows(
        self,
        source: str | Path | Sequence[str | Path],
        seconds: float,
        *,
        stride: float | None = None,
        batch_size: int = 8,
        workers: int = 2,
    ) -> list[Prediction]:
        """Classifies windows that slide over long videos, with several actions one after the other.

        Args:
            source: a path, or a list of them.
            seconds: how long a window is.
            stride: from one start to the next, seconds; half a window if left out.
            batch_size: windows that go through the network together.
            workers: threads that read files.

        Returns:
            A prediction for each window, with its start and end, file by file.
        """
        index = index_files(source).windows(seconds, stride=stride, workers=workers)
        spans = [clip.span for clip in index]
        batches = self.answers(index.paths, spans=spans, batch_size=batch_size, workers=workers)
        rows = (row for batch in batches for row in batch)
        return [
            replace(self._prediction(row, file=str(path)), start=clip.start, end=clip.end)
            for row, path, clip in zip(rows, index.paths, index, strict=True)
        ]

    @overload  # a str is a sequence too, but it is taken for a path
    def predict(self, source: Source, *, batch_size: int = 8, workers: int = 2) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, source: Sequence[Source], *, batch_size: int = 8, workers: int = 2) -> list[Prediction]: ...
    def predict(
        self, source: Source | Sequence[Source], *, batch_size: int = 8, workers: int = 2
    ) -> Prediction | list[Prediction]:
        """Classifies a video file, frames, or a list of either.

        Args:
            source: a path; or the frames of one clip, uint8 (count, height, width, 3), RGB, any count and size, which
                are sampled and resized as those of a file; or a list of such.
            batch_size: files that go through the network together.
            workers: threads that read files.

        Returns:
            One prediction, or a list of them for a list.

        Raises:
            VideoError: a file cannot be read; the message names it.
            ClipzooError: frames that are not uint8 RGB.
        """
        if isinstance(source, str | Path):
            return self._predict_files([source], batch_size=1, workers=1)[0]
        if isinstance(source, np.ndarray):
            return self._predict_frames(source)
        if not isinstance(source, Sequence):
            raise ClipzooError(f"{source!r} is no path, no frames, and no list of either")
        items = list(source)
        if all(isinstance(item, str | Path) for item in items):
            return self._predict_files(items, batch_size=batch_size, workers=workers)  # type: ignore[arg-type]
        return [self.predict(item) for item in items]

    def _predict_files(self, files: Sequence[str | Path], *, batch_size: int, workers: int) -> list[Prediction]:
        rows = (row for batch in self.answers(files, batch_size=batch_size, workers=workers) for row in batch)
        return [self._prediction(row, file=str(file)) for row, file in zip(rows, files, strict=True)]

    def _predict_frames(self, frames: np.ndarray) -> Prediction:
        clips = {name: clip_from_frames(frames, spec)[None] for name, spec in self.specs.items()}
        return self._prediction(self.scores(clips)[self.outputs[-1]][0], file=None)

    def _prediction(self, row: np.ndarray, *, file: str | None) -> Prediction:
        if not self.metadata.kind.classes:
            values = dict(zip(self.labels, row.tolist(), strict=True))
            return Prediction(label="", probability=None, probabilities={}, values=values, file=file)
        order = np.argsort(-row, kind="stable")
        by_label = {self.labels[i]: float(row[i]) for i in order}
        best = self.labels[order[0]]
        there = self.metadata.kind.decide(row[None])[0]
        said = tuple(self.labels[i] for i in order if there[i])
        return Prediction(label=best, probability=by_label[best], probabilities=by_label, labels=said, file=file)

    def _check_interface(self) -> None:
        inputs = {value.name: value.shape[1:] for value in self.session.get_inputs()}
        outputs = {value.name: value.shape[-1] for value in self.session.get_outputs()}
        for name, spec in self.specs.items():
            if inputs.get(name) != list(spec.shape):
                raise ClipzooError(
                    f"{self.path}: its spec {spec.shape} does not fit its input {name!r} {inputs.get(name)}"
                )
        if any(outputs.get(name) != len(self.labels) for name in self.outputs):
            raise ClipzooError(f"{self.path}: its {len(self.labels)} labels do not fit its outputs {outputs}")
