"""Scores from the distance between features and a fixed code of each class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RadialBasisOutput(keras.layers.Layer):
    """Negative squared distance between the features and the code of each class.

        y_i = - sum_j (x_j - w_ij)^2,     w_ij = 1 or -1, not trained

    The output layer of LeNet-5. Its codes were bitmaps of characters; here they are random, which
    puts them equally far apart in many dimensions.

    Args:
        units: Number of classes.
        seed: Random seed of the codes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: `(batch, features)`.

    Returns:
        `(batch, units)`, logits for a softmax: the largest belongs to the nearest code.

    Raises:
        TypeError: If `units` is not an integer.
        ValueError: If `units` is below 1.

    Example:
        >>> import numpy as np
        >>> layer = RadialBasisOutput(3)
        >>> scores = layer(np.zeros((1, 5)))  # equally far from every code
        >>> ops.convert_to_numpy(scores).tolist()
        [[-5.0, -5.0, -5.0]]

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
        IEEE 1998, equation 7
    """

    def __init__(self, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_integer("units", units)
        self.seed = check_integer("seed", seed, least=0)
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
        """Return the negative squared distances."""
        codes = ops.convert_to_tensor(self.codes)
        crossed = ops.matmul(inputs, codes)
        lengths = ops.sum(ops.square(inputs), axis=-1, keepdims=True)
        return 2 * crossed - lengths - ops.sum(ops.square(codes), axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "units": self.units, "seed": self.seed}
