"""Models from files, and from presets. Needs Keras when it is called, not before."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.atomic import replacing
from loaders.check import near
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from zoo.presets import Preset, as_preset, list_presets, preset
from zoo.registry import create_model, input_specs
from zoo.run import Run

if TYPE_CHECKING:
    import keras


def model_file(path: str | Path) -> Path:
    """The `.keras` file of a path: the path itself, or `model.keras` of a run's folder.

    Raises:
        ClipzooError: there is no such file.
    """
    file = Run(Path(path)).model if Path(path).is_dir() else Path(path)
    if file.suffix == ".onnx":
        raise ClipzooError(f"{file}: an ONNX file can be run, not trained or exported; give the run that it is of")
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    return file


def require_model(path: str | Path) -> Preset | Path:
    """What `load_model` would load, a preset or a file; raises ClipzooError where it is neither. Loads nothing."""
    if (chosen := as_preset(path)) is not None:
        return chosen
    try:
        return model_file(path)
    except ClipzooError as error:
        name = str(path)
        if "/" not in name and "." not in name:
            error.args = (f"{error}, and no preset; {near(name, list_presets())}",)
        raise


def load_model(path: str | Path, *, compile: bool = False) -> keras.Model:
    """Loads a model that was saved as a `.keras` file, on whichever backend Keras runs now. It computes in float32,
    whatever precision it was trained in.

    Args:
        path: the file; a run's folder, which holds `model.keras`; or the name of a preset.
        compile: whether to bring optimizer and loss back too.

    Raises:
        ClipzooError: no such file, not a Keras file, not one of clipzoo's, or a preset that cannot be fetched.
    """
    from zoo.contract import specs
    from zoo.precision import set_precision

    found = require_model(path)
    if isinstance(found, Preset):
        return load_preset(found.name)
    model = load_keras(found, compile=compile)
    specs(model)
    set_precision(model, "float32")
    return model


def load_preset(name: str, **options: Any) -> keras.Model:
    """Makes a whole model with the weights that others trained; they are fetched once, by pip.

    Args:
        name: one of `list_presets()`.
        options: of `create_model`, such as `frames=64`; its classes are settled.

    Returns:
        The model; it names its classes.

    Raises:
        ClipzooError: no such preset, or its weights cannot be had; the message says where to put them by hand.
    """
    chosen = preset(name)
    return create_model(chosen.model, classes=chosen.classes(), weights=chosen.source.name, **options)


def saved_specs(path: str | Path) -> dict[str, ClipSpec]:
    """The input contract of a saved model or a preset, by input name, read without Keras.

    Raises:
        ClipzooError: no such file, or not a model of clipzoo's.
    """
    file = require_model(path)
    if isinstance(file, Preset):
        return input_specs(file.model)
    return {name: spec for name, spec, _ in _clip_inputs(file)}


def begins_from_weights(path: str | Path) -> bool:
    """Whether a saved model began from weights that somebody else trained, as a preset does; raises as `saved_specs`.

    Returns:
        False for a model that a training made out of nothing.
    """
    file = require_model(path)
    return isinstance(file, Preset) or any(origin for _, _, origin in _clip_inputs(file))


def _clip_inputs(file: Path) -> list[tuple[str, ClipSpec, Any]]:
    """Name, contract and, where it is known, the origin of each input of a `.keras` file."""
    try:
        with zipfile.ZipFile(file) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        found = [
            (_given(layer), ClipSpec.from_dict(layer["config"]["spec"]), layer["config"].get("origin"))
            for layer in layers
            if layer["class_name"] == "ClipInput"
        ]
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, ClipzooError):
            raise
        raise ClipzooError(f"{file}: cannot be read as a Keras model ({error})") from None
    if not found:
        raise ClipzooError(f"{file}: is no model of clipzoo's: none of its layers is a ClipInput")
    return found


def _given(layer: dict[str, Any]) -> str:
    """Name of the layer that another is given the output of, as Keras writes both."""
    return str(layer["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0])


def load_keras(file: Path, *, compile: bool = False) -> keras.Model:
    """Loads any `.keras` file, ours or not; raises as `load_model` does, and for weights that are not numbers."""
    import keras

    # Keras does not import the classes that a file names ("Could not locate class").
    for module in ("zoo.layers", "zoo.tsm", *(("zoo.objectives", "zoo.caffe_sgd") if compile else ())):
        import_module(module)
    if not file.is_file():
        raise ClipzooError(f"{file}: no such model file")
    if not zipfile.is_zipfile(file):
        raise ClipzooError(f"{file}: is not a .keras file")
    from zoo.skip_init import skip_init

    try:
        with skip_init():
            model: keras.Model = keras.saving.load_model(file, compile=compile)
    except ClipzooError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise; a damaged file is the user's to mend
        wrote = _keras_version(file)
        if _numbers(wrote) > _numbers(keras.__version__):
            raise ClipzooError(
                f"{file}: was written by Keras {wrote}, and Keras {keras.__version__} cannot read it; "
                f"pip install 'keras>={wrote}'"
            ) from error
        raise ClipzooError(f"{file}: cannot be loaded as a Keras model ({_first_line(error)})") from error
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ClipzooError(
                f"{file}: weight {weight.path} holds values that are not numbers; train again, or load another"
            )
    return model


def save_model(model: keras.Model, path: str | Path) -> None:
    """Writes a `.keras` file, whole or not at all; raises ClipzooError as `loaders.atomic.replacing` does."""
    with replacing(path) as partial:
        model.save(partial)


def _keras_version(file: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        return str(json.loads(archive.read("metadata.json"))["keras_version"])
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
