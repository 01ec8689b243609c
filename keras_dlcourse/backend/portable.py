"""Fake quantization in `keras.ops`, for every backend.

A value x in the range [low, high] is represented in eight bits by the code

    q = round(x / scale) + zero_point,   scale = (high - low) / (255 - first)

where `first` is 0, or 1 for a narrow range, which omits one code so that a symmetric range has
equally many codes below and above zero. The range is first nudged so that 0 is represented exactly.
The result is `(q - zero_point) * scale`: floats that an integer kernel can represent.

Gradients are straight-through (Bengio et al., 2013, https://arxiv.org/abs/1308.3432): 1 inside
the nudged range, 0 outside.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

LAST_CODE = 255


def fake_quantize(x: Any, low: Any, high: Any, narrow: bool = False) -> Any:
    """Round values to the 256 codes of a range.

    Args:
        x: A float32 tensor.
        low: Lower end of the range, at most 0: a scalar, or a tensor that broadcasts against `x`.
        high: Upper end of the range, at least 0, with the same shape as `low`.
        narrow: Whether to omit the lowest code, as integer kernels require for weights.

    Returns:
        A float32 tensor of the shape of `x`; zeros where `low` and `high` are both 0.
    """
    first = 1.0 if narrow else 0.0
    scale = (high - low) / (LAST_CODE - first)
    empty = scale == 0
    scale = ops.where(empty, ops.ones_like(scale), scale)
    zero_point = ops.floor(ops.clip(first - low / scale, first, float(LAST_CODE)) + 0.5)
    nudged_low = (first - zero_point) * scale
    nudged_high = (LAST_CODE - zero_point) * scale
    clipped = ops.clip(x, nudged_low, nudged_high)
    codes = ops.floor((clipped - nudged_low) * (1 / scale) + 0.5) + first
    # Weights that are all 0 keep a gradient, otherwise they would stay 0 forever.
    passes = ops.logical_or(empty, ops.logical_and(x >= nudged_low, x <= nudged_high))
    numbers = ops.where(empty, ops.zeros_like(x), (codes - zero_point) * scale)
    # Comparisons instead of the gradient of clip, which differs between backends at the ends.
    return ops.stop_gradient(numbers) + ops.where(passes, x - ops.stop_gradient(x), 0.0)


def fake_quantize_per_channel(weights: Any, axis: int | tuple[int, ...]) -> Any:
    """Round weights to 255 codes, symmetric around 0, with a scale for each index along `axis`.

    Args:
        weights: A float32 tensor.
        axis: The axis of the output channels, or several axes that together form the channels.

    Returns:
        A tensor of the same shape.
    """
    rank = len(weights.shape)
    axes = [number % rank for number in ((axis,) if isinstance(axis, int) else axis)]
    others = [number for number in range(rank) if number not in axes]
    largest = ops.stop_gradient(ops.max(ops.abs(weights), axis=others, keepdims=True))
    return fake_quantize(weights, -largest, largest, narrow=True)


def fake_quantize_learned(x: Any, low: Any, high: Any) -> Any:
    """Round values to the 256 codes of a learned range, which receives gradients itself.

    The gradient of the step size is that of LSQ: the rounding error inside the range, the code
    outside (Esser et al., "Learned Step Size Quantization", ICLR 2020,
    https://arxiv.org/abs/1902.08153; with an offset: Bhalgat et al., 2020).

    Args:
        x: A float32 tensor.
        low: Lower end of the range, a scalar of at most 0.
        high: Upper end of the range, a scalar of at least 0.

    Returns:
        A tensor of the shape of `x`.
    """
    scale = ops.maximum(high - low, 1e-8) / LAST_CODE
    zero_point = _round(-low / scale)
    codes = _round(x / scale) + zero_point
    # No clip, because its gradient at the ends depends on the backend.
    codes = ops.where(codes < 0, 0.0, ops.where(codes > LAST_CODE, float(LAST_CODE), codes))
    return (codes - zero_point) * scale


def _round(x: Any) -> Any:
    """Round with a gradient of 1."""
    return x + ops.stop_gradient(ops.floor(x + 0.5) - x)


def l2_normalize(x: Any, epsilon: float) -> Any:
    """Normalize vectors along the last axis to length 1, with squared lengths of >= `epsilon`."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, epsilon))


def local_response_normalization(
    x: Any, depth_radius: int, bias: float, alpha: float, beta: float
) -> Any:
    """Divide each value by a power of the sum of squares of neighboring channels.

    Args:
        x: `(..., channels)`.
        depth_radius: Number of neighboring channels on each side.
        bias: Added to the weighted sum.
        alpha: Weight of the sum of squares.
        beta: The exponent.
    """
    number = np.arange(x.shape[-1])
    near = np.abs(number[:, None] - number) <= depth_radius
    total = ops.matmul(ops.square(x), ops.convert_to_tensor(near.astype("float32"), x.dtype))
    return x / ops.power(bias + alpha * total, beta)


def list_devices() -> list[str]:
    """Return the names of the devices that can share batches: all accelerators, or all CPUs."""
    return list(keras.distribution.list_devices())
