"""Keras -> ONNX, by one path whatever backend trained: load under TensorFlow in a clean process, convert, compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.metadata import Metadata, Precision
from export.parity import TOLERANCES, ParityError
from loaders.atomic import replacing
from loaders.errors import ClipzooError

if TYPE_CHECKING:
    import keras

PARITY_CLIPS = 16
NEEDED = {"tensorflow": "export", "tf2onnx": "export", "onnx": "export", "onnxruntime": "runtime"}


def to_onnx(
    model: keras.Model | str | Path,
    out: str | Path,
    *,
    clips: np.ndarray | Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    precision: Precision = "float32",
) -> Metadata:
    """Writes a model as one ONNX file, if that file computes what the model computes.

    A fresh process loads the model under TensorFlow and sees no GPU, so that the graph is the same wherever the model
    was trained (tensorflow-onnx#2359, keras#21799, keras#22443). The file has uint8 inputs (batch, frames, height,
    width, channels) with a dynamic batch, outputs `logits` and `probabilities`, native GRU or LSTM nodes, and its
    contract in its metadata.

    Args:
        model: a model of the zoo, a `.keras` file, or the folder of a run.
        out: the file to write.
        clips: what to compare Keras and ONNX Runtime on, uint8 (clips, frames, height, width, channels), by input name
            where there are several. If left out: validation clips of the run where they are still there, else seeded
            random ones.
        opset: of the ONNX operators, 17 or 18.
        precision: `float32`, or `float16`, whose answers are held against Keras's in float32: within 2e-2, and every
            top-1 the same.

    Returns:
        The file's metadata, parity included.

    Raises:
        ParityError: the answers differ by more than 1e-4 (2e-2 in float16, or another top-1); no file is written.
        ClipzooError: a part is not installed, the model cannot be loaded, or it has what cannot be exported.
    """
    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        extras = ",".join(dict.fromkeys(NEEDED[name] for name in missing))
        raise ClipzooError(f'export needs {", ".join(missing)}: pip install "clipzoo[{extras}]"')
    if not 17 <= opset <= 18:
        raise ClipzooError(f"opset ({opset}) must be 17 or 18")
    if precision not in TOLERANCES:
        raise ClipzooError(f"precision ({precision!r}) must be one of {', '.join(TOLERANCES)}")
    with tempfile.TemporaryDirectory(prefix="clipzoo-") as folder, replacing(out) as partial:
        work = Path(folder)
        files: Sequence[str] = ()
        if isinstance(model, str | Path):
            path = Path(model)
            if clips is None:
                files = _validation_files(path)
        else:
            path = work / "model.keras"
            model.save(path)
        if clips is not None:
            named = clips if isinstance(clips, Mapping) else {"": clips}
            np.savez(work / "clips.npz", **dict(named))  # type: ignore[arg-type]
        request = {
            "model": str(path.resolve()),
            "out": str(partial.resolve()),
            "clips": str(work / "clips.npz") if clips is not None else None,
            "files": list(files),
            "opset": opset,
            "precision": precision,
        }
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        answer = _in_clean_process(work)
    return Metadata.from_props(answer, out)


def _in_clean_process(work: Path) -> dict[str, str]:
    """Runs `export.trace` on `work/request.json`; returns what it wrote to `work/answer.json`."""
    here = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
    }
    # -P: a folder `export` or `zoo` where the user happens to stand must not be taken for ours.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "export.trace", str(work)], env=environment, capture_output=True, text=True
    )
    try:
        answer: dict[str, str] = json.loads((work / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ClipzooError(
            f"the conversion ended with exit status {done.returncode} and no answer; its last words:\n"
            f"{done.stderr[-2000:]}"
        ) from None
    if "error" in answer:
        raise (ParityError if answer["kind"] == "parity" else ClipzooError)(answer["error"])
    return answer


def _validation_files(path: Path) -> list[str]:
    """Some of a run's validation clips, evenly over the list, that can still be read; none if `path` is not a run."""
    from loaders.decode import check_readable
    from zoo.run import Run

    run = Run(path)
    if not run.record.is_file():
        return []
    try:
        paths = run.index().only("validation").paths
    except ClipzooError:
        return []
    chosen = (
        [paths[i * len(paths) // PARITY_CLIPS] for i in range(PARITY_CLIPS)] if len(paths) > PARITY_CLIPS else paths
    )
    return [str(file.resolve()) for file, error in zip(chosen, check_readable(chosen), strict=True) if error is None]
