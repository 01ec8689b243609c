"""A small network applied at each position of an image instead of a linear filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.layers.blocks._composite import (
    CompositeLayer,
    build_chain,
    convolution_and_relu,
    run_chain,
)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MLPConv2D(CompositeLayer):
    """A convolution followed by 1x1 convolutions: a multilayer perceptron at every position.

    The first convolution reads a patch; the others act as dense layers on its output at each
    position, all with ReLU. So each patch passes through a nonlinear function, while a plain
    convolution applies a linear one.

    Args:
        filters: Output channels of the convolution and of each 1x1 convolution after it.
        kernel_size: Height and width of the patches.
        strides: Step between patches.
        padding: `"same"` or `"valid"`.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, new height, new width, filters[-1])`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> MLPConv2D((16, 12, 8), 5)(np.zeros((1, 10, 10, 3))).shape[1:] == (10, 10, 8)
        True

    Reference:
        Lin, Chen and Yan, "Network In Network", ICLR 2014, https://arxiv.org/abs/1312.4400
    """

    def __init__(
        self,
        filters: Sequence[int],
        kernel_size: int,
        strides: int = 1,
        padding: str = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(filters, Sequence) or not filters:
            error = ValueError if isinstance(filters, Sequence) else TypeError
            raise error(f"filters must be one number per layer. Received: {filters!r}")
        self.filters = tuple(check_integer("filters", number) for number in filters)
        self.kernel_size = check_integer("kernel_size", kernel_size)
        self.strides = check_integer("strides", strides)
        self.padding = check_one_of("padding", padding, ("same", "valid"))
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.chain: list[keras.layers.Layer] = []
        for number, channels in enumerate(self.filters, 1):
            patch = (self.kernel_size, self.strides) if number == 1 else (1, 1)
            self.chain += convolution_and_relu(
                self, channels, patch[0], str(number), patch[1], self.padding
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights."""
        build_chain(self.chain, input_shape)

    def call(self, inputs: Any) -> Any:
        """Apply the layers; see the class for shapes."""
        return run_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, new height, new width, filters[-1])`."""
        first = self.chain[0].compute_output_shape(input_shape)
        return (*first[:-1], self.filters[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("filters", "kernel_size", "strides", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
