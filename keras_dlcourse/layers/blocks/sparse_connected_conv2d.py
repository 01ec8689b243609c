"""A convolution in which each filter sees only some of the input channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer, check_one_of


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SparseConnectedConv2D(keras.layers.Layer):
    """Convolution with a table of connections; unconnected channels have no weights at all.

    Args:
        connections: For each filter, the numbers of the input channels that it sees.
        kernel_size: Height and width of the kernels.
        padding: `"valid"` or `"same"`.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, new height, new width, filters)`.

    Raises:
        ValueError: If the table is empty, lists a channel twice, or lists a channel that the input
            does not have.

    Example:
        >>> layer = SparseConnectedConv2D([(0, 1), (1, 2), (0, 1, 2)], kernel_size=5)
        >>> layer(keras.Input((14, 14, 3))).shape
        (None, 10, 10, 3)
        >>> layer.count_params()  # 7 connections of 5x5, and 3 biases
        178

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
        IEEE 1998, table I
    """

    def __init__(
        self,
        connections: Sequence[Sequence[int]],
        kernel_size: int,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connections = [
            [check_integer("connections", channel, least=0) for channel in row]
            for row in connections
        ]
        if not self.connections or not all(self.connections):
            raise ValueError("connections must name channels for each filter. Received: "
                             f"{connections!r}")  # fmt: skip
        for row in self.connections:
            if len(set(row)) < len(row):
                raise ValueError(f"connections must name each channel once. Received: {row}")
        self.kernel_size = check_integer("kernel_size", kernel_size)
        self.padding = check_one_of("padding", padding, ("same", "valid"))
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create a weight for each connection."""
        channels, filters = input_shape[-1], len(self.connections)
        pairs = [(channel, k) for k, row in enumerate(self.connections) for channel in row]
        if channels is None or max(pairs)[0] >= channels:
            raise ValueError(
                f"connections name channel {max(pairs)[0]}, but the input has {channels} channels."
            )
        size = self.kernel_size
        spread = np.sqrt(6 / (size * size * (len(pairs) / filters + len(pairs) / channels)))
        self.kernel = self.add_weight(
            (size, size, len(pairs)),
            keras.initializers.RandomUniform(-spread, spread),
            name="kernel",
        )
        self.offset = self.add_weight((filters,), "zeros", name="bias")
        # Index of the weight for each entry of the full kernel; the last index is an appended zero.
        self.places = np.full((channels, filters), len(pairs), "int32")
        for number, pair in enumerate(pairs):
            self.places[pair] = number
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def call(self, inputs: Any) -> Any:
        """Apply the convolution; see the class for shapes."""
        kernel = ops.convert_to_tensor(self.kernel)
        kernel = ops.concatenate([kernel, ops.zeros_like(kernel[..., :1])], axis=-1)
        kernel = ops.take(kernel, self.places, axis=-1)
        outputs = ops.conv(inputs, kernel, padding=self.padding, data_format="channels_last")
        return outputs + self.offset

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, new height, new width, filters)`."""
        batch, *sizes, _ = input_shape
        lost = self.kernel_size - 1 if self.padding == "valid" else 0
        return batch, *(None if s is None else s - lost for s in sizes), len(self.connections)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("connections", "kernel_size", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
