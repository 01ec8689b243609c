"""Token numbers, such as those that an `Embedding` takes: they are never quantized."""

from __future__ import annotations

from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.export.inputs.kind import Kind, ModelInput
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.tables import describe_tensor


def _recognize(given: ModelInput) -> bool:
    return "int" in given.dtype  # and not an image, which is asked first


def _describe(given: Input, tensor: Tensor) -> Table:
    return describe_tensor(given.name or "tokens", "Token numbers.")


TOKENS = Kind(_recognize, _describe, dtype="int32")
