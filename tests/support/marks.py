"""When a test runs."""

from __future__ import annotations

import os

import pytest

# For what runs in a process of its own, or ends before Keras computes: once is enough, and JAX starts slowest.
not_the_backend_s = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="does not depend on the backend; runs under TensorFlow"
)
