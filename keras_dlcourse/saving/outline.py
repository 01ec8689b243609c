"""A model built from its config without memory for its weights, which may be said to be huge."""

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

# Sizes are counted in numbers. A variable is work and memory by itself, whatever it holds, and a
# model may have some that it does not save, such as the states of random numbers.
_EACH = 2**10
_SPARE = 2**20


def outline(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], stored: Shapes
) -> keras.Model:
    """Build a model that can be looked at and not run.

    Args:
        config: The checked config.
        custom_objects: What it may name besides the parts of Keras and those registered.
        stored: The shapes in the file. Building stops where a model has far more.

    Raises:
        InvalidModelFile: If it does.
    """
    limit = 2 * sum(map(_size, stored.values())) + _SPARE
    variables = _Counted(limit)
    with weightless(variables):
        try:
            with ObjectSharingScope():  # as Keras does when it loads: shared layers stay shared
                return keras.saving.deserialize_keras_object(
                    _without_compile(config), custom_objects=custom_objects
                )
        finally:
            if variables.size > limit:  # whatever Keras made of the error on its way
                raise _too_many()


def _without_compile(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without optimizers, whose first variables do have values."""
    plain = copy.deepcopy(dict(config))
    for _, value in walk(plain):
        if isinstance(value, dict):
            value.pop("compile_config", None)
    return plain


class _Counted(list):
    """Variables without values; Keras appends each as it is made."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.size = 0

    def append(self, variable: Any) -> None:
        """Count its numbers before anything is built on it."""
        self.size += _size(variable.shape)
        if self.size > self.limit:
            raise _too_many()
        super().append(variable)


def _size(shape: Iterable[int]) -> int:
    return math.prod(shape) + _EACH


def _too_many() -> InvalidModelFile:
    return InvalidModelFile("its config describes far more weights than the file holds")
