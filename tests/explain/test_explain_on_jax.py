"""The same tests of maps and callbacks on the JAX backend, in one process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is that process")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_explain_and_callbacks_on_jax():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", TESTS / "explain", TESTS / "callbacks"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
