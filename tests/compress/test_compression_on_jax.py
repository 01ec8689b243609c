"""Pruning, clustering and distillation on the JAX backend, in one process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is that process")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_compression_on_jax() -> None:
    files = ["test_pruning.py", "test_clustering.py", "test_structured.py", "test_distillation.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *(HERE / name for name in files)]
        + ["-k", "not gradients and not export and not device"],  # those take TensorFlow itself
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
