"""A convolution written out as the matrix that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

LARGEST = 50_000_000  # numbers in a matrix: half a gigabyte with their places


@dataclass(frozen=True, eq=False)
class ConvMatrix:
    """A convolution as a matrix and an offset: `matrix @ x.reshape(-1) + bias`.

    Attributes:
        matrix: `scipy.sparse.csr_array` of shape `(outputs, inputs)`, a row for each number that
            comes out and a column for each that goes in, both in the order of `x.reshape(-1)`. It
            holds the weights where the kernel lies, zeros among them too, and nothing elsewhere.
        bias: `(outputs,)`, the layer's bias at each position; zeros without one.
        output_shape: `(height, width, channels)` of what comes out.
    """

    matrix: Any
    bias: np.ndarray
    output_shape: tuple[int, int, int]


def conv_as_dense_matrix(layer: keras.layers.Layer, input_shape: Sequence[int]) -> ConvMatrix:
    """Write a convolution as the sparse matrix that a dense layer would need for the same.

    Most of the matrix is nothing, as a place sees only those near it, and the same few numbers
    stand in each row, shifted: a dense layer with these two bounds is a convolution. What the layer
    does *before* its activation is written; apply `layer.activation` to the result for the rest.

    Args:
        layer: A built `Conv2D` (strides, dilation, groups, either padding), `DepthwiseConv2D` or
            `Conv2DTranspose`, with channels last.
        input_shape: `(height, width, channels)` of an image, without the batch.

    Returns:
        The matrix and the offset, in float32: for an image `x` of that shape
        `(matrix @ x.reshape(-1) + bias).reshape(output_shape)` is what the layer computes.

    Raises:
        TypeError: If the layer is of another kind.
        ValueError: If it is not built, has its channels first or an `output_padding`, if the shape
            does not fit it, or if the matrix would hold more than 50 million numbers.

    Example:
        >>> import numpy as np
        >>> layer = keras.layers.Conv2D(1, (1, 2), use_bias=False)
        >>> layer.build((None, 1, 4, 1))
        >>> layer.set_weights([np.array([3.0, 5.0]).reshape(1, 2, 1, 1)])
        >>> conv_as_dense_matrix(layer, (1, 4, 1)).matrix.toarray().tolist()
        [[3.0, 5.0, 0.0, 0.0], [0.0, 3.0, 5.0, 0.0], [0.0, 0.0, 3.0, 5.0]]

    Reference:
        Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section
        4.1, https://arxiv.org/abs/1603.07285
    """
    if type(layer) not in (
        keras.layers.Conv2D,
        keras.layers.DepthwiseConv2D,
        keras.layers.Conv2DTranspose,
    ):
        raise TypeError(
            "layer must be a keras.layers.Conv2D, DepthwiseConv2D or Conv2DTranspose. Received: "
            f"{type(layer).__name__}"
        )
    shape = _checked_shape(layer, input_shape)
    kernel = np.asarray(ops.convert_to_numpy(layer.kernel), "float32")
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        height, width, filters = _transposed_shape(layer, shape)
        # What a convolution of the larger image would hand back to it.
        matrix = _matrix(layer, kernel, (height, width, filters), shape[:2], 1).T.tocsr()
    else:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            groups = shape[2]
            kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
        filters = kernel.shape[-1]
        height, width = (_positions(layer, axis, shape[axis]) for axis in (0, 1))
        matrix = _matrix(layer, kernel, shape, (height, width), groups)
    bias = np.zeros(filters, "float32")
    if layer.use_bias:
        bias = np.asarray(ops.convert_to_numpy(layer.bias), "float32")
    return ConvMatrix(matrix, np.tile(bias, height * width), (height, width, filters))


def _matrix(
    layer: Any,
    kernel: np.ndarray,
    shape: tuple[int, int, int],
    positions: tuple[int, int],
    groups: int,
) -> Any:
    """Return the matrix of a convolution from `shape` to `positions`.

    Its rows go by (y, x, filter), and what stands in a row by (kernel row, kernel column, channel
    of the group), so columns ascend in it.
    """
    from scipy import sparse

    height, width, channels = shape
    rows, columns, depth, filters = kernel.shape
    numbers = positions[0] * positions[1] * rows * columns * depth * filters
    if numbers > LARGEST:
        raise ValueError(
            f"the matrix of layer {layer.name!r} would hold {numbers:,} numbers, more than "
            f"{LARGEST:,}: give a smaller input_shape"
        )
    y, is_row = _seen(layer, 0, rows, positions[0], height)
    x, is_column = _seen(layer, 1, columns, positions[1], width)
    # Axes: y, x, filter, kernel row, kernel column, channel of the group.
    group = np.arange(filters) // (filters // groups)
    places = (
        (y[:, None, None, :, None, None] * width + x[None, :, None, None, :, None]) * channels
        + (group * depth)[None, None, :, None, None, None]
        + np.arange(depth)
    )
    inside = is_row[:, None, None, :, None, None] & is_column[None, :, None, None, :, None]
    inside = np.broadcast_to(inside, places.shape)
    weights = np.broadcast_to(kernel.transpose(3, 0, 1, 2), places.shape)
    ends = np.concatenate([[0], np.cumsum(inside.sum((3, 4, 5)))])
    return sparse.csr_array(
        (weights[inside], places[inside], ends),
        shape=(positions[0] * positions[1] * filters, height * width * channels),
    )


def _seen(
    layer: Any, axis: int, size: int, positions: int, image: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (columns) that each position sees, and which of them are in the image."""
    stride, dilation = layer.strides[axis], layer.dilation_rate[axis]
    before = 0
    if layer.padding == "same":
        span = (positions - 1) * stride + (size - 1) * dilation + 1
        before = max(span - image, 0) // 2
    seen = np.arange(positions)[:, None] * stride + np.arange(size) * dilation - before
    return seen, (seen >= 0) & (seen < image)


def _positions(layer: Any, axis: int, image: int) -> int:
    """Return how many rows (columns) a convolution makes of an image's."""
    reach = 0
    if layer.padding == "valid":
        reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    return -(-(image - reach) // layer.strides[axis])


def _transposed_shape(layer: Any, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of what a transposed convolution makes."""
    sizes = []
    for axis in (0, 1):
        size = shape[axis] * layer.strides[axis]
        if layer.padding == "valid":
            reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
            size += max(reach - layer.strides[axis], 0)
        sizes.append(size)
    return sizes[0], sizes[1], layer.filters


def _checked_shape(layer: Any, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape as a tuple, or say what does not fit."""
    if not layer.built:
        raise ValueError(
            f"layer {layer.name!r} has not been built, so it has no weights yet: call it on an "
            "image, or layer.build((None, height, width, channels))"
        )
    if layer.data_format != "channels_last":
        raise ValueError(f"layer {layer.name!r} has its channels first; this takes them last")
    if getattr(layer, "output_padding", None) is not None:
        raise ValueError(f"layer {layer.name!r} has an output_padding; this takes none")
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if len(shape) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(
            "input_shape must be (height, width, channels), whole numbers above 0. Received: "
            f"{input_shape!r}"
        )
    height, width, channels = (int(size) for size in shape)
    is_transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    needed = layer.kernel.shape[-1 if is_transposed else 2] * getattr(layer, "groups", 1)
    if channels != needed:
        raise ValueError(
            f"layer {layer.name!r} takes {needed} channels. Received: input_shape={shape}"
        )
    if not is_transposed and min(_positions(layer, 0, height), _positions(layer, 1, width)) < 1:
        raise ValueError(
            f"the kernel of layer {layer.name!r} finds no place in {height}x{width} pixels: give a "
            "larger input_shape"
        )
    return height, width, channels
