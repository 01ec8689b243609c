"""Pixels to the numbers that an input tensor holds, and an output tensor's numbers to reals."""

from __future__ import annotations

import numpy as np

from keras_dlcourse.edge.graph import Tensor
from keras_dlcourse.edge.normalization import Normalization

_INTEGERS = ("uint8", "int8", "int16")


def input_table(tensor: Tensor, normalization: Normalization | None) -> np.ndarray | None:
    """Return what the input tensor holds for each of the 256 pixel values.

    For float tensors that is `(p - mean) / std`, for integers
    `clip(round((p - mean) / std / scale) + zero_point)`. Integer tensors whose file says nothing
    of the one or the other hold the pixels themselves (signed bytes: less 128).

    Args:
        tensor: The input: float32, uint8, int8 or int16.
        normalization: What pixels go through.

    Returns:
        Array of shape (256,) or (256, channels) of the tensor's dtype; None if the tensor holds
        the pixels as they are.

    Raises:
        ValueError: If it cannot be told what the tensor holds.
    """
    pixels = np.arange(256)
    if tensor.dtype == "float32":
        if normalization is None:
            raise ValueError(
                "the model takes float32 and its file does not say what pixels go through: pass "
                "mean= and std= in pixel units (0 and 1 for pixels from 0 to 255 as they are)"
            )
        table = _normalized(pixels, normalization)
    elif tensor.dtype not in _INTEGERS:
        raise ValueError(
            f"the input of an image classifier is float32, uint8, int8 or int16, got {tensor.dtype}"
        )
    elif tensor.scales and normalization is not None:
        table = _quantized(_normalized(pixels, normalization), tensor)
    elif tensor.dtype == "int16":
        raise ValueError(
            "the model takes int16 and its file does not say what pixels go through: pass mean= "
            "and std= in pixel units"
        )
    else:
        table = pixels - (128 if tensor.dtype == "int8" else 0)
    table = table.astype(tensor.dtype)
    return None if table.dtype == np.uint8 and np.array_equal(table, pixels) else table


def apply_table(table: np.ndarray | None, pixels: np.ndarray) -> np.ndarray:
    """Return the table's entry for each pixel.

    Args:
        table: What `input_table` gave.
        pixels: uint8 array of shape (..., channels).
    """
    if table is None:
        return pixels
    if table.ndim == 1:
        return table.take(pixels)
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(table.shape[1]):
        out[..., channel] = table[:, channel].take(pixels[..., channel])
    return out


def dequantize(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return `scale * (stored - zero point)` as float32; floats as they are.

    Args:
        values: What the tensor held.
        tensor: Its description.
    """
    if not tensor.scales or values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    shape = [1] * values.ndim
    if len(tensor.scales) > 1:
        shape[tensor.quantized_dimension] = -1
    scales = np.array(tensor.scales, np.float32).reshape(shape)
    zero_points = np.array(tensor.zero_points, np.int32).reshape(shape)
    return (values.astype(np.int32) - zero_points).astype(np.float32) * scales


def _normalized(pixels: np.ndarray, normalization: Normalization) -> np.ndarray:
    """Return shape (256,), or (256, channels) where channels differ."""
    if normalization.is_scalar:
        normalization = Normalization(normalization.mean[0], normalization.std[0])
        return normalization(pixels)
    return normalization(np.repeat(pixels[:, None], len(normalization.mean), axis=1))


def _quantized(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.scales[0] <= 0:
        raise ValueError(f"the input tensor's scale is {tensor.scales[0]}; it must be above 0")
    limits = np.iinfo(tensor.dtype)
    stored = np.round(values.astype(np.float64) / tensor.scales[0]) + tensor.zero_points[0]
    return np.clip(stored, limits.min, limits.max)
