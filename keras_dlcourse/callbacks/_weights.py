"""Whether the weights of a model are still numbers.

A finite loss does not say so: on TensorFlow ReLU makes 0 of NaN, so a network whose first kernel is
NaN goes on with a loss of numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend


class _Look:
    """A compiled function that looks at all weights at once."""

    def __init__(self, variables: list[Any]) -> None:
        self.variables = variables
        self._run: Callable[..., Any] = backend.compiled(self._finite, variables)

    def _finite(self) -> Any:
        return ops.stack([ops.all(ops.isfinite(variable)) for variable in self.variables])

    def first_broken(self) -> Any | None:
        finite = np.asarray(ops.convert_to_numpy(self._run()))
        return None if finite.all() else self.variables[int(finite.argmin())]


_LOOKS: weakref.WeakKeyDictionary[keras.Model, _Look] = weakref.WeakKeyDictionary()


def first_broken(model: keras.Model) -> Any | None:
    """Return the first weight of a model that holds NaN or infinity, None if there is none.

    It is one pass over the weights, compiled once for each model, and one answer for each weight.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # during an epoch the JAX backend keeps them outside of the model
    variables = [one for one in model.weights if keras.backend.is_float_dtype(one.dtype)]
    if not variables:
        return None
    look = _LOOKS.get(model)
    if look is None or list(map(id, look.variables)) != list(map(id, variables)):
        look = _LOOKS[model] = _Look(variables)
    return look.first_broken()


def first_broken_array(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return the name of the first array of weights or optimizer that is not finite."""
    for name, array in arrays.items():
        if not name.startswith("metrics/") and not _is_finite(array):
            return name
    return None


def _is_finite(array: np.ndarray) -> bool:
    numbers = array.astype("float32") if array.dtype.kind == "V" else array  # bfloat16
    return bool(np.isfinite(numbers).all())
