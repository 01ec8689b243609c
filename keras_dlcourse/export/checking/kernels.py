"""Whether the kernels of a file are those of a model, judged by the signs of their weights.

Rounding, clipping and rescaling of channels (bias correction, equalization, any scale) leave the
sign of every weight that is not stored as 0 as it was. In a kernel of other weights, up to half of
the signs differ.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import dequantize
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph
from keras_dlcourse.graph.kernel_layers import DEPTHWISE, KERNEL_LAYERS, open_layers

ALIKE = 0.99
"""Fraction of equal signs below which a kernel is certainly not the model's.

Training flips signs, too: a file of the same network before or after more training is below it.
"""

_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_FEWEST = 8  # weights of a kernel that is compared
_OUTPUT_AXES = {kind: axis for kind, _, axis in KERNEL_LAYERS}


def measure_likeness(kernels: Iterable[np.ndarray], file: ModelFile) -> float | None:
    """Return the lowest fraction of equal signs among the kernels of a file.

    Each kernel of the file is compared with the most similar one of its shape, so that neither the
    order of the operators nor kernels that only one of both has can make a difference.

    Args:
        kernels: The kernels of a model, from `list_kernels` or `find_kernels`.
        file: The file.

    Returns:
        A fraction from 0 to 1; 1.0 for the model's own weights, however they are stored; None if
        no kernel can be compared.
    """
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
    for kernel in kernels:
        by_shape.setdefault(_find_shape(kernel), []).append(np.sign(kernel).ravel())
    found = [
        max(_count_equal(signs, stored) for signs in by_shape[_find_shape(kernel)])
        for kernel in list_kernels(file)
        if _find_shape(kernel) in by_shape
        and np.count_nonzero(stored := np.sign(kernel).ravel()) >= _FEWEST
    ]
    return min(found, default=None)


def list_kernels(file: ModelFile) -> list[np.ndarray]:
    """Return the kernels that a file stores, as real numbers, in the layout of `.tflite` files."""
    places = {op.inputs[1] for op in file.operators if op.name in _OPERATORS}
    tensors = [file.tensors[place] for place in sorted(places)]
    return [
        dequantize(np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape), tensor)
        for tensor in tensors
        if tensor.is_constant and tensor.dtype in ("float32", "int8", "uint8")
    ]


def find_kernels(model: keras.Model) -> list[np.ndarray] | None:
    """Return the kernels that a model's file would have; None if they are hidden in its `call`."""
    try:
        graph = Graph(fold_batch_norm(open_layers(model).model))
    except (TypeError, ValueError):
        return None
    layers = {id(node.operation): node.operation for node in graph.nodes}.values()
    return [_arrange(layer) for layer in layers if type(layer) in _OUTPUT_AXES]


def _arrange(layer: keras.layers.Layer) -> np.ndarray:
    """Return a kernel in the layout of `.tflite` files."""
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), "float32")
    if isinstance(layer, DEPTHWISE):  # (..., channels, multiplier)
        return kernel.reshape(*kernel.shape[:-2], -1)
    return np.moveaxis(kernel, _OUTPUT_AXES[type(layer)], 0)


def _find_shape(kernel: np.ndarray) -> tuple[int, ...]:
    """Return the shape without axes of length 1, which a Dense and a 1x1 convolution differ in."""
    return tuple(length for length in kernel.shape if length != 1)


def _count_equal(signs: np.ndarray, stored: np.ndarray) -> float:
    """Return the fraction of equal signs among the weights that are not stored as 0."""
    there = stored != 0
    return float((signs[there] == stored[there]).mean())
