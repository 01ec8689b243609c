"""Local filters that select one of the values in their window by rank."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.layers.filtering._windows import margins, output_shape

KINDS = ("median", "minimum", "maximum")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RankFilter2D(keras.layers.Layer):
    """Replace each pixel with the median, minimum or maximum of its neighborhood.

    The median removes single wrong pixels (salt and pepper), which any linear filter only smears,
    and keeps edges sharp. Minimum and maximum are the erosion and dilation of gray images. Each
    channel is filtered separately.

    The center of the window is `size // 2`: its middle, or for even sizes the later of the two
    middle positions. The median of an even number of pixels is the larger of the two middle values.
    All of this is as in `scipy.ndimage.median_filter`, `minimum_filter` and `maximum_filter` with
    `mode="nearest"`.

    Args:
        kind: `"median"`, `"minimum"` or `"maximum"`.
        size: Height and width of the window. The median stores `size * size` copies of its input.
        padding: `"same"` (the outermost pixels are repeated beyond the border) or `"valid"` (only
            where the window fits).
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images or feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, new height, new width, channels)`; with padding `"same"`, the shape of the input.

    Raises:
        ValueError: If an argument is invalid, or the window is larger than the input.

    Example:
        >>> import numpy as np
        >>> image = np.ones((1, 5, 5, 1), "float32")
        >>> image[0, 2, 2] = 9
        >>> float(keras.ops.max(RankFilter2D("median")(image)))
        1.0
        >>> int(keras.ops.sum(RankFilter2D("maximum")(image) == 9))
        9

    Reference:
        Huang, Yang and Tang, "A Fast Two-Dimensional Median Filtering Algorithm", IEEE Transactions
        on Acoustics, Speech, and Signal Processing 1979
    """

    def __init__(
        self, kind: str = "median", size: int = 3, padding: str = "same", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kind = check_one_of("kind", kind, KINDS)
        self.size = check_integer("size", size)
        self.padding = check_one_of("padding", padding, ("same", "valid"))
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that the maps are not too small for the window."""
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the filtered maps."""
        x = ops.cast(inputs, self.compute_dtype)
        if self.padding == "same":
            x = _repeat_edges(x, *margins(self.size))
        if self.kind == "median":
            return _median(x, self.size)
        if self.kind == "maximum":
            return _maximum(x, self.size)
        # Not -x: devices can multiply integers, but negate only floats.
        return _maximum(x * -1, self.size) * -1

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.size, self.size

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, new height, new width, channels)`."""
        return output_shape(input_shape, self.window, self.padding)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("kind", "size", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _repeat_edges(x: Any, before: int, behind: int) -> Any:
    """Repeat the outermost rows and columns, which `ops.pad` cannot do on every backend."""
    x = ops.concatenate([x[:, :1]] * before + [x] + [x[:, -1:]] * behind, axis=1)
    return ops.concatenate([x[:, :, :1]] * before + [x] + [x[:, :, -1:]] * behind, axis=2)


def _maximum(x: Any, size: int) -> Any:
    return ops.max_pool(x, size, strides=1, padding="valid", data_format="channels_last")


def _median(x: Any, size: int) -> Any:
    """Return the median of each window; of an even number, the larger of the middle two."""
    starts = [slice(start, start - size + 1 or None) for start in range(size)]
    copies = ops.stack([x[:, rows, columns] for rows in starts for columns in starts], axis=-1)
    largest, _ = ops.top_k(copies, size * size - size * size // 2)
    return largest[..., -1]
