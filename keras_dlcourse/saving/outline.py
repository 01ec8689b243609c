"""Build a model from its config without memory for its weights, which may claim to be huge."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras.src.saving.serialization_lib import ObjectSharingScope

from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.saving.config import walk
from keras_dlcourse.saving.errors import InvalidModelFile
from keras_dlcourse.saving.weights import Shapes

# Sizes are in values. Each variable costs time and memory even if it is small, and a model may have
# variables that it does not save, such as the states of random number generators.
_EACH = 2**10
_SPARE = 2**20


def outline(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], stored: Shapes
) -> keras.Model:
    """Build a model that can be inspected but not run.

    Args:
        config: The checked config.
        custom_objects: Objects that it may contain in addition to Keras's and registered ones.
        stored: The shapes of the weights in the file.

    Raises:
        InvalidModelFile: If the model has far more weights than the file. Building stops then.
    """
    limit = 2 * sum(map(_size, stored.values())) + _SPARE
    variables = _Counted(limit)
    with weightless(variables):
        try:
            with ObjectSharingScope():  # as in Keras's loading: shared layers stay shared
                return keras.saving.deserialize_keras_object(
                    _remove_compile(config), custom_objects=custom_objects
                )
        finally:
            if variables.size > limit:  # Keras may have replaced the error with another one
                raise _size_error()


def _remove_compile(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without optimizers, because their first variables need values."""
    plain = copy.deepcopy(dict(config))
    for _, value in walk(plain):
        if isinstance(value, dict):
            value.pop("compile_config", None)
    return plain


class _Counted(list):
    """Variables without values. Keras appends each one when it is created."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.size = 0

    def append(self, variable: Any) -> None:
        """Check the total size before anything else uses the variable."""
        self.size += _size(variable.shape)
        if self.size > self.limit:
            raise _size_error()
        super().append(variable)


def _size(shape: Iterable[int]) -> int:
    return math.prod(shape) + _EACH


def _size_error() -> InvalidModelFile:
    return InvalidModelFile("its config describes far more weights than the file contains")
