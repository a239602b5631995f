"""The one way to score a model on clips: one of Keras, a run, or an exported file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.runtime import Classifier
from export.session import Provider
from loaders.ahead import ReadAhead
from loaders.augment import cropper
from loaders.check import whole
from loaders.clip import read_batches, read_crops
from loaders.errors import ClipzooError, VideoError
from loaders.index import ClipIndex, OnError
from loaders.spec import ClipSpec
from loaders.tasks import Task, TaskKind, task_kind
from zoo.scores import Scores

if TYPE_CHECKING:
    import keras

Rows = Iterator[tuple[list[int], np.ndarray, list[tuple[int, VideoError]]]]  # positions, their answers, errors
Outputs = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # clips by input -> outputs by name


@dataclass(frozen=True, kw_only=True)
class ScorableModel:
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
    outputs: Outputs

    @property
    def kind(self) -> TaskKind:
        """What follows from the task."""
        return task_kind(self.task)


def open_model(
    model: keras.Model | Classifier | str | Path, *, provider: Provider = "cpu", verify: bool = True
) -> ScorableModel:
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
        return ScorableModel(labels=model.labels, task=model.metadata.task, specs=model.specs, outputs=model.scores)
    from zoo.contract import labels, specs, task, with_logits
    from zoo.saving import load_model

    network = load_model(model) if isinstance(model, str | Path) else model
    return ScorableModel(
        labels=labels(network), task=task(network), specs=specs(network), outputs=outputs_of(with_logits(network))
    )


def outputs_of(network: keras.Model) -> Outputs:
    """What a model of Keras with outputs by name computes, float32."""

    def outputs(clips: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Keras warns where a model of one input is given a dict.
        found = network.predict_on_batch(dict(clips) if len(clips) > 1 else next(iter(clips.values())))
        return {name: np.asarray(values, np.float32) for name, values in found.items()}

    return outputs


def score(
    model: keras.Model | Classifier | ScorableModel | str | Path,
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
    """Scores a model on labeled clips.

    Args:
        model: see `open_model`.
        index: the clips; with labels that the model knows, in any order.
        batch: clips that go through the network together, >= 1.
        workers: threads that read clips.
        crops: 1: the center; 3: both ends and the center of the longer side, averaged; 10: corners, center and mirrors.
        views: places in time, averaged; for dense and segment sampling.
        provider: of ONNX Runtime, for an `.onnx` file; see `Classifier`.
        on_error: `skip` leaves out clips that cannot be read, and names them in `Scores.left_out`.
        advance: called after each clip, to show progress.

    Returns:
        Logits of each clip (or numbers), in the order of the index, with the truth.

    Raises:
        VideoError: a clip cannot be read, and `on_error` is `fail`.
        ClipzooError: the labels or the task do not fit, no clip can be read, or an argument is out of range.
    """
    scored = model if isinstance(model, ScorableModel) else open_model(model, provider=provider)
    if index.task != scored.task:
        raise ClipzooError(f"{index.root}: the clips are labeled for {index.task}, the model is for {scored.task}")
    cropper(crops)  # of one crop and view nothing else looks at these two
    whole("views", views)
    index = index.with_labels(scored.labels)
    name = scored.kind.outputs[0]
    if crops * views > 1:
        rows = _averaged(scored, index, name, workers, crops, views)
    else:
        rows = in_batches(scored, index, name, batch=batch, workers=workers)
    found = gather(rows, index, on_error=on_error, advance=advance)
    return Scores(
        found.rows,
        index.targets[found.kept],
        scored.labels,
        scored.task,
        tuple(index[place].file for place in found.kept),
        found.left_out,
    )


class ModelOutputs(NamedTuple):
    """What a model gave for the clips of an index.

    Attributes:
        rows: float32 (clips, ...), in the order of the index.
        kept: position of each clip in it.
        left_out: what could not be read, each file once.
    """

    rows: np.ndarray
    kept: list[int]
    left_out: tuple[VideoError, ...]


def gather(rows: Rows, index: ClipIndex, *, on_error: OnError, advance: Callable[[], object]) -> ModelOutputs:
    """Puts together what comes clip by clip or batch by batch; arguments, and what it raises, as of `score`."""
    positions: list[int] = []
    parts: list[np.ndarray] = []
    left_out: list[VideoError] = []
    for places, found, errors in rows:
        if errors and on_error == "fail":
            raise errors[0][1]
        left_out += [error for _, error in errors]
        if places:
            positions += places
            parts.append(found)
        for _ in range(len(places) + len(errors)):
            advance()
    if not positions:
        raise ClipzooError(f"{index.root}: none of the {len(index)} clips can be read; the first: {left_out[0]}")
    order = np.argsort(positions, kind="stable")
    kept = [positions[place] for place in order]
    return ModelOutputs(np.concatenate(parts)[order], kept, tuple({str(error): error for error in left_out}.values()))


_NOTHING = np.empty((0, 0), np.float32)


def in_batches(scored: ScorableModel, index: ClipIndex, name: str, *, batch: int, workers: int) -> Rows:
    """The output of that name for each clip; a clip is read once, as the test split takes it."""
    spans = [clip.span for clip in index]
    read = read_batches(index.paths, scored.specs, spans=spans, batch_size=batch, workers=workers, on_error="skip")
    for positions, clips, errors in read:
        yield positions, scored.outputs(clips)[name] if positions else _NOTHING, errors


def _averaged(scored: ScorableModel, index: ClipIndex, name: str, workers: int, crops: int, views: int) -> Rows:
    """Clip by clip: the crops and views of one are a batch."""

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
            yield [], _NOTHING, [(position, clips)]
        else:
            yield [position], scored.outputs(clips)[name].mean(axis=0, keepdims=True), []
