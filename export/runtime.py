"""An exported file at work: video files, or frames, to labels. Needs NumPy, OpenCV and ONNX Runtime, nothing else."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np

from export.checksum import verify as verify_file
from export.metadata import Metadata
from export.prediction import Prediction, predicted
from export.session import ON_CPU, PROVIDERS, Provider, open_session, said_by
from export.tensorrt import engine_options
from loaders.check import whole
from loaders.clip import clip_from_frames, read_batches
from loaders.errors import ClipzooError, VideoError
from loaders.index import OnError
from loaders.lists import index_files
from loaders.spans import Span
from loaders.spec import ClipSpec
from loaders.tasks import FEATURES

Source = str | Path | np.ndarray
_CPU_PIXELS = 2**18


class Classifier:
    """A model exported by clipzoo, ready to classify.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda`, `tensorrt`, `openvino` or `openvino-bfloat16`; what is asked for is in use, or it is an
            error.
        threads: of ONNX Runtime on the CPU; its own choice if left out.
        provider_options: of the provider, as ONNX Runtime names them, such as `{"device_id": "1", "use_tf32": "0"}`, or
            `cudnn_conv_algo_search`, `cudnn_conv_use_max_workspace` and `gpu_mem_limit` of CUDA. TensorRT's profile and
            its folder of engines are set (`export.tensorrt`) unless they are given here.
        max_batch: clips that TensorRT's engine takes at once, >= 1; more go through it in parts.
        verify: whether the file must be, byte for byte, what was exported. Say False for one that another tool changed.
            Files of older versions, which hold no digest, load either way.

    Attributes:
        session: ONNX Runtime's own, for what is not done here, such as I/O binding.
        metadata: the file's contract.
        provider: the one in use, as ONNX Runtime names it.

    Raises:
        ClipzooError: no such file, not an ONNX file, not one of ours, changed since it was exported, or a provider that
            is not in use.
    """

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

        Raises:
            VideoError: a file cannot be read; the message names it.
            ClipzooError: as `scores`; the message names the file.
        """
        for _, rows in self._answers(files, spans, batch_size=batch_size, workers=workers, on_error="fail"):
            yield rows

    def _answers(
        self,
        files: Sequence[str | Path],
        spans: Sequence[Span | None] | None,
        *,
        batch_size: int,
        workers: int,
        on_error: OnError,
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Positions of the files, and their answers."""
        read = read_batches(files, self.specs, spans=spans, batch_size=batch_size, workers=workers, on_error=on_error)
        for batch in read:
            for _, error in batch.errors:
                warnings.warn(f"left out: {error}", stacklevel=2)
            if batch.positions:
                names = [_named(files[n], spans[n] if spans else None) for n in batch.positions]
                yield batch.positions, self.scores(batch.clips, names=names)[self.outputs[-1]]

    def predict_windows(
        self,
        source: str | Path | Sequence[str | Path],
        seconds: float,
        *,
        stride: float | None = None,
        batch_size: int = 8,
        workers: int = 2,
        on_error: OnError = "fail",
    ) -> list[Prediction]:
        """Classifies windows that slide over long videos, with several actions one after the other.

        Args:
            source: a video file, a folder, in which all videos are taken, whatever the depth, or a list of either.
            seconds: how long a window is.
            stride: from one start to the next, seconds; half a window if left out.
            batch_size: windows that go through the network together.
            workers: threads that read files.
            on_error: `skip` leaves out files that cannot be read, with a warning for each.

        Returns:
            A prediction for each window, with its start and end, file by file.
        """
        index = index_files(source)
        if on_error == "skip":
            index, errors = index.readable(workers=workers)
            for error in errors:
                warnings.warn(f"left out: {error}", stacklevel=2)
        index = index.windows(seconds, stride=stride, workers=workers)
        spans = [clip.span for clip in index]
        found = self._predict_files(index.paths, spans, batch_size=batch_size, workers=workers, on_error=on_error)
        return [replace(each, start=index[n].start, end=index[n].end) for n, each in found]

    @overload
    def predict(
        self, source: np.ndarray, *, batch_size: int = 8, workers: int = 2, on_error: OnError = "fail"
    ) -> Prediction: ...
    @overload  # one for a file, a list for a folder: no type says which
    def predict(
        self, source: str | Path, *, batch_size: int = 8, workers: int = 2, on_error: OnError = "fail"
    ) -> Any: ...
    @overload
    def predict(
        self, source: Sequence[Source], *, batch_size: int = 8, workers: int = 2, on_error: OnError = "fail"
    ) -> list[Prediction]: ...
    def predict(
        self,
        source: Source | Sequence[Source],
        *,
        batch_size: int = 8,
        workers: int = 2,
        on_error: OnError = "fail",
    ) -> Prediction | list[Prediction]:
        """Classifies a video file, all videos of a folder, frames, or a list of such.

        Args:
            source: a file; a folder, in which all videos are taken, whatever the depth, by name; the frames of one
                clip, uint8 (count, height, width, 3), RGB, any count and size, which are sampled and resized as those
                of a file; or a list of such.
            batch_size: files that go through the network together.
            workers: threads that read files.
            on_error: `skip` leaves out files of a folder or a list that cannot be read, with a warning for each.

        Returns:
            One prediction for a file or frames; a list of them, one a clip, for a folder or a list.

        Raises:
            VideoError: a file cannot be read; the message names it.
            ClipzooError: frames that are not uint8 RGB, a folder without a video, or as `scores`.
        """
        if isinstance(source, np.ndarray):
            return self._predict_frames(source)
        if not isinstance(source, str | Path | Sequence):
            raise ClipzooError(f"{source!r} is no path, no frames, and no list of either")
        one = isinstance(source, str | Path) and not Path(source).is_dir()
        items = [item for given in ([source] if isinstance(source, str | Path) else source) for item in _files(given)]
        if not all(isinstance(item, str | Path) for item in items):
            found_of = (self._one(item, on_error) for item in items)
            return [prediction for prediction in found_of if prediction is not None]
        paths: list[str | Path] = items  # type: ignore[assignment]
        found = self._predict_files(
            paths, None, batch_size=batch_size, workers=workers, on_error="fail" if one else on_error
        )
        return found[0][1] if one else [prediction for _, prediction in found]

    def _one(self, item: Source, on_error: OnError) -> Prediction | None:
        """The answer for one item of a mixed list; None for a file that is left out."""
        try:
            return cast("Prediction", self.predict(item))
        except VideoError as error:
            if on_error == "fail":
                raise
            warnings.warn(f"left out: {error}", stacklevel=3)
            return None

    def _predict_files(
        self,
        files: Sequence[str | Path],
        spans: Sequence[Span | None] | None,
        *,
        batch_size: int,
        workers: int,
        on_error: OnError,
    ) -> list[tuple[int, Prediction]]:
        """Predictions with the positions of their files, in order."""
        batches = self._answers(files, spans, batch_size=batch_size, workers=workers, on_error=on_error)
        found = [
            (position, predicted(row, self.metadata, file=str(files[position])))
            for positions, rows in batches
            for position, row in zip(positions, rows, strict=True)
        ]
        if files and not found:
            raise ClipzooError(f"none of the {len(files)} files can be read")
        return sorted(found, key=lambda each: each[0])

    def _predict_frames(self, frames: np.ndarray) -> Prediction:
        clips = {name: clip_from_frames(frames, spec)[None] for name, spec in self.specs.items()}
        return predicted(self.scores(clips)[self.outputs[-1]][0], self.metadata)

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


def _files(given: Source) -> Sequence[Source]:
    """The videos of a folder; anything else as it is."""
    if isinstance(given, str | Path) and Path(given).is_dir():
        return index_files(given).paths
    return [given]


def _named(file: str | Path, span: Span | None) -> str:
    return str(file) if span is None else f"{file}, {span[0]:g} to {span[1]:g} s"
