"""Normalization of each value by its neighbors along the channels."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each value by a power of the energy of the neighboring channels at its position.

        y_c = x_c / (bias + alpha * s_c)^beta
        s_c = sum of x^2 over the channels from c - depth_radius to c + depth_radius

    Introduced by AlexNet, and since replaced by batch normalization. Device runtimes have no
    integer kernel for it, so it stays in float in an int8 file.

    Args:
        depth_radius: Number of channels on each side (n / 2 in the paper).
        bias: k in the paper.
        alpha: Weight of the sum.
        beta: The exponent.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        The same shape.

    Raises:
        ValueError: If an argument is not above 0.

    Example:
        >>> import numpy as np
        >>> layer = LocalResponseNormalization(depth_radius=1, bias=1.0, alpha=1.0, beta=1.0)
        >>> keras.ops.convert_to_numpy(layer(np.ones((1, 1, 1, 3)))).round(3).ravel().tolist()
        [0.3330000042915344, 0.25, 0.3330000042915344]

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012, section 3.3
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depth_radius = check_integer("depth_radius", depth_radius)
        self.bias = check_number("bias", bias, above=0)
        self.alpha = check_number("alpha", alpha, above=0)
        self.beta = check_number("beta", beta, above=0)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: Any) -> Any:
        """Return the normalized maps."""
        return backend.local_response_normalization(
            inputs, self.depth_radius, self.bias, self.alpha, self.beta
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("depth_radius", "bias", "alpha", "beta")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
