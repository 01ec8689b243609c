"""What the tests of losses share: batches, and a loss with its gradient in float64."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend

ROWS = (1, 2, 7, 16)  # of any batch: few, since JAX compiles each operation anew for each
COMPILES_EACH = keras.backend.backend() == "jax"
EXAMPLES = 4 if COMPILES_EACH else 60


def batch(
    rows: int = 12, dimensions: int = 5, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, not as many of each, and embeddings of different lengths, off the origin."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    return labels, random.normal(size=(rows, dimensions)) * 0.7 + random.normal(size=dimensions)


def float64() -> Any:
    """Return a context in which JAX computes in float64, as other backends do when asked."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


def value_and_gradient(
    loss: keras.losses.Loss, y_true: Any, y_pred: np.ndarray, **weights: Any
) -> tuple[float, np.ndarray]:
    """Return what a loss made with dtype="float64" says, and its gradient by `y_pred`."""

    def both(x: Any) -> tuple[Any, Any]:
        value = loss(y_true, x, **weights)
        return value, value

    run = backend.gradient(both)
    if COMPILES_EACH:
        run = backend.compiled(run, [])  # operation by operation it takes many times as long
    with float64():
        gradient, value = run(ops.convert_to_tensor(y_pred, "float64"))
        return float(ops.convert_to_numpy(value)), ops.convert_to_numpy(gradient)
