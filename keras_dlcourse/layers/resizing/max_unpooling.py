"""Max unpooling: undo a pooling by putting values back where the maxima were."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MaxUnpooling2D(keras.layers.Layer):
    """Enlarge maps by placing each value where the maximum of a pooling window was, 0 elsewhere.

    The places are those of the pooling `keras.layers.MaxPooling2D(pool_size)` of other maps, its
    *source*, which the layer receives as its second input. If a window has its maximum several
    times (after a ReLU, windows of zeros are frequent), the first one in reading order counts, as
    in PyTorch's `MaxUnpool2d`.

    The places are found by comparing, not by `max_pool_with_argmax`, which has no counterpart among
    the built-in TFLite operations. So the layer can be exported, and runs on each backend.

    Args:
        pool_size: Height and width of the pooling windows, which do not overlap.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A list of two: maps `(batch, rows, columns, channels)`, and the source
            `(batch, rows * pool_size, columns * pool_size, channels)`.

    Returns:
        Maps of the shape of the source.

    Raises:
        ValueError: If `inputs` are not two maps of these sizes.

    Example:
        >>> import numpy as np
        >>> source = np.array([[1, 5], [2, 3]], "float32").reshape(1, 2, 2, 1)
        >>> maps = np.array([7], "float32").reshape(1, 1, 1, 1)
        >>> np.array(MaxUnpooling2D()([maps, source])).reshape(2, 2).tolist()
        [[0.0, 7.0], [0.0, 0.0]]

    Reference:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
        https://arxiv.org/abs/1311.2901; Badrinarayanan, Kendall and Cipolla, "SegNet", TPAMI 2017,
        https://arxiv.org/abs/1511.00561
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = check_integer("pool_size", pool_size, least=2)

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Check the shapes of the two inputs."""
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the enlarged maps; see the class for shapes."""
        maps, source = inputs
        size = self.pool_size
        # Values at each place of a window, in reading order, for all windows at once.
        values = [source[:, y::size, x::size] for y in range(size) for x in range(size)]
        largest = reduce(ops.maximum, values)
        nothing, taken, placed = ops.zeros_like(maps), None, []
        for value in values:
            here = ops.equal(value, largest)
            if taken is None:
                taken = here
            else:
                here, taken = ops.logical_and(here, ~taken), ops.logical_or(here, taken)
            placed.append(ops.where(here, maps, nothing))
        batch, (_, height, width, channels) = ops.shape(maps)[0], ops.shape(source)
        lines = []
        for start in range(0, size * size, size):
            line = ops.stack(placed[start : start + size], axis=3)
            lines.append(ops.reshape(line, (batch, -1, width, channels)))
        return ops.reshape(ops.stack(lines, axis=2), (batch, height, width, channels))

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """Return the shape of the source."""
        size = self.pool_size
        if len(input_shape) != 2 or any(len(shape) != 4 for shape in input_shape):
            raise ValueError(
                "MaxUnpooling2D must receive [maps, source], each (batch, rows, columns, "
                f"channels). Received shapes: {input_shape}"
            )
        maps, source = (tuple(shape) for shape in input_shape)
        expected = (maps[1] and maps[1] * size, maps[2] and maps[2] * size, maps[3])
        known = zip(expected, source[1:], strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in known):
            raise ValueError(
                f"The source must be {size} times as large as the maps, with the same channels. "
                f"Received: maps {maps} and source {source}. Use the input of the pooling, of a "
                f"size that {size} divides."
            )
        return source

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "pool_size": self.pool_size}
