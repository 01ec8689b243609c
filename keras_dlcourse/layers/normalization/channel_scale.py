"""A trained factor and offset for each channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ChannelScale(keras.layers.Layer):
    """Multiply each channel by a trained factor, and optionally add a trained offset.

    This is the scale and offset part of layer normalization, and the layer scale of ConvNeXt. On an
    integer device it becomes a single 1x1 depthwise convolution.

    Args:
        use_offset: Whether to add an offset.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A tensor of shape `(..., channels)`.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> layer = ChannelScale()
        >>> layer(np.ones((1, 2, 3), "float32")).shape == (1, 2, 3)
        True

    Reference:
        Touvron et al., "Going deeper with Image Transformers", ICCV 2021,
        https://arxiv.org/abs/2103.17239 (LayerScale)
    """

    def __init__(self, use_offset: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_offset = bool(use_offset)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the factors, all 1, and the offsets, all 0."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "ChannelScale needs to know the number of channels (the last axis) when it is "
                f"built. Received: input_shape={tuple(input_shape)}"
            )
        self.factor = self.add_weight(name="factor", shape=(channels,), initializer="ones")
        self.offset = None
        if self.use_offset:
            self.offset = self.add_weight(name="offset", shape=(channels,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Return `inputs * factor + offset`."""
        scaled = ops.multiply(inputs, ops.cast(self.factor, inputs.dtype))
        if self.offset is None:
            return scaled
        return ops.add(scaled, ops.cast(self.offset, inputs.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "use_offset": self.use_offset}
