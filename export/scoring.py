"""The one way to score a model on clips: one of Keras, a run, or an exported file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.runtime import Classifier
from export.session import Provider
from loaders.ahead import ReadAhead
from loaders.clip import read_batches, read_crops
from loaders.errors import ClipzooError, VideoError
from loaders.index import ClipIndex, OnError
from loaders.spec import ClipSpec
from loaders.tasks import Task, task_kind
from zoo.scores import Scores

if TYPE_CHECKING:
    import keras

Rows = Iterator[tuple[list[int], np.ndarray, list[tuple[int, VideoError]]]]  # positions, their logits, errors


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model that can be scored, whatever computes it.

    Attributes:
        labels: names, in the order of the outputs.
        task: what they are.
        specs: input name -> ClipSpec.
        outputs: clips by input, uint8 (B, frames, height, width, channels) -> outputs by name, float32 (B, labels).
    """

    labels: tuple[str, ...]
    task: Task
    specs: Mapping[str, ClipSpec]
    outputs: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def open_model(
    model: keras.Model | Classifier | str | Path, *, provider: Provider = "cpu", verify: bool = True
) -> Scored:
    """Anything that can be scored.

    Args:
        model: a model of Keras; a run's folder or a `.keras` file; a Classifier, or an `.onnx` file.
        provider: of ONNX Runtime, for an `.onnx` file.
        verify: whether an `.onnx` file must be, byte for byte, what was exported.

    Raises:
        ClipzooError: no such file, not one of ours, changed since it was exported, or a provider for what ONNX Runtime
            does not run.
    """
    if isinstance(model, str | Path) and Path(model).suffix == ".onnx":
        model = Classifier(model, provider=provider, verify=verify)
    elif provider != "cpu":
        raise ClipzooError(f"provider {provider!r} is for .onnx files; Keras computes where its backend does")
    if isinstance(model, Classifier):
        return Scored(labels=model.labels, task=model.metadata.task, specs=model.specs, outputs=model.scores)
    from zoo.contract import labels, specs, task, with_logits
    from zoo.saving import load_model

    network = load_model(model) if isinstance(model, str | Path) else model
    both = with_logits(network)

    def outputs(clips: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Keras warns where a model of one input is given a dict.
        found = both.predict_on_batch(dict(clips) if len(clips) > 1 else next(iter(clips.values())))
        return {name: np.asarray(values, np.float32) for name, values in found.items()}

    return Scored(labels=labels(network), task=task(network), specs=specs(network), outputs=outputs)


def score(
    model: keras.Model | Classifier | Scored | str | Path,
    index: ClipIndex,
    *,
    batch: int = 8,
    workers: int = 2,
    crops: int = 1,
    views: int = 1,
    provider: Provider = "cpu",
    on_error: OnError = "fail",
    advance: Callable[[], object] = lambda: None,
) -> Scores:
    """Scores a model on labelled clips.

    Args:
        model: see `open_model`.
        index: the clips; with labels that the model knows, in any order.
        batch: clips that go through the network together, >= 1.
        workers: threads that read clips.
        crops: 1: the centre; 10: corners, centre and mirrors, averaged.
        views: places in time, averaged; for dense and segment sampling.
        provider: of ONNX Runtime, for an `.onnx` file: `cpu`, `cuda` or `tensorrt`.
        on_error: `skip` leaves out clips that cannot be read, and names them in `Scores.left_out`.
        advance: called after each clip, to show progress.

    Returns:
        Logits of each clip (or numbers), in the order of the index, with the truth.

    Raises:
        VideoError: a clip cannot be read, and `on_error` is `fail`.
        ClipzooError: the labels or the task do not fit, no clip can be read, or an argument is out of range.
    """
    scored = model if isinstance(model, Scored) else open_model(model, provider=provider)
    if index.task != scored.task:
        raise ClipzooError(f"{index.root}: the clips are labelled for {index.task}, the model is for {scored.task}")
    index = index.with_labels(scored.labels)
    rows = _averaged if crops * views > 1 else _batches
    positions: list[int] = []
    logits: list[np.ndarray] = []
    left_out: list[VideoError] = []
    for places, found, errors in rows(scored, index, batch, workers, crops, views):
        if errors and on_error == "fail":
            raise errors[0][1]
        left_out += [error for _, error in errors]
        positions += places
        logits.append(found)
        for _ in range(len(places) + len(errors)):
            advance()
    if not positions:
        raise ClipzooError(f"{index.root}: none of the {len(index)} clips can be read; the first: {left_out[0]}")
    order = np.argsort(positions, kind="stable")
    kept = [positions[place] for place in order]
    return Scores(
        np.concatenate(logits)[order],
        index.targets[kept],
        scored.labels,
        scored.task,
        tuple(index[place].file for place in kept),
        tuple({str(error): error for error in left_out}.values()),  # each file once
    )


def _batches(scored: Scored, index: ClipIndex, batch: int, workers: int, crops: int, views: int) -> Rows:
    name = task_kind(scored.task).outputs[0]
    spans = [clip.span for clip in index]
    read = read_batches(index.paths, scored.specs, spans=spans, batch_size=batch, workers=workers, on_error="skip")
    for positions, clips, errors in read:
        rows = scored.outputs(clips)[name] if positions else np.empty((0, len(scored.labels)), np.float32)
        yield positions, rows, errors


def _averaged(scored: Scored, index: ClipIndex, batch: int, workers: int, crops: int, views: int) -> Rows:
    """Clip by clip: the crops and views of one are a batch."""
    name = task_kind(scored.task).outputs[0]

    def read(_: int, position: int) -> dict[str, np.ndarray] | VideoError:
        clip = index[position]
        try:
            return read_crops(index.root / clip.file, scored.specs, span=clip.span, crops=crops, views=views)
        except VideoError as error:
            return error

    ahead = ReadAhead(read, workers)
    for position in range(len(index)):
        clips = ahead.get(0, position, len(index))
        if isinstance(clips, VideoError):
            yield [], np.empty((0, len(scored.labels)), np.float32), [(position, clips)]
        else:
            yield [position], scored.outputs(clips)[name].mean(axis=0, keepdims=True), []
