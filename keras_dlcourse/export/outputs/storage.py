"""How a file stores numbers."""

from __future__ import annotations

from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.outputs.kind import FLOAT, HALF, INTEGER


def storage_of(file: ModelFile) -> str:
    """Return how a file stores numbers, determined from its graph."""
    quantized = [tensor for tensor in file.tensors if tensor.scales]
    if any(not tensor.is_constant for tensor in quantized):
        return INTEGER
    small = any(tensor.dtype == "float16" for tensor in file.tensors)
    return HALF if small or quantized else FLOAT
