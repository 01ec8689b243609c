"""Cosines between embeddings and one trained direction per class."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer

_SHORTEST = 1e-6  # squared length; shorter vectors are treated as this long, for finite gradients


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class CosineDense(keras.layers.Layer):
    """Cosine between each embedding and each of `units` trained directions.

    A dense layer without bias whose inputs and columns are normalized to length 1. The columns are
    the classes of `kd.losses.ArcFace` and `CosFace` or the proxies of `kd.losses.ProxyAnchor`. It
    is a head for training: on the device the model ends with the embeddings before it.

    Args:
        units: Number of directions, such as classes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of shape `(..., channels)`.

    Returns:
        A tensor of shape `(..., units)`, from -1 to 1, computed in float32. With mixed precision
        it is rounded to half precision at the end; `dtype="float32"` keeps full precision.

    Example:
        >>> import numpy as np
        >>> layer = CosineDense(2)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.array([[5.0, 0.0], [0.0, 0.1]])])  # columns of any length
        >>> np.asarray(layer(np.array([[3.0, 4.0]], "float32"))).round(3).tolist()
        [[0.6..., 0.8...]]
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_integer("units", units)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the directions, spread evenly over the sphere."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "CosineDense needs to know the number of channels (the last axis) when it is "
                f"built. Received: input_shape={tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            name="kernel", shape=(channels, self.units), initializer="glorot_normal"
        )

    def call(self, inputs: Any) -> Any:
        """Return the cosines."""
        columns = ops.transpose(ops.cast(self.kernel, "float32"))
        columns = ops.transpose(backend.l2_normalize(columns, _SHORTEST))
        rows = backend.l2_normalize(ops.cast(inputs, "float32"), _SHORTEST)
        return ops.cast(ops.matmul(rows, columns), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape with `units` in place of the channels."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "units": self.units}
