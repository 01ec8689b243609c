"""Scores by the distance of features to a fixed code of each class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import is_whole, positive_int


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RadialBasisOutput(keras.layers.Layer):
    """Minus the squared distance of features to the code of each class.

        y_i = - sum_j (x_j - w_ij)^2,     w_ij = 1 or -1, not trained

    LeNet-5's output. Its codes were drawings of characters; here they are drawn at random, which
    are as far apart in many dimensions.

    Args:
        units: How many classes.
        seed: Seed of the codes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: `(batch, features)`.

    Returns:
        `(batch, units)`, logits for a softmax: the code of the largest is the nearest.

    Raises:
        ValueError: If `units` is no whole number above 0.

    Example:
        >>> import numpy as np
        >>> layer = RadialBasisOutput(3)
        >>> scores = layer(np.zeros((1, 5)))  # as far from every code
        >>> ops.convert_to_numpy(scores).tolist()
        [[-5.0, -5.0, -5.0]]

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
        IEEE 1998, equation 7
    """

    def __init__(self, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        if not is_whole(seed) or seed < 0:
            raise ValueError(f"seed must be a whole number from 0. Received: {seed!r}")
        self.seed = int(seed)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Draw the codes."""
        features = input_shape[-1]
        if features is None:
            raise ValueError("RadialBasisOutput needs to know the number of features.")
        codes = np.random.default_rng(self.seed).choice([-1.0, 1.0], (features, self.units))
        self.codes = self.add_weight(
            codes.shape, lambda shape, dtype: ops.convert_to_tensor(codes, dtype),
            trainable=False, name="codes",
        )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Return minus the squared distances."""
        codes = ops.convert_to_tensor(self.codes)
        crossed = ops.matmul(inputs, codes)
        lengths = ops.sum(ops.square(inputs), axis=-1, keepdims=True)
        return 2 * crossed - lengths - ops.sum(ops.square(codes), axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "units": self.units, "seed": self.seed}
