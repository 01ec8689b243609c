"""A place at which numbers stay in float on their way to an integer device."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_HIGHEST = 6.0e4  # a number that float16 has, above all that networks compute with


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class FloatBarrier(keras.layers.Layer):
    """Identity that keeps the layer before it in float when everything around is integer.

    TensorFlow's converter makes each operation integer whose inputs and outputs are rounded, and
    carries ranges over operations that keep them. It stops at a negation, which has no integer
    kernel; what stands between the two keeps it from dropping both.

    Args:
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of any shape, with numbers above -60,000.

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
