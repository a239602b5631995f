"""The folder of a page: its own files, the model, the contract as JSON, and ONNX Runtime Web."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from export.conversion_process import working_folder
from export.folders import entries
from export.runtime import Classifier
from export.web.runtime import copy_runtime, fetch_runtime
from loaders.errors import ClipzooError, WriteError
from loaders.spec import ClipSpec

CONTRACT = "contract.json"
MODALITIES = ("rgb", "gray", "grouped")  # the others compare frames, or need optical flow


def write_web_page(
    model: str | Path,
    out: str | Path,
    *,
    runtime: str | Path | None = None,
    title: str | None = None,
    overwrite: bool = False,
    verify: bool = True,
) -> Path:
    """Makes a static page that runs an exported model in the browser, on video files and on the camera.

    Any web server can serve the folder. The page loads nothing from elsewhere. It reads clips by the contract in the
    file's metadata, and computes by WebGPU or, where that is not or computes something else, by WebAssembly.

    Args:
        model: the ONNX file. Its inputs are `rgb`, `gray` or `grouped`.
        out: the folder to make.
        runtime: the folder of an unpacked npm package `onnxruntime-web`; `npm pack` gets it if left out.
        title: of the page; the model's name if left out.
        overwrite: replace a page that is there, whole.
        verify: whether the file must be, byte for byte, what was exported.

    Returns:
        `out`.

    Raises:
        ClipzooError: as `Classifier`; an input that a browser does not compute; a folder that is there and may not be
            replaced; no runtime. Nothing is written then.
        WriteError: the folder cannot be written.
    """
    model, out = Path(model), Path(out)
    classifier = Classifier(model, verify=verify)
    for name, spec in classifier.specs.items():
        if spec.modality not in MODALITIES:
            raise ClipzooError(
                f"{model}: its input {name!r} takes {spec.modality}, which no page computes; it can be "
                f"{', '.join(MODALITIES)}"
            )
    _require_free(out, overwrite=overwrite)
    with working_folder() as working:
        package = Path(runtime) if runtime is not None else fetch_runtime(working)
        made = _beside(out)
        try:
            with as_file(files("export.web").joinpath("site")) as site:
                shutil.copytree(site, made, dirs_exist_ok=True)
            (made / "runtime").mkdir()
            copy_runtime(package, made / "runtime")
            shutil.copyfile(model, made / "model.onnx")
            text = json.dumps(_contract(classifier, title), ensure_ascii=False, indent=1)
            (made / CONTRACT).write_text(text + "\n", encoding="utf-8", newline="\n")
            _rename(made, out)
        except OSError as error:
            raise WriteError(out, error.strerror or str(error)) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return out


def check_clip(spec: ClipSpec) -> np.ndarray:
    """A made clip, uint8 (1, frames, height, width, channels): the high bytes of a linear congruential generator
    (Numerical Recipes' constants), which `site/model.js` makes likewise."""
    size = int(np.prod(spec.shape))
    powers = np.cumprod(np.full(size, 1664525, np.uint32), dtype=np.uint32)  # modulo 2**32
    sums = np.cumsum(np.concatenate([[np.uint32(1)], powers[:-1]]), dtype=np.uint32)
    return ((powers + sums * np.uint32(1013904223)) >> np.uint32(24)).astype(np.uint8).reshape(1, *spec.shape)


def _contract(classifier: Classifier, title: str | None) -> dict[str, Any]:
    """What the page knows of the model: its metadata, and its answer to `check_clip`."""
    metadata = classifier.metadata
    clips = {name: check_clip(spec) for name, spec in classifier.specs.items()}
    scores = classifier.scores(clips if len(clips) > 1 else next(iter(clips.values())), names=["the page's check"])
    return {
        "title": metadata.model if title is None else title,
        "model": metadata.model,
        "task": metadata.task,
        "precision": metadata.precision,
        "labels": list(metadata.labels),
        "specs": {name: spec.to_dict() for name, spec in metadata.specs.items()},
        "origins": list(metadata.origins),
        "check": scores[classifier.outputs[-1]][0].tolist(),
    }


def _require_free(out: Path, *, overwrite: bool) -> None:
    """Raises ClipzooError where `out` is there and may not be replaced: what was not made here never is."""
    there = entries(out)
    if there and not overwrite:
        raise ClipzooError(f"{out}: is not empty; give another folder, or --overwrite to replace a page")
    if there and not {CONTRACT, "index.html", "model.onnx"} <= set(there):
        raise ClipzooError(f"{out}: holds something else than a page of clipzoo, which --overwrite does not replace")


def _beside(out: Path) -> Path:
    """A fresh folder in that of `out`, which can be renamed to it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        made.chmod(out.parent.stat().st_mode & 0o777)  # mkdtemp makes private ones; a web server is to read this
    except OSError as error:
        raise WriteError(out, error.strerror or str(error)) from None
    return made


def _rename(made: Path, out: Path) -> None:
    """Gives a folder its name, in the place of an older one, which goes when the new one stands."""
    old = made.with_name(made.name + ".old")
    if out.exists():
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
