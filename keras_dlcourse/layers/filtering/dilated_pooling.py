"""Pooling at every position, over windows with gaps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.layers.filtering._windows import output_shape

KINDS = ("maximum", "average")
Pair = int | tuple[int, int]


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DilatedPooling2D(keras.layers.Layer):
    """Pool at every position over windows with gaps: the maximum or the average.

        y[i, j] = max or mean of x[i + a * dilation_rate, j + b * dilation_rate],
                  0 <= a, b < pool_size

    `kd.graph.remove_strides` replaces strided poolings by it, because `keras.layers.MaxPooling2D`
    and `AveragePooling2D` have no dilation.

    Args:
        kind: `"maximum"` or `"average"`.
        pool_size: Values in the height and the width of a window; one integer for both.
        dilation_rate: Distance of these values in rows and columns; one integer for both.
        padding: Positions beyond the border where windows may lie, as in `ZeroPadding2D`: `((top,
            bottom), (left, right))`. Like Keras's "same" padding, they count neither for the
            maximum nor for the average. By default none.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, new height, new width, channels)`, where `new height = height + top + bottom -
        (pool_size - 1) * dilation_rate`, and the width likewise.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is invalid, padding is as large as the window, or the window is
            larger than the padded maps.

    Example:
        >>> import numpy as np
        >>> maps = np.arange(6.0).reshape(1, 1, 6, 1)
        >>> pooled = DilatedPooling2D("average", (1, 2), dilation_rate=3)(maps)
        >>> [float(value) for value in pooled[0, 0, :, 0]]  # of 0 and 3, 1 and 4, 2 and 5
        [1.5, 2.5, 3.5]
    """

    def __init__(
        self,
        kind: str,
        pool_size: Pair = 2,
        dilation_rate: Pair = 1,
        padding: Any = ((0, 0), (0, 0)),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind = check_one_of("kind", kind, KINDS)
        self.pool_size = _check_pair("pool_size", pool_size)
        self.dilation_rate = _check_pair("dilation_rate", dilation_rate)
        self.padding = _check_padding(padding, self.window)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that the maps are not too small for the window."""
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the pooled maps."""
        x = ops.cast(inputs, self.compute_dtype)
        if self.kind == "maximum":
            return self._reduce(self._pad(x, -np.inf), ops.maximum)
        total = self._reduce(self._pad(x, 0.0), ops.add)
        if self.padding == _NO_PADDING:
            return total / (self.pool_size[0] * self.pool_size[1])
        inside = self._pad(ops.ones_like(x[:1, :, :, :1]), 0.0)
        return total / self._reduce(inside, ops.add)

    def _pad(self, x: Any, value: float) -> Any:
        if self.padding == _NO_PADDING:
            return x
        return ops.pad(x, ((0, 0), *self.padding, (0, 0)), constant_values=value)

    def _reduce(self, x: Any, join: Any) -> Any:
        """Join the values of each window: along columns, then along rows."""
        for axis in (1, 0):
            step, count = self.dilation_rate[axis], self.pool_size[axis]
            joined = None
            for number in range(count):
                part = slice(number * step, (number + 1 - count) * step or None)
                values = x[:, part] if axis == 0 else x[:, :, part]
                joined = values if joined is None else join(joined, values)
            x = joined
        return x

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window with its gaps."""
        pairs = zip(self.pool_size, self.dilation_rate, strict=True)
        height, width = ((size - 1) * step + 1 for size, step in pairs)
        return height, width

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, new height, new width, channels)`."""
        batch, *sizes, channels = input_shape
        padded = [s if s is None else s + sum(p) for s, p in zip(sizes, self.padding, strict=True)]
        return output_shape((batch, *padded, channels), self.window, "valid")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("kind", "pool_size", "dilation_rate", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


_NO_PADDING = ((0, 0), (0, 0))


def _check_pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Return an integer, or two of them, as two."""
    pair = value if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair of integers. Received: {value!r}")
    first, second = (check_integer(name, number, least) for number in pair)
    return first, second


def _check_padding(value: Any, window: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    expected = "padding must be ((top, bottom), (left, right))"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{expected}. Received: {value!r}")
    rows, columns = (_check_pair("padding", pair, 0) for pair in value)
    for pair, size in zip((rows, columns), window, strict=True):
        if max(pair) >= size:
            raise ValueError(
                f"{expected}, smaller than the window of {window[0]}x{window[1]}, or some windows "
                f"would be empty. Received: {value!r}"
            )
    return rows, columns
