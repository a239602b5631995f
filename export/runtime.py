"""An exported file at work: video files, or frames, to labels. Needs NumPy, OpenCV and ONNX Runtime, nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np

from export.network import ClipNetwork
from export.prediction import Prediction, predicted
from loaders.clip import clip_from_frames, read_batches
from loaders.errors import ClipzooError, VideoError
from loaders.index import OnError
from loaders.lists import index_files
from loaders.spans import Span

Source = str | Path | np.ndarray


class Classifier(ClipNetwork):
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


def _files(given: Source) -> Sequence[Source]:
    """The videos of a folder; anything else as it is."""
    if isinstance(given, str | Path) and Path(given).is_dir():
        return index_files(given).paths
    return [given]


def _named(file: str | Path, span: Span | None) -> str:
    return str(file) if span is None else f"{file}, {span[0]:g} to {span[1]:g} s"
