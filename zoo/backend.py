"""Which backend Keras runs on. Only KERAS_BACKEND chooses, and it is checked before Keras is imported."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from loaders.errors import ClipzooError

BACKENDS = ("tensorflow", "jax")
VERSIONED = ("clipzoo", "keras", "tensorflow", "jax", "numpy", "opencv-python-headless")


def choose_backend() -> str:
    """Settles the backend from KERAS_BACKEND, before Keras is imported; unset, it is the one that is installed.

    Returns:
        One line that says which backend it is, and why.

    Raises:
        ClipzooError: KERAS_BACKEND is unknown or not installed, no backend is installed, or Keras already runs on
            another one.
    """
    asked = os.environ.get("KERAS_BACKEND", "").strip()
    installed = [backend for backend in BACKENDS if find_spec(backend)]
    if asked and asked not in BACKENDS:
        raise ClipzooError(f"KERAS_BACKEND is {asked!r}; clipzoo knows {' and '.join(BACKENDS)}")
    if asked and asked not in installed:
        raise ClipzooError(f'KERAS_BACKEND is {asked!r}, which is not installed: pip install "clipzoo[{asked}]"')
    if not installed:
        raise ClipzooError('no backend is installed: pip install "clipzoo[tensorflow]" or pip install "clipzoo[jax]"')
    backend = asked or installed[0]
    if "keras" in sys.modules:
        running = sys.modules["keras"].config.backend()
        if running != backend:
            raise ClipzooError(
                f"Keras was imported before and runs on {running}, not {backend}; set KERAS_BACKEND, or call "
                "choose_backend(), before the first import of keras"
            )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages are no news to a user
    # TensorFlow turns oneDNN on by itself on some processors alone; 3-D convolutions are slow without it on the others.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if asked:
        return f"backend: {backend} (KERAS_BACKEND)"
    if len(installed) == 1:
        return f"backend: {backend} (the one that is installed)"
    return f"backend: {backend} (both are installed; KERAS_BACKEND={installed[1]} chooses the other)"


def has_gpu() -> bool:
    """Whether Keras's backend computes on a GPU; imports Keras."""
    import keras

    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX, where there is none
        return False


def start_backend(*, training: bool = False) -> str:
    """`choose_backend`, then imports Keras and wakes the backend, without the start-up messages of its C++ parts.

    Args:
        training: whether `fit` will be called; it imports TensorFlow, where that is installed, on JAX too.

    Returns:
        One line that says which backend it is, and why.

    Raises:
        ClipzooError: as `choose_backend`.
    """
    line = choose_backend()
    with _stderr_aside():
        import keras

        keras.ops.zeros(1)  # looks for devices
        if training and find_spec("tensorflow"):
            import_module("tensorflow")
    return line


def versions(names: Sequence[str] = VERSIONED) -> dict[str, str]:
    """Versions of Python and of those of `names` that are installed; by default what decides what a run computes."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Keeps what is written to file descriptor 2, and shows it only if the block fails.

    TensorFlow 2.21 writes before it reads TF_CPP_MIN_LOG_LEVEL, past Python's sys.stderr.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside, os.fdopen(stderr, "wb") as shown:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            shutil.copyfileobj(aside, shown)
            raise
        finally:
            os.dup2(shown.fileno(), 2)
