"""Vectors, sequences and other arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable

from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.export.inputs.kind import Kind, ModelInput
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.tables import describe_tensor


def _describe_as(name: str, text: str) -> Callable[[Input, Tensor], Table]:
    return lambda given, tensor: describe_tensor(given.name or name, text)


def _is_vector(given: ModelInput) -> bool:
    return len(given.shape) == 1


def _is_sequence(given: ModelInput) -> bool:
    return len(given.shape) == 2


def _is_anything(given: ModelInput) -> bool:
    return True


VECTOR = Kind(_is_vector, _describe_as("vector", "A vector."))
SEQUENCE = Kind(_is_sequence, _describe_as("sequence", "A sequence: steps, values of each step."))
NUMBERS = Kind(_is_anything, _describe_as("values", "Values."))
