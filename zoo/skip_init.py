"""Models that are built to be filled: no random numbers for weights that are loaded next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import keras
import numpy as np

DRAWS = (
    keras.initializers.RandomNormal,
    keras.initializers.RandomUniform,
    keras.initializers.TruncatedNormal,
    keras.initializers.VarianceScaling,  # and Glorot's, He's and LeCun's
    keras.initializers.Orthogonal,
)
_LOADING = threading.RLock()


@contextmanager
def skip_init() -> Iterator[None]:
    """While this is entered, weights that this thread makes begin as zeros in the place of random numbers.

    For models whose every weight is loaded before anybody asks them. JAX compiles a draw for each shape of a kernel,
    which is most of the time that I3D, with 57 of them, takes to be loaded. Layers keep their initializers, so a clone
    draws as ever; so do other threads.
    """
    with _LOADING, ExitStack() as stack:
        for kind in DRAWS:
            stack.enter_context(patch.object(kind, "__call__", _zeros(kind.__call__, threading.get_ident())))
        yield


def _zeros(draw: Callable[..., Any], thread: int) -> Callable[..., Any]:
    def call(initializer: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
        if threading.get_ident() != thread:
            return draw(initializer, shape, dtype, **options)
        return keras.ops.convert_to_tensor(np.zeros(shape, np.float32), dtype)  # zeros of a shape are compiled too

    return call
