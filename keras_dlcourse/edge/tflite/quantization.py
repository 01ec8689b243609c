"""Convert pixels to the stored values of an input tensor, and output tensors to real values."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite.graph import Tensor

Encoder = Callable[[np.ndarray], np.ndarray]

_INTEGERS = ("uint8", "int8", "int16")


def encoder(tensor: Tensor, normalization: Normalization | None) -> Encoder:
    """Return the function from uint8 pixels to the stored values of the input tensor.

    For float tensors, it is the normalization itself; for integers, a lookup in `pixel_table`.

    Args:
        tensor: The input: float32, uint8, int8 or int16, channels on the last axis.
        normalization: The normalization applied to pixels, or None if the file does not state it.

    Raises:
        ValueError: If the type is not supported, or the normalization is required but unknown.
    """
    if tensor.dtype not in ("float32", *_INTEGERS):
        raise ValueError(
            "the input of an image model must be float32, uint8, int8 or int16. Received: "
            f"{tensor.dtype}"
        )
    if normalization is None and tensor.dtype in ("float32", "int16"):
        raise ValueError(
            f"the model takes {tensor.dtype}, and its file does not state the normalization of "
            "pixels. Pass mean= and std= in pixel units (0 and 1 for unchanged pixels from 0 to "
            "255)."
        )
    if tensor.dtype == "float32" and normalization is not None:
        return normalization
    table = pixel_table(tensor, normalization)
    if table.dtype == np.uint8 and np.array_equal(table, np.arange(256)):
        return _keep_pixels
    return table.take if table.ndim == 1 else functools.partial(_take_by_channel, table)


def pixel_table(tensor: Tensor, normalization: Normalization | None) -> np.ndarray:
    """Return the stored value of an integer input tensor for each of the 256 pixel values.

    `clip(round((p - mean) / std / scale) + zero_point)`; if the normalization or the scale is
    unknown, the pixels themselves (minus 128 for int8).

    Args:
        tensor: The input: uint8, int8 or int16.
        normalization: The normalization applied to pixels, or None.

    Returns:
        Array of the tensor's dtype of shape (256,), or (256, channels) if channels differ.

    Raises:
        ValueError: If the tensor's scale is 0.
    """
    pixels = np.arange(256)
    if normalization is None or not tensor.scales:
        return (pixels - (128 if tensor.dtype == "int8" else 0)).astype(tensor.dtype)
    if tensor.scales[0] == 0:
        raise ValueError("the input tensor has scale 0; it must be above 0")
    columns = 1 if normalization.is_scalar else len(normalization.mean)
    mean, std = np.array(normalization.mean)[:columns], np.array(normalization.std)[:columns]
    # Use float64 because the float32 formula would round some values at .5 the wrong way.
    stored = np.round((pixels[:, None] - mean) / (std * tensor.scales[0])) + tensor.zero_points[0]
    limits = np.iinfo(tensor.dtype)
    table = np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
    return table[:, 0] if columns == 1 else table


def _keep_pixels(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _take_by_channel(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(table.shape[1]):
        out[..., channel] = table[:, channel].take(pixels[..., channel])
    return out


def decoder(tensor: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Return `dequantize` for this tensor, as a table lookup for 8-bit types with one scale.

    Args:
        tensor: An output tensor.
    """
    if tensor.dtype not in ("uint8", "int8") or len(tensor.scales) != 1:
        return lambda values: dequantize(values, tensor)
    stored = np.arange(256, dtype=np.uint8).view(tensor.dtype)
    table = dequantize(stored, tensor)
    return lambda values: table[values.view(np.uint8)]


def is_quantized(tensor: Tensor) -> bool:
    """Return whether a tensor stores real values as integers."""
    return bool(tensor.scales) and "float" not in tensor.dtype


def quantize(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return real values as stored by a tensor: rounded half to even, and clipped.

    Args:
        values: Real values.
        tensor: A tensor with one scale, or of floats.
    """
    if not is_quantized(tensor):
        return values.astype(tensor.dtype, copy=False)
    limits = np.iinfo(tensor.dtype)
    codes = np.round(values / np.float32(tensor.scales[0])) + tensor.zero_points[0]
    return codes.clip(limits.min, limits.max).astype(tensor.dtype)


def dequantize(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return `scale * (stored - zero point)` as float32; floats are unchanged.

    Args:
        values: Stored values of the tensor.
        tensor: The tensor.
    """
    if not tensor.scales or values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    shape = [1] * values.ndim
    if len(tensor.scales) > 1:
        shape[tensor.quantized_dimension] = -1
    scales = np.array(tensor.scales, np.float32).reshape(shape)
    zero_points = np.array(tensor.zero_points, np.int32).reshape(shape)
    return (values.astype(np.int32) - zero_points).astype(np.float32) * scales
