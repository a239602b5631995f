"""What a model gives before its head, one vector a clip, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.runtime import Classifier
from export.scoring import Rows, ScorableModel, gather, in_batches, outputs_of
from export.session import Provider
from loaders.atomic import replacing, require_writable
from loaders.errors import ClipzooError, VideoError
from loaders.index import ClipIndex, OnError
from loaders.spans import Span
from loaders.spec import ClipSpec
from loaders.tasks import FEATURES, Label

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Extractor(ScorableModel):
    """A model whose features can be had, whatever computes it.

    Attributes:
        model: its name.
        layer: whose output the features are.
        origins: where its weights began; see `zoo.origins`.
    """

    model: str
    layer: str
    origins: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Features:
    """What a model gave for clips, before its head.

    Attributes:
        features: float32 (clips, D).
        files: of the clips, relative to the folder of the index.
        labels: of the clips, as text: the class; several classes, or numbers, with `, ` between; empty where there is
            none.
        splits: train, validation or test; empty where a clip is in none.
        spans: start and end of each clip in its file, seconds; None: the whole file.
        model: name of the model.
        layer: whose output the features are.
        specs: what went in: input name -> ClipSpec.
        origins: where the weights began; see `zoo.origins`.
        left_out: what could not be read, and has no features; not kept in a file.
    """

    features: np.ndarray
    files: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    spans: tuple[Span | None, ...]
    model: str
    layer: str
    specs: Mapping[str, ClipSpec]
    origins: tuple[Mapping[str, str], ...] = ()
    left_out: tuple[VideoError, ...] = field(default=(), compare=False)

    def save(self, path: str | Path) -> None:
        """Writes a file, whole or not at all; one that is there is replaced.

        | suffix | what is in it |
        |---|---|
        | `.npz` | arrays `features`, `files`, `labels`, `splits`, `starts` and `ends` (NaN: the whole file), and, as
          text, `model`, `layer`, `specs` and `origins` (JSON) |
        | `.parquet` | a row a clip: `file`, `label`, `split`, `start`, `end`, `features`; the texts are metadata of the
          schema, as `clipzoo.layer` |

        Raises:
            ClipzooError: as `require_suffix` and `loaders.atomic.replacing`.
        """
        write = require_suffix(path)
        with replacing(path) as partial:
            write(self, partial)

    def _texts(self) -> dict[str, str]:
        specs = {name: spec.to_dict() for name, spec in self.specs.items()}
        held = {"specs": specs, "origins": [dict(each) for each in self.origins]}
        return {"model": self.model, "layer": self.layer} | {
            name: json.dumps(value, ensure_ascii=False) for name, value in held.items()
        }


def _write_npz(found: Features, path: Path) -> None:
    bounds = np.array([span or (np.nan, np.nan) for span in found.spans], np.float64)
    with path.open("wb") as file:
        np.savez(
            file,
            features=found.features,
            files=np.array(found.files),
            labels=np.array(found.labels),
            splits=np.array(found.splits),
            starts=bounds[:, 0],
            ends=bounds[:, 1],
            **{name: np.array(text) for name, text in found._texts().items()},  # type: ignore[arg-type]
        )


def _write_parquet(found: Features, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(found.features.ravel()), found.features.shape[1])
    columns: dict[str, Any] = {
        "file": pa.array(found.files, pa.string()),
        "label": pa.array(found.labels, pa.string()),
        "split": pa.array(found.splits, pa.string()),
        "start": pa.array([span and span[0] for span in found.spans], pa.float64()),
        "end": pa.array([span and span[1] for span in found.spans], pa.float64()),
        FEATURES: vectors,
    }
    texts = {f"clipzoo.{name}": text for name, text in found._texts().items()}
    pyarrow.parquet.write_table(pa.table(columns).replace_schema_metadata(texts), path)


_WRITERS: Mapping[str, Callable[[Features, Path], None]] = {".npz": _write_npz, ".parquet": _write_parquet}


def require_suffix(path: str | Path) -> Callable[[Features, Path], None]:
    """What writes a file of features by that name; to be called before clips are read.

    Raises:
        ClipzooError: another suffix than .npz and .parquet, no pyarrow for the latter, or a place that cannot be
            written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ClipzooError(f"{path}: features are written to a file that ends in {' or '.join(_WRITERS)}")
    if suffix == ".parquet" and not find_spec("pyarrow"):
        raise ClipzooError(f'{path}: Parquet needs pyarrow: pip install "clipzoo[parquet]"; or write a .npz file')
    require_writable(path)
    return _WRITERS[suffix]


def open_extractor(
    model: keras.Model | Classifier | str | Path,
    *,
    layer: str | None = None,
    provider: Provider = "cpu",
    verify: bool = True,
) -> Extractor:
    """Anything whose features can be had.

    Args:
        model: a model of Keras; a run's folder, a `.keras` file, or a preset; a Classifier, or an `.onnx` file that was
            exported with features.
        layer: of a model of Keras, whose output the features are; what its head is given if left out. See
            `zoo.with_features`.
        provider: of ONNX Runtime, for an `.onnx` file.
        verify: whether an `.onnx` file must be, byte for byte, what was exported.

    Raises:
        ClipzooError: no such file, not one of ours, an ONNX file without features or with those of another layer, or no
            such layer.
    """
    if isinstance(model, str | Path) and Path(model).suffix == ".onnx":
        model = Classifier(model, provider=provider, verify=verify)
    elif provider != "cpu":
        raise ClipzooError(f"provider {provider!r} is for .onnx files; Keras computes where its backend does")
    if isinstance(model, Classifier):
        return _of_file(model, layer)
    from zoo.contract import labels, origins, specs, task
    from zoo.embedding import feature_layer, with_features
    from zoo.saving import load_model

    network = load_model(model) if isinstance(model, str | Path) else model
    return Extractor(
        model=network.name,
        layer=layer or feature_layer(network),
        origins=tuple(origins(network)),
        labels=labels(network),
        task=task(network),
        specs=specs(network),
        outputs=outputs_of(with_features(network, layer=layer)),
    )


def _of_file(classifier: Classifier, layer: str | None) -> Extractor:
    metadata = classifier.metadata
    classifier.require_features()
    if layer not in (None, metadata.features):
        raise ClipzooError(
            f"{classifier.path}: its features are of layer {metadata.features!r}, not {layer!r}; other layers can be "
            "had of a run, a .keras file or a preset"
        )
    return Extractor(
        model=metadata.model,
        layer=metadata.features,
        origins=metadata.origins,
        labels=metadata.labels,
        task=metadata.task,
        specs=metadata.specs,
        outputs=lambda clips: {FEATURES: classifier.features(clips)},
    )


def extract_features(
    model: keras.Model | Classifier | Extractor | str | Path,
    index: ClipIndex,
    *,
    layer: str | None = None,
    batch: int = 8,
    workers: int = 2,
    provider: Provider = "cpu",
    on_error: OnError = "fail",
    advance: Callable[[], object] = lambda: None,
) -> Features:
    """Computes what a model gives for clips before its head; each clip is read once, as the test split takes it.

    Args:
        model: see `open_extractor`.
        index: the clips, with any labels or none, such as `loaders.index_files("clips")`.
        layer: see `open_extractor`.
        batch: clips that go through the network together, >= 1.
        workers: threads that read clips.
        provider: of ONNX Runtime, for an `.onnx` file; see `Classifier`.
        on_error: `skip` leaves out clips that cannot be read, and names them in `Features.left_out`.
        advance: called after each clip, to show progress.

    Raises:
        VideoError: a clip cannot be read, and `on_error` is `fail`.
        ClipzooError: as `open_extractor`; no clip can be read, a value is no finite number, or an argument is out of
            range.
    """
    if not isinstance(model, Extractor):
        model = open_extractor(model, layer=layer, provider=provider)
    rows = in_batches(model, index, FEATURES, batch=batch, workers=workers)
    return collect(model, rows, index, on_error=on_error, advance=advance)


def collect(
    model: Extractor,
    rows: Rows,
    index: ClipIndex,
    *,
    on_error: OnError,
    advance: Callable[[], object] = lambda: None,
) -> Features:
    """Puts together the features of the clips of an index; arguments, and what it raises, as of `extract_features`."""
    found = gather(rows, index, on_error=on_error, advance=advance)
    clips = [index[place] for place in found.kept]
    wrong = np.flatnonzero(~np.isfinite(found.rows).all(axis=1))
    if len(wrong):
        raise ClipzooError(
            f"{clips[wrong[0]].file}: layer {model.layer!r} of {model.model} gives values that are no finite numbers; "
            "its weights are damaged"
        )
    return Features(
        features=found.rows,
        files=tuple(clip.file for clip in clips),
        labels=tuple(_text(clip.label) for clip in clips),
        splits=tuple(clip.split or "" for clip in clips),
        spans=tuple(clip.span for clip in clips),
        model=model.model,
        layer=model.layer,
        specs=model.specs,
        origins=model.origins,
        left_out=found.left_out,
    )


def _text(label: Label) -> str:
    if label is None or isinstance(label, str):
        return label or ""
    return ", ".join(each if isinstance(each, str) else f"{each:g}" for each in label)
