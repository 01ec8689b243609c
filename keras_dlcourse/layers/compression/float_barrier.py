"""A marker that keeps values in float in a network for an integer device."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_HIGHEST = 6.0e4  # fits in float16, and is larger than the values networks compute with


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class FloatBarrier(keras.layers.Layer):
    """Identity that keeps the layer before it in float when everything around it is integer.

    TensorFlow's converter makes an operation integer if its inputs and outputs are rounded, and
    propagates ranges through operations that preserve them. It stops at a negation, which has no
    integer kernel; the minimum between the two negations keeps it from removing both.

    Args:
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of any shape, with values above -60,000.

    Returns:
        The inputs.

    Example:
        >>> import numpy as np
        >>> FloatBarrier()(np.array([1.0, -2.0], "float32")).shape == (2,)
        True
    """

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return ops.negative(ops.minimum(ops.negative(inputs), ops.cast(_HIGHEST, inputs.dtype)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape
