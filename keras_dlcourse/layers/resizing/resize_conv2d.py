"""Resizing and a convolution: upsampling that sees each position equally often."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.layers.blocks._composite import CompositeLayer, build_chain, run_chain

INTERPOLATIONS = ("bilinear", "nearest")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ResizeConv2D(CompositeLayer):
    """Enlarge maps by interpolation, then convolve them.

    A transposed convolution computes neighboring output positions from different weights, which
    shows as a checkerboard. Here each position is computed by the same kernel from values that were
    interpolated.

    Args:
        filters: Output channels.
        kernel_size: Height and width of the kernel, in pixels.
        factor: Ratio of the output size to the input size.
        interpolation: `"bilinear"` or `"nearest"`. TensorFlow Lite Micro lacks the operation that
            `"nearest"` becomes.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        Feature maps `(batch, height * factor, width * factor, filters)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> ResizeConv2D(4)(np.zeros((1, 5, 6, 8))).shape[1:] == (10, 12, 4)
        True

    Reference:
        Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016,
        https://doi.org/10.23915/distill.00003
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        factor: int = 2,
        interpolation: str = "bilinear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters)
        self.kernel_size = check_integer("kernel_size", kernel_size)
        self.factor = check_integer("factor", factor, least=2)
        self.interpolation = check_one_of("interpolation", interpolation, INTERPOLATIONS)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.resize = keras.layers.UpSampling2D(
            self.factor,
            data_format="channels_last",
            interpolation=self.interpolation,
            dtype=self.dtype_policy,
            name=f"{self.name}_resize",
        )
        self.convolution = keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            padding="same",
            data_format="channels_last",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_convolution",
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for inputs of `input_shape`."""
        build_chain([self.resize, self.convolution], input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the enlarged maps; see the class for shapes."""
        return run_chain([self.resize, self.convolution], inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, height * factor, width * factor, filters)`."""
        batch, *sizes, _ = input_shape
        height, width = (None if size is None else size * self.factor for size in sizes)
        return batch, height, width, self.filters

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "factor": self.factor,
            "interpolation": self.interpolation,
        }
