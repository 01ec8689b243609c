"""Pixels to the numbers that an input tensor holds, and an output tensor's numbers to reals."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite.graph import Tensor

Encoder = Callable[[np.ndarray], np.ndarray]

_INTEGERS = ("uint8", "int8", "int16")


def encoder(tensor: Tensor, normalization: Normalization | None) -> Encoder:
    """Return what turns uint8 pixels into the numbers that the input tensor holds.

    For float tensors that is the normalisation itself, for integers `pixel_table`.

    Args:
        tensor: The input: float32, uint8, int8 or int16, channels on the last axis.
        normalization: What pixels go through, None if the file does not say it.

    Raises:
        ValueError: If it cannot be told what the tensor holds.
    """
    if tensor.dtype not in ("float32", *_INTEGERS):
        raise ValueError(
            f"the input of an image model is float32, uint8, int8 or int16, got {tensor.dtype}"
        )
    if normalization is None and tensor.dtype in ("float32", "int16"):
        raise ValueError(
            f"the model takes {tensor.dtype} and its file does not say what pixels go through: "
            "pass mean= and std= in pixel units (0 and 1 for pixels from 0 to 255 as they are)"
        )
    if tensor.dtype == "float32" and normalization is not None:
        return normalization
    table = pixel_table(tensor, normalization)
    if table.dtype == np.uint8 and np.array_equal(table, np.arange(256)):
        return _unchanged
    return table.take if table.ndim == 1 else functools.partial(_take_by_channel, table)


def pixel_table(tensor: Tensor, normalization: Normalization | None) -> np.ndarray:
    """Return what an integer input tensor holds for each of the 256 pixel values.

    `clip(round((p - mean) / std / scale) + zero_point)`; where the file says nothing of the one
    or the other, the pixels themselves (signed bytes: less 128).

    Args:
        tensor: The input: uint8, int8 or int16.
        normalization: What pixels go through, or None.

    Returns:
        Array of the tensor's dtype of shape (256,), or (256, channels) where channels differ.

    Raises:
        ValueError: If the tensor's scale is 0.
    """
    pixels = np.arange(256)
    if normalization is None or not tensor.scales:
        return (pixels - (128 if tensor.dtype == "int8" else 0)).astype(tensor.dtype)
    if tensor.scales[0] == 0:
        raise ValueError("the input tensor has the scale 0; it must be above 0")
    columns = 1 if normalization.is_scalar else len(normalization.mean)
    mean, std = np.array(normalization.mean)[:columns], np.array(normalization.std)[:columns]
    # In float64: steps of the float32 formula would fall on the wrong side of a half.
    stored = np.round((pixels[:, None] - mean) / (std * tensor.scales[0])) + tensor.zero_points[0]
    limits = np.iinfo(tensor.dtype)
    table = np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
    return table[:, 0] if columns == 1 else table


def _unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _take_by_channel(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(table.shape[1]):
        out[..., channel] = table[:, channel].take(pixels[..., channel])
    return out


def decoder(tensor: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Return `dequantize` for this tensor, as one table lookup where eight bits allow it.

    Args:
        tensor: The description of an output.
    """
    if tensor.dtype not in ("uint8", "int8") or len(tensor.scales) != 1:
        return lambda values: dequantize(values, tensor)
    stored = np.arange(256, dtype=np.uint8).view(tensor.dtype)
    table = dequantize(stored, tensor)
    return lambda values: table[values.view(np.uint8)]


def quantize(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return real numbers as a tensor stores them; rounded half to even, and clipped.

    Args:
        values: Real numbers.
        tensor: The description of a tensor with one scale, or of floats.
    """
    if not tensor.scales:
        return values.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    codes = np.round(values / np.float32(tensor.scales[0])) + tensor.zero_points[0]
    return codes.clip(limits.min, limits.max).astype(tensor.dtype)


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
