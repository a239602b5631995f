"""Layers that are not Keras's own: the modules that register them, found by one process and imported by another."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from loaders.errors import ClipzooError

HOW = (
    'decorate it with @keras.saving.register_keras_serializable(package="mine"), give it a get_config, and put it into '
    "a module of its own that is imported where the model is built"
)
_OURS = ("keras", "builtins", "zoo", "loaders")


def find_modules(modules: Sequence[str | Path]) -> list[str]:
    """Modules as another process can import them: names as they are, `.py` files with their whole path.

    Raises:
        ClipzooError: no such file.
    """
    if isinstance(modules, str | Path):
        raise ClipzooError(f"modules ({str(modules)!r}) must be a list of names or .py files")
    found = []
    for module in map(str, modules):
        if module.endswith(".py") and not Path(module).is_file():
            raise ClipzooError(f"{module}: no such file; modules are names, or .py files that register layers")
        found.append(str(Path(module).resolve()) if module.endswith(".py") else module)
    return found


def modules_of(file: Path) -> list[str]:
    """The modules of what a saved model is made of, Keras and ours left out, in the process that made it.

    Raises:
        ClipzooError: a class or function stands in the script that runs, which no other process can import.
    """
    import keras

    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    config.pop("compile_config", None)  # nothing is trained
    found: dict[str, None] = {}
    for part in _parts(config):
        module, name = part["module"], part["class_name"]
        if name == "function":  # of which Keras writes no module
            name = part["config"]
            module = getattr(keras.saving.get_registered_object(name), "__module__", "builtins")
        if part["registered_name"] and module in (None, "__main__"):
            raise ClipzooError(
                f"{name} stands in the script or notebook that runs, where the process that converts cannot find it: "
                f"{HOW}"
            )
        if isinstance(module, str) and module.partition(".")[0] not in _OURS:
            found[module] = None
    return list(found)


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping):
        if {"module", "class_name", "registered_name"} <= set(config):
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _parts(value)


def import_modules(modules: Sequence[str]) -> None:
    """Imports what `find_modules` and `modules_of` gave.

    Raises:
        ClipzooError: one cannot be imported.
    """
    for module in modules:
        try:
            if not module.endswith(".py"):
                import_module(module)
                continue
            # By a name of its own, so that a file `export.py` is not taken for ours.
            spec = spec_from_file_location(f"_imported_{Path(module).stem}", module)
            sys.path.append(str(Path(module).parent))
            assert spec is not None and spec.loader is not None
            sys.modules[spec.name] = made = module_from_spec(spec)
            spec.loader.exec_module(made)
        except Exception as error:  # a user's module raises what it likes
            raise ClipzooError(
                f"module {module}, which holds layers of the model, cannot be imported ({type(error).__name__}: "
                f"{error})"
            ) from error
