"""Tensors as arrays, for metrics that compute in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def numbers(tensor: Any, metric: str) -> np.ndarray:
    """Return the values of a tensor; `metric` is the class that asks, for the error."""
    if isinstance(tensor, np.ndarray | list | tuple):
        return np.asarray(tensor)
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except (NotImplementedError, TypeError) as error:  # symbolic tensors of TensorFlow and JAX
        raise ValueError(
            f"{metric} computes in NumPy and cannot be compiled. Call it on what "
            "model.predict returns, or, on TensorFlow, use compile(run_eagerly=True)."
        ) from error
