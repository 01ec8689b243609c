"""A marker where values change from one range to another on an integer device."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RangeBridge(keras.layers.Layer):
    """Identity that becomes one operation on a device, so that its output has its own range.

    Integer kernels that only move values (concatenation, stacking, maximum) have a single range for
    inputs and output. TensorFlow's converter can requantize an input with another range only if an
    integer kernel produces it; otherwise it fails, or silently uses one input's range for all. A
    depthwise convolution with 1 is a kernel that rounds to any required range.

    Args:
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of rank 2 or more, with fixed sizes except for the batch.

    Returns:
        The inputs.

    Example:
        >>> import numpy as np
        >>> RangeBridge()(np.array([[1.0, -2.0]], "float32")).shape == (1, 2)
        True
    """

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

    def bake(self) -> keras.layers.Layer:
        """Return the layer as it runs on a device."""
        return _ConvolutionByOne(name=self.name)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape


class _ConvolutionByOne(keras.layers.Layer):
    """A 1x1 depthwise convolution with 1; other inputs are treated as images of one column."""

    def call(self, inputs: Any) -> Any:
        *places, channels = inputs.shape[1:]
        image = inputs
        if len(places) != 2:
            image = ops.reshape(inputs, (-1, math.prod(places), 1, channels))
        image = ops.depthwise_conv(image, ops.ones((1, 1, channels, 1), inputs.dtype))
        return image if len(places) == 2 else ops.reshape(image, (-1, *inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
