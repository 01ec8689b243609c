"""Predictions in batches of one size, as TensorFlow and JAX trace a model again for another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

BATCH = 32


def predict(model: keras.Model, inputs: Any, batch_size: int = BATCH) -> Any:
    """Return what `model.predict` returns, without a trace for the rest that fills no batch.

    Tracing and compiling take seconds. `fit`, `predict` and `predict_on_batch` differ in what they
    pass to the model, so code that predicts repeatedly should do it with this function only.

    Args:
        model: A model.
        inputs: An array `(n, ...)`, or a structure of arrays, as the model takes them.
        batch_size: Examples per batch.

    Returns:
        Float32 or other arrays `(n, ...)`, in the structure of the outputs.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> predict(model, np.zeros((33, 3))).shape
        (33, 2)
    """
    return predict_batches(model, _cut(inputs, batch_size), batch_size)


def predict_batches(model: keras.Model, batches: Iterable[Any], batch_size: int = BATCH) -> Any:
    """Return the predictions for batches of inputs.

    Args:
        model: A model.
        batches: Inputs as in `predict`, of at most `batch_size` examples.
        batch_size: The number of examples to which smaller batches are filled.
    """
    parts = []
    for batch in batches:
        count = len(keras.tree.flatten(batch)[0])
        filled = keras.tree.map_structure(lambda array: _fill(array, batch_size), batch)
        outputs = model.predict_on_batch(filled)
        parts.append(keras.tree.map_structure(lambda array, count=count: array[:count], outputs))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _cut(inputs: Any, batch_size: int) -> Iterator[Any]:
    count = len(keras.tree.flatten(inputs)[0])
    for start in range(0, count, batch_size):
        stop = start + batch_size
        yield keras.tree.map_structure(
            lambda array, start=start, stop=stop: array[start:stop], inputs
        )


def _fill(array: Any, size: int) -> np.ndarray:
    """Repeat the last example until there are `size`, in the type in which models compute."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        array = array.astype(keras.config.floatx())
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
