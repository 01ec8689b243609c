"""Pad images until the strides of a network divide their size, and crop what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PadToMultiple(keras.layers.Layer):
    """Append rows and columns of zeros until a number divides the height and width.

    For images of any size, whose size is only known when they arrive; for a fixed size, use
    `keras.layers.ZeroPadding2D`. `CropLike` undoes it.

    Args:
        multiple: The number that divides the height and width of the output.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`.

    Returns:
        The images, with up to `multiple - 1` more rows at the bottom and columns on the right.

    Raises:
        ValueError: If `multiple` is below 2.

    Example:
        >>> import numpy as np
        >>> PadToMultiple(8)(np.ones((1, 30, 40, 3))).shape[1:] == (32, 40, 3)
        True
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = check_integer("multiple", multiple, least=2)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: Any) -> Any:
        """Return the padded images."""
        for axis in (1, 2):
            shape = list(ops.shape(inputs))
            shape[axis] = -shape[axis] % self.multiple
            if not (isinstance(shape[axis], int) and shape[axis] == 0):
                zeros = ops.zeros(shape, inputs.dtype)
                inputs = ops.concatenate([inputs, zeros], axis=axis)
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape with height and width rounded up."""
        batch, *sizes, channels = input_shape
        height, width = (None if n is None else n + -n % self.multiple for n in sizes)
        return batch, height, width, channels

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class CropLike(keras.layers.Layer):
    """Crop maps at the bottom and on the right to the height and width of other maps.

    It undoes `PadToMultiple` at the end of a network.

    Args:
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A list of two: maps `(batch, height, width, channels)`, and maps that are not
            larger, whose height and width the output takes.

    Returns:
        The first maps, cropped.

    Raises:
        ValueError: If `inputs` are not two maps.

    Example:
        >>> import numpy as np
        >>> CropLike()([np.ones((1, 32, 40, 2)), np.ones((1, 30, 40, 3))]).shape[1:] == (30, 40, 2)
        True
    """

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Check the shapes of the two inputs."""
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the cropped maps."""
        maps, like = inputs
        _, height, width, _ = ops.shape(like)
        return maps[:, :height, :width]

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """Return the shape of the first maps with the size of the second."""
        if len(input_shape) != 2 or any(len(shape) != 4 for shape in input_shape):
            raise ValueError(
                "CropLike must receive [maps, maps of the wanted size], each (batch, height, "
                f"width, channels). Received shapes: {input_shape}"
            )
        (batch, _, _, channels), (_, height, width, _) = input_shape
        return batch, height, width, channels
