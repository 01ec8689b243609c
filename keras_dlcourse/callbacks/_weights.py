"""Check whether the weights of a model contain NaN or infinity.

A finite loss is no proof: on TensorFlow, ReLU turns NaN into 0, so a network whose first kernel is
NaN keeps a finite loss. Infinity is an error only in trainable weights: others may hold it on
purpose, such as an attention mask.
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
    """A compiled function that checks all weights at once."""

    def __init__(self, variables: list[Any]) -> None:
        self.variables, self.key = variables, _key(variables)
        self._run: Callable[..., Any] = backend.compiled(self._check_finite, variables)

    def _check_finite(self) -> Any:
        return ops.stack([ops.all(_is_sound(variable)) for variable in self.variables])

    def find_first_broken(self) -> Any | None:
        finite = np.asarray(ops.convert_to_numpy(self._run()))
        return None if finite.all() else self.variables[int(finite.argmin())]


def _is_sound(variable: Any) -> Any:
    return ops.isfinite(variable) if variable.trainable else ops.logical_not(ops.isnan(variable))


_LOOKS: weakref.WeakKeyDictionary[keras.Model, _Look] = weakref.WeakKeyDictionary()


def find_first_broken(model: keras.Model) -> Any | None:
    """Return the first weight that holds NaN, or infinity if it is trainable; None if all are fine.

    This takes one pass over the weights, in a function compiled once per model.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # during an epoch the JAX backend keeps weights outside the model
    variables = [one for one in model.weights if keras.backend.is_float_dtype(one.dtype)]
    if not variables:
        return None
    look = _LOOKS.get(model)
    if look is None or look.key != _key(variables):
        look = _LOOKS[model] = _Look(variables)
    return look.find_first_broken()


def _key(variables: list[Any]) -> list[tuple[int, bool]]:
    return [(id(variable), variable.trainable) for variable in variables]


def find_first_nan(arrays: Mapping[str, np.ndarray]) -> int | None:
    """Return the index of the first variable with NaN in the result of `capture`, or None."""
    for name, array in arrays.items():
        kind, number = name.split("/")
        if kind == "variables" and np.isnan(array).any():
            return int(number)
    return None
