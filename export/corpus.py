"""An exported file on a large set of clips: answers, or features, in Parquet, by this process or by workers of Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from export.checksum import verify as verify_file
from export.features import Extractor, Features, collect, open_extractor, require_suffix
from export.metadata import Metadata
from export.prediction import predicted
from export.runtime import Classifier
from export.scoring import Rows
from export.session import ON_CPU, PROVIDERS, Provider
from loaders.clip import read_batches
from loaders.digest import sha256
from loaders.errors import ClipzooError, VideoError
from loaders.index import ClipIndex, OnError
from loaders.parquet_parts import ParquetParts, clips_digest, fill_parts, require_pyarrow
from loaders.spans import Span
from loaders.spread import LOST
from loaders.tasks import FEATURES


class _Item(NamedTuple):
    """A clip, as workers are given it.

    Attributes:
        file: its name in the answer.
        path: where it lies.
        span: the part of the file, seconds; None: all of it.
    """

    file: str
    path: str
    span: Span | None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What became of a set of clips.

    Attributes:
        clips: rows that were written.
        before: of these, those of an earlier run that was interrupted.
        errors: rows that have an error in the place of an answer.
        first_error: the first of these; empty where there is none.
    """

    clips: int
    before: int
    errors: int
    first_error: str = ""


class ClipWorker:
    """Answers chunks of clips with one session; see `loaders.spread.Worker`.

    Args:
        path: the ONNX file.
        features: whether features are wanted, not answers.
        provider: of ONNX Runtime.
        provider_options: of the provider; see `Classifier`.
        batch_size: clips that go through the network together.
        workers: threads that read clips.
        threads: of ONNX Runtime.
        verify: whether the file must be, byte for byte, what was exported.
    """

    def __init__(
        self,
        path: str,
        *,
        features: bool,
        provider: Provider,
        batch_size: int,
        workers: int,
        verify: bool,
        provider_options: Mapping[str, str] | None = None,
        threads: int | None,
    ) -> None:
        self._classifier = Classifier(
            path, provider=provider, provider_options=provider_options, max_batch=batch_size, verify=verify,
            threads=threads if PROVIDERS[provider] in ON_CPU else None,
        )  # fmt: skip
        self._features, self._batch_size, self._workers = features, batch_size, workers

    def __call__(self, items: Sequence[_Item]) -> list[dict[str, Any]]:
        rows = [_row(item) for item in items]
        read = read_batches(
            [item.path for item in items], self._classifier.specs, spans=[item.span for item in items],
            batch_size=self._batch_size, workers=self._workers, on_error="skip",
        )  # fmt: skip
        for batch in read:
            for place, error in batch.errors:
                rows[place]["error"] = error.reason
            if batch.positions:
                names = [items[place].file for place in batch.positions]
                for place, found in zip(batch.positions, self._answer(batch.clips, names), strict=True):
                    rows[place] |= found
        return rows

    def _answer(self, clips: dict[str, np.ndarray], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        if self._features:
            yield from ({FEATURES: row} for row in self._classifier.features(clips, names=names))
            return
        metadata = self._classifier.metadata
        for row in self._classifier.scores(clips, names=names)[self._classifier.outputs[-1]]:
            if not metadata.kind.classes:
                yield {"values": row}
                continue
            answer = predicted(row, metadata)
            yield {
                "label": answer.label, "probability": answer.probability, "labels": list(answer.labels),
                "probabilities": row,
            }  # fmt: skip


def predict_corpus(
    model: str | Path,
    index: ClipIndex,
    out: str | Path,
    *,
    ray: str | None = None,
    ray_workers: int | None = None,
    batch_size: int = 8,
    workers: int = 2,
    provider: Provider = "cpu",
    provider_options: Mapping[str, str] | None = None,
    verify: bool = True,
    advance: Callable[[int], object] = lambda count: None,
) -> Corpus:
    """Answers many clips, and writes a Parquet file: a row a clip, in the order of the index.

    | column | what is in it |
    |---|---|
    | `file`, `start`, `end` | the clip, as in `Prediction` |
    | `label`, `probability`, `labels` | of classes, as in `Prediction` |
    | `probabilities` | of classes: float32, in the order of `clipzoo.labels` (JSON) in the schema's metadata |
    | `values` | of a regression: float32, in the same order |
    | `error` | why a clip has no answer; null: it has one |

    Answers are written part by part in a folder `OUT.parts`, which becomes the file at the end. What is in it is not
    done again, after whatever interruption.

    Args:
        model: an exported `.onnx` file. Workers of Ray on other machines find it, and the clips, by the same paths.
        index: the clips, labels or none.
        out: the file to write, `.parquet`.
        ray: where the workers are; see `loaders.spread.map_chunks`. None: one, in this process.
        ray_workers: how many, each with a session of its own.
        batch_size: clips that go through the network together.
        workers: threads that read clips, of each worker.
        provider: of ONNX Runtime; on GPUs each worker takes one.
        provider_options: of the provider; see `Classifier`.
        verify: whether the file must be, byte for byte, what was exported.
        advance: called with the number of clips that are done, to show progress.

    Raises:
        WriteError: the disk is full; what is written stays.
        ClipzooError: no such model, `out` or its parts are of another model or of other clips, or written now; or as
            `loaders.spread.map_chunks`.
    """
    if Path(out).suffix.lower() != ".parquet":
        raise ClipzooError(f"{out}: answers are written to a file that ends in .parquet")
    require_pyarrow(out)
    import pyarrow as pa
    import pyarrow.parquet

    if verify:
        verify_file(model)
    metadata = Metadata.read(model)
    numbers = pa.list_(pa.float32())  # of no fixed size: pyarrow 18 to 23 cannot read a null among those again
    one = {"label": pa.string(), "probability": pa.float32(), "labels": pa.list_(pa.string()), "probabilities": numbers}
    parts = _parts(model, index, out, one if metadata.kind.classes else {"values": numbers}, answers=metadata.task)
    before = len(index)
    make = partial(
        ClipWorker, str(Path(model).absolute()), features=False, provider=provider, provider_options=provider_options,
        batch_size=batch_size, workers=workers, verify=verify,
    )  # fmt: skip
    with parts.held():
        if not parts.is_done():
            before -= sum(map(len, parts.missing().values()))
            _fill(parts, index, make, provider=provider, ray=ray, ray_workers=ray_workers, advance=advance)
            parts.merge()
    errors = pyarrow.parquet.read_table(out, columns=["file", "error"]).filter(pa.compute.field("error").is_valid())
    first = "{file}: {error}".format(**errors.slice(0, 1).to_pylist()[0]) if len(errors) else ""
    return Corpus(clips=len(index), before=before, errors=len(errors), first_error=first)


def extract_corpus(
    model: str | Path,
    index: ClipIndex,
    out: str | Path,
    *,
    ray: str | None = None,
    ray_workers: int | None = None,
    batch: int = 8,
    workers: int = 2,
    provider: Provider = "cpu",
    verify: bool = True,
    on_error: OnError = "skip",
    extractor: Extractor | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> Features:
    """What `extract_features` gives for an exported file, written, and kept while it is computed: see `predict_corpus`.

    `extractor` is the same file as `open_extractor` gives it, where that was asked already.

    Raises:
        VideoError: a clip cannot be read, and `on_error` is `fail`; all others have been.
        ClipzooError: as `extract_features` and `predict_corpus`.
    """
    require_suffix(out)
    require_pyarrow(out)
    import pyarrow as pa

    extractor = extractor or open_extractor(model, provider=provider, verify=verify)
    parts = _parts(model, index, out, {FEATURES: pa.list_(pa.float32())}, answers=FEATURES)
    make = partial(
        ClipWorker, str(Path(model).absolute()), features=True, provider=provider, batch_size=batch, workers=workers,
        verify=verify,
    )  # fmt: skip
    with parts.held():
        _fill(parts, index, make, provider=provider, ray=ray, ray_workers=ray_workers, advance=advance)
        found = collect(extractor, _feature_rows(parts, index), index, on_error=on_error)
        found.save(out)
        parts.remove()
    return found


def _feature_rows(parts: ParquetParts, index: ClipIndex) -> Rows:
    for table, places in zip(parts.tables(), parts.ranges, strict=True):
        found = list(zip(places, table[FEATURES].to_pylist(), table["error"].to_pylist(), strict=True))
        good = [(place, row) for place, row, error in found if error is None]
        errors = [(place, VideoError(index.path(place), error)) for place, _, error in found if error is not None]
        yield [place for place, _ in good], np.array([row for _, row in good], np.float32), errors


def _parts(
    model: str | Path, index: ClipIndex, out: str | Path, columns: Mapping[str, Any], *, answers: str
) -> ParquetParts:
    """Parts whose rows are of these clips and this model."""
    import pyarrow as pa

    metadata = Metadata.read(model)
    texts = {
        "answers": answers,
        "model": metadata.model,
        "model_sha256": sha256(Path(model)),
        "labels": json.dumps(metadata.labels, ensure_ascii=False),
        "clips": clips_digest(index),
    }
    clip = {"file": pa.string(), "start": pa.float64(), "end": pa.float64()}
    return ParquetParts(out, columns={**clip, **columns, "error": pa.string()}, texts=texts, count=len(index))


def _fill(
    parts: ParquetParts,
    index: ClipIndex,
    make: Callable[..., ClipWorker],
    *,
    provider: Provider,
    ray: str | None,
    ray_workers: int | None,
    advance: Callable[[int], object],
) -> None:
    # Workers have folders of their own to work in.
    items = [_Item(str(path), str(path.absolute()), clip.span) for path, clip in zip(index.paths, index, strict=True)]
    fill_parts(
        parts, items, make, lost=lambda item: {**_row(item), "error": LOST}, ray=ray, ray_workers=ray_workers,
        gpu=PROVIDERS[provider] not in ON_CPU, advance=advance,
    )  # fmt: skip


def _row(item: _Item) -> dict[str, Any]:
    start, end = item.span or (None, None)
    return {"file": item.file, "start": start, "end": end}
