"""Keras -> ONNX, by one path whatever backend trained: load under TensorFlow in a clean process, convert, compare."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from export.conversion_process import convert_in_subprocess, working_folder, writing
from export.custom import find_modules, modules_of
from export.describe import Scale, describe
from export.metadata import Metadata, Precision
from loaders import check
from loaders.atomic import replacing, require_writable
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import existing_folder, index_files
from loaders.printable import printable_name
from loaders.spans import Span
from loaders.spec import ClipSpec
from loaders.tasks import Task
from zoo.backend import start_backend
from zoo.presets import as_preset
from zoo.saving import load_preset

if TYPE_CHECKING:
    import keras

PARITY_CLIPS = 16
CALIBRATION, COMPARED_AT_LEAST, COMPARED = 64, 100, 200  # clips, for int8
Where = list[tuple[str, Span | None]]
NEEDED = {"tensorflow": "export", "tf2onnx": "export", "onnx": "export", "onnxruntime": "runtime"}


def to_onnx(
    model: keras.Model | str | Path,
    out: str | Path,
    *,
    spec: ClipSpec | Mapping[str, ClipSpec] | None = None,
    labels: Sequence[str] | None = None,
    task: Task | None = None,
    mean: Scale = 0.0,
    std: Scale = 1.0,
    modules: Sequence[str | Path] = (),
    clips: np.ndarray | Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    precision: Precision = "float32",
    features: bool = False,
    stream: bool = False,
    calibrate: str | Path | None = None,
    force: bool = False,
) -> Metadata:
    """Writes a model as one ONNX file, if that file computes what the model computes.

    A fresh process loads the model under TensorFlow and sees no GPU, so that the graph is the same wherever the model
    was trained (tensorflow-onnx#2359, keras#21799, keras#22443). The file has uint8 inputs (batch, frames, height,
    width, channels) with a dynamic batch, outputs `logits` and `probabilities` (`values` for numbers), native GRU or
    LSTM nodes, its contract and its SHA-256 in its metadata.

    A model of the zoo says itself what it takes and gives. Of any other Keras model that computes on clips, `spec` and
    `labels` say it, and the pixels are scaled inside the file. A softmax or sigmoid at its end is split off, and what
    stands before it is `logits`. Where none is found and the answers are probabilities all the same, `logits` are
    log(p), of several labels log(p / (1 - p)), with p cut to 1e-7 at the least, as Keras's losses cut it. All other
    answers of a model for classes are taken for logits.

    Args:
        model: a Keras model; a `.keras` file; the folder of a run; or the name of a preset.
        out: the file to write, `.onnx`.
        spec: what the model takes, for one that is not of the zoo: a ClipSpec, or one for each input by its name. Of a
            single input the name is free; it is `video` if left out.
        labels: names of the classes or numbers, in the order of the outputs, for a model that is not of the zoo.
        task: what they are; `classification` if left out.
        mean: taken off the pixels before such a model sees them, 0 to 255; a number, one for each channel, or either by
            input name.
        std: divides them then, likewise: 255 for a model that takes 0 to 1.
        modules: what registers the layers of a `.keras` file that are not Keras's own: names of modules, or `.py`
            files. The modules of a model in memory are found.
        clips: what to compare Keras and ONNX Runtime on, uint8 (clips, frames, height, width, channels), by input name
            where there are several. If left out: validation clips of the run where they are still there, else seeded
            random ones of every brightness and motion.
        opset: of the ONNX operators, 17 or 18.
        precision: `float32`, or `float16`, whose answers are held against Keras's in float32: within 2e-2, and every
            top-1 the same; or `int8`, for processors: convolutions in 8 bits, held against the float32 graph, which is
            held against Keras: the same top-1 on 98 % of at least 100 clips. See `export.quantization`.
        features: give the file an output `features` too, float32 (batch, D): what the head of a model of the zoo is
            given; see `zoo.with_features`.
        stream: write a file that takes frames one by one, for `export.Stream`: of a TSM of the zoo that was trained
            with `shift=past` and dense sampling. It has the inputs `frame`, uint8 (batch, height, width, channels), and
            `state_0` ..., zeros at the beginning; the outputs `logits` (`values` for numbers) of that frame, and
            `next_state_0` ... The mean over `frames` frames is held against the model's answer for their clip.
        calibrate: a folder of videos like those that the file will see, for int8; a run has its training clips. A
            third of them, 64 at the most, give the ranges of activations. Where the model is no run, the others are
            compared on.
        force: write the file though the answers hardly differ from clip to clip, so that equal answers prove nothing;
            an int8 file with fewer clips to compare on, or less agreement.

    Returns:
        The file's metadata, parity included.

    Raises:
        ParityError: the answers differ by more than 1e-4 (2e-2 in float16, or another top-1; in int8, more than 2 % of
            the decisions), or hardly vary; no file is written.
        ClipzooError: a part is not installed, the model cannot be loaded, or it has what cannot be exported.
    """
    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        extras = ",".join(dict.fromkeys(NEEDED[name] for name in missing))
        raise ClipzooError(f'export needs {", ".join(missing)}: pip install "clipzoo[{extras}]"')
    if not 17 <= opset <= 18:
        raise ClipzooError(f"opset ({opset}) must be 17 or 18")
    check.choice("precision", precision, get_args(Precision))
    if calibrate is not None and precision != "int8":
        raise ClipzooError(f"calibrate ({str(calibrate)!r}) is for precision 'int8', not for {precision!r}")
    if stream and (precision != "float32" or features):
        what = "features (--features)" if features else f"precision {precision!r}"
        raise ClipzooError(f"stream (--stream) excludes {what}: such a file is float32 and gives logits and states")
    described = describe(spec=spec, labels=labels, task=task, mean=mean, std=std)
    out = Path(out)
    if out.suffix != ".onnx":
        raise ClipzooError(
            f"{printable_name(str(out))}: the name must end in .onnx, by which every command knows the file"
        )
    require_writable(out)
    if isinstance(model, str | Path) and (chosen := as_preset(model)) is not None:
        start_backend()
        model = load_preset(chosen.name)
    with working_folder() as folder:
        request: dict[str, Any] = {
            "described": described.to_dict(),
            "modules": find_modules(modules),
            "opset": opset,
            "precision": precision,
            "features": features,
            "stream": stream,
            "force": force,
            "clips": str(folder / "clips.npz") if clips is not None else None,
        }
        if precision == "int8":
            request |= _for_int8(Path(model) if isinstance(model, str | Path) else None, calibrate)
        if isinstance(model, str | Path):
            path = Path(model).resolve()
            request |= {"model": str(path), "trusted": False, "files": [] if clips is not None else _validation(path)}
        else:
            path = folder / "model.keras"
            _save(model, path)
            request |= {"model": str(path), "trusted": True, "files": []}
            request["modules"] += modules_of(path)
        if request["modules"]:
            request["path"] = [str(Path(place).resolve()) for place in (*sys.path, "")]
        if clips is not None:
            with writing(folder / "clips.npz") as partial:
                np.savez(partial, **dict(clips if isinstance(clips, Mapping) else {"": clips}))  # type: ignore[arg-type]
        with writing(folder / "request.json") as partial:
            partial.write_text(json.dumps(request), encoding="utf-8")
        answer = convert_in_subprocess(folder)
        for line in answer["warnings"]:
            warnings.warn(line, stacklevel=2)
        with replacing(out) as partial:
            shutil.copyfile(folder / "model.onnx", partial)
    return Metadata.from_props(answer["props"], out)


def _save(model: keras.Model, path: Path) -> None:
    """Saves a model from memory."""
    if not model.built:
        raise ClipzooError(
            f"model {model.name!r} has no weights yet: give it an Input, or call it on a clip, and train it"
        )
    try:
        with writing(path) as partial:
            model.save(partial)
    except ClipzooError:
        raise
    except Exception as error:  # whatever the layers' get_config raises
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClipzooError(
            f"model {model.name!r} cannot be saved ({said}); a layer of one's own needs a get_config that gives the "
            "arguments of its __init__"
        ) from error


def _validation(path: Path) -> list[tuple[str, Span | None]]:
    """Some of a run's validation clips, evenly over the list; none if `path` is not a run or its clips are gone."""
    index = _clips_of(path)
    return _some(_where(index, "validation"), PARITY_CLIPS) if index is not None else []


def _for_int8(model: Path | None, calibrate: str | Path | None) -> dict[str, Any]:
    """What calibrates, and what is compared: none of it calibrates.

    Raises:
        ClipzooError: there are no clips, and `calibrate` gives none.
    """
    own = _clips_of(model) if model is not None else None
    if calibrate is not None:
        pool, of = _where(index_files(existing_folder(Path(calibrate)))), f"clips of {calibrate}"
    elif own is not None:
        pool, of = _where(own, "train"), "training clips"
    else:
        raise ClipzooError(
            "precision 'int8' needs clips like those that the file will see: give calibrate=FOLDER (--calibrate), or "
            "export a run whose clips are still there"
        )
    calibration, rest = _parted(pool, len(pool) // 3)
    gate = _where(own, "validation") if own is not None else []
    more = _some(rest, (COMPARED_AT_LEAST if gate else COMPARED) - len(gate))
    said = [f"{len(gate)} validation clips of the run"] if gate else []
    said += [f"{len(more)} {of} that calibrated nothing"] if more else []
    return {
        "calibration": calibration,
        "gate": _some(gate + more, COMPARED),
        "source": " and ".join(said) or f"of {len(pool)} {of}",
    }


def _parted(clips: Where, count: int) -> tuple[Where, Where]:
    """So many of them at the most, evenly over the list; and the others."""
    chosen = _some(clips, min(CALIBRATION, count))
    return chosen, [clip for clip in clips if clip not in chosen]


def _clips_of(path: Path) -> ClipIndex | None:
    """The clips of a run; None if it is none, or they are gone."""
    from zoo.run import Run

    run = Run(path)
    if not run.record.is_file():
        return None
    try:
        return run.index()
    except ClipzooError:
        return None


def _where(index: ClipIndex, split: str | None = None) -> Where:
    """Files and spans of the clips of a split, of which there may be none; None: of all."""
    found = zip(index.paths, index, strict=True)
    return [(str(path.resolve()), clip.span) for path, clip in found if split in (None, clip.split)]


def _some(clips: Where, count: int) -> Where:
    """So many of them at the most, evenly over the list."""
    count = max(0, min(len(clips), count))
    return [clips[number * len(clips) // count] for number in range(count)]
