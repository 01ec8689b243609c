"""Kernels of transposed convolutions that start as bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class Bilinear(keras.initializers.Initializer):
    """Initializer that makes a transposed convolution interpolate each channel bilinearly.

        kernel[y, x, c, c] = h(y) * h(x),   h(i) = 1 - |i - (size - 1) / 2| / ceil(size / 2)

    All other values are 0, so that channels do not mix. With a kernel of `2 * strides` pixels and
    `padding="same"`, `keras.layers.Conv2DTranspose` then enlarges maps by `strides`, as
    `UpSampling2D(interpolation="bilinear")` does, except near the border, where it sees zeros
    outside of the maps.

    Call arguments:
        shape: Shape of the kernel, `(height, width, filters, channels)`.
        dtype: Its dtype.

    Raises:
        ValueError: If `shape` does not have four axes.

    Example:
        >>> kernel = Bilinear()((4, 4, 1, 1))
        >>> [round(float(value), 2) for value in kernel[:, 1, 0, 0]]
        [0.19, 0.56, 0.56, 0.19]

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, section 3.3, https://arxiv.org/abs/1411.4038
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Return the kernel."""
        if len(shape) != 4:
            raise ValueError(
                "Bilinear must initialize a kernel (height, width, filters, channels) of a "
                f"Conv2DTranspose. Received: shape={tuple(shape)}"
            )
        height, width, filters, channels = shape
        window = np.outer(_hat(height), _hat(width))
        kernel = window[..., None, None] * np.eye(filters, channels)
        return ops.convert_to_tensor(kernel.astype("float32"), dtype or keras.config.floatx())


def _hat(size: int) -> np.ndarray:
    """Return the weights of linear interpolation along one axis."""
    return 1 - np.abs(np.arange(size) - (size - 1) / 2) / np.ceil(size / 2)
