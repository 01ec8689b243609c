"""Whether the weights of a model are still numbers.

A finite loss does not say so: on TensorFlow ReLU makes 0 of NaN, so a network whose first kernel is
NaN goes on with a loss of numbers. Infinity is wrong in what is trained only: others may hold it on
purpose, such as a mask of attention.
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
        self.variables, self.key = variables, _key(variables)
        self._run: Callable[..., Any] = backend.compiled(self._finite, variables)

    def _finite(self) -> Any:
        return ops.stack([ops.all(_is_sound(variable)) for variable in self.variables])

    def first_broken(self) -> Any | None:
        finite = np.asarray(ops.convert_to_numpy(self._run()))
        return None if finite.all() else self.variables[int(finite.argmin())]


def _is_sound(variable: Any) -> Any:
    return ops.isfinite(variable) if variable.trainable else ops.logical_not(ops.isnan(variable))


_LOOKS: weakref.WeakKeyDictionary[keras.Model, _Look] = weakref.WeakKeyDictionary()


def first_broken(model: keras.Model) -> Any | None:
    """Return the first weight of a model that holds NaN, or infinity if it is trained, or None.

    It is one pass over the weights, compiled once for each model, and one answer for each weight.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # during an epoch the JAX backend keeps them outside of the model
    variables = [one for one in model.weights if keras.backend.is_float_dtype(one.dtype)]
    if not variables:
        return None
    look = _LOOKS.get(model)
    if look is None or look.key != _key(variables):
        look = _LOOKS[model] = _Look(variables)
    return look.first_broken()


def _key(variables: list[Any]) -> list[tuple[int, bool]]:
    return [(id(variable), variable.trainable) for variable in variables]


def first_nan(arrays: Mapping[str, np.ndarray]) -> int | None:
    """Return the number of the first NaN variable in what `capture` returned, None if none is."""
    for name, array in arrays.items():
        kind, number = name.split("/")
        if kind == "variables" and np.isnan(array).any():
            return int(number)
    return None
