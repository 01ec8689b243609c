"""Normalization of vectors to length 1, in a form that devices run as one operation."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_number


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class L2Normalization(keras.layers.Layer):
    """Divide each vector along the last axis by its Euclidean length.

    `keras.layers.UnitNormalization` computes the same, but this layer converts to a single
    `L2_NORMALIZATION` operation, which has an integer kernel.

    Args:
        epsilon: Smallest squared length to divide by, so that a vector of zeros stays zero.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of shape `(..., channels)`.

    Returns:
        A tensor of the same shape, computed in float32 and returned in the dtype of `inputs`.

    Example:
        >>> import numpy as np
        >>> np.asarray(L2Normalization()(np.array([[3.0, 4.0]], "float32"))).round(3).tolist()
        [[0.6..., 0.8...]]
    """

    def __init__(self, epsilon: float = 1e-12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = check_number("epsilon", epsilon, above=0)

    def call(self, inputs: Any) -> Any:
        """Return `inputs / sqrt(max(sum(inputs ** 2), epsilon))`."""
        normalized = backend.l2_normalize(ops.cast(inputs, "float32"), self.epsilon)
        return ops.cast(normalized, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "epsilon": self.epsilon}
