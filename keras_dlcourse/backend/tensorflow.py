"""Fake quantization by TensorFlow's fused operations, which its converter knows.

The same numbers as `portable`, in one pass over memory; see there for the formula.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def fake_quantize(x: Any, low: Any, high: Any, narrow: bool = False) -> Any:
    """Round numbers to the 256 codes of a range given by two scalars; see `portable`."""
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high, narrow_range=narrow)


def fake_quantize_per_channel(weights: Any, axis: int) -> Any:
    """Round weights to 255 codes with a scale for each index along `axis`; see `portable`."""
    axis %= len(weights.shape)
    last = len(weights.shape) - 1
    order = [number for number in range(last + 1) if number != axis] + [axis]
    channels_last = weights if axis == last else tf.transpose(weights, order)
    # The operation takes one axis besides the channels.
    rows = tf.reshape(channels_last, (-1, weights.shape[axis]))
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(rows), axis=0))
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        rows, -largest, largest, narrow_range=True
    )
    rounded = tf.reshape(rounded, tf.shape(channels_last))
    if axis == last:
        return rounded
    return tf.transpose(rounded, [order.index(number) for number in range(last + 1)])


def l2_normalize(x: Any, epsilon: float) -> Any:
    """Divide vectors along the last axis by their length; the converter knows this form."""
    return tf.math.l2_normalize(x, axis=-1, epsilon=epsilon)
