"""Convolution as an explicit matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

LARGEST = 50_000_000  # values in a matrix: half a gigabyte including their indices


@dataclass(frozen=True, eq=False)
class ConvMatrix:
    """A convolution as a matrix and an offset: `matrix @ x.reshape(-1) + bias`.

    Attributes:
        matrix: `scipy.sparse.csr_array` of shape `(outputs, inputs)`, with one row per output value
            and one column per input value, both in the order of `x.reshape(-1)`. It stores the
            weights (even if zero) where the kernel lies, and nothing elsewhere.
        bias: `(outputs,)`, the layer's bias at each position; zeros if the layer has none.
        output_shape: `(height, width, channels)` of the output.
    """

    matrix: Any
    bias: np.ndarray
    output_shape: tuple[int, int, int]


def conv_as_dense_matrix(layer: keras.layers.Layer, input_shape: Sequence[int]) -> ConvMatrix:
    """Return a convolution as the sparse matrix of an equivalent dense layer.

    Most entries are empty, because a position sees only its neighborhood, and each row holds the
    same few values, shifted: a dense layer with these two constraints is a convolution. The matrix
    represents the layer *before* its activation; apply `layer.activation` to the result.

    Args:
        layer: A built `Conv2D` (any strides, dilation, groups and padding), `DepthwiseConv2D` or
            `Conv2DTranspose`, with channels last.
        input_shape: `(height, width, channels)` of an image, without the batch.

    Returns:
        The matrix and the offset, in float32. For an image `x` of that shape, the layer computes
        `(matrix @ x.reshape(-1) + bias).reshape(output_shape)`.

    Raises:
        TypeError: If `layer` has another type.
        ValueError: If `layer` is not built, has channels first or an `output_padding`, if the shape
            does not fit it, or if the matrix would hold more than 50 million values.

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
    shape = _check_shape(layer, input_shape)
    kernel = np.asarray(ops.convert_to_numpy(layer.kernel), "float32")
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        height, width, filters = _transposed_shape(layer, shape)
        # The transpose of a convolution of the larger image.
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

    Rows are in the order (y, x, filter), and entries of a row in the order (kernel row, kernel
    column, channel of the group), so column indices ascend within a row.
    """
    from scipy import sparse

    height, width, channels = shape
    rows, columns, depth, filters = kernel.shape
    numbers = positions[0] * positions[1] * rows * columns * depth * filters
    if numbers > LARGEST:
        raise ValueError(
            f"The matrix of layer {layer.name!r} would hold {numbers:,} values, more than "
            f"{LARGEST:,}. Pass a smaller input_shape."
        )
    y, is_row = _find_seen(layer, 0, rows, positions[0], height)
    x, is_column = _find_seen(layer, 1, columns, positions[1], width)
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


def _find_seen(
    layer: Any, axis: int, size: int, positions: int, image: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (columns) seen by each position, and which of them are in the image."""
    stride, dilation = layer.strides[axis], layer.dilation_rate[axis]
    before = 0
    if layer.padding == "same":
        span = (positions - 1) * stride + (size - 1) * dilation + 1
        before = max(span - image, 0) // 2
    seen = np.arange(positions)[:, None] * stride + np.arange(size) * dilation - before
    return seen, (seen >= 0) & (seen < image)


def _positions(layer: Any, axis: int, image: int) -> int:
    """Return the number of output rows (columns) of a convolution."""
    reach = 0
    if layer.padding == "valid":
        reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    return -(-(image - reach) // layer.strides[axis])


def _transposed_shape(layer: Any, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the output shape of a transposed convolution."""
    sizes = []
    for axis in (0, 1):
        size = shape[axis] * layer.strides[axis]
        if layer.padding == "valid":
            reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
            size += max(reach - layer.strides[axis], 0)
        sizes.append(size)
    return sizes[0], sizes[1], layer.filters


def _check_shape(layer: Any, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape as a tuple, after checking it against the layer."""
    if not layer.built:
        raise ValueError(
            f"layer {layer.name!r} has not been built, so it has no weights yet. Call it on an "
            "image, or call layer.build((None, height, width, channels))."
        )
    if layer.data_format != "channels_last":
        raise ValueError(
            f"layer {layer.name!r} must have data_format='channels_last'. "
            "Received: 'channels_first'"
        )
    if getattr(layer, "output_padding", None) is not None:
        raise ValueError(f"layer {layer.name!r} must have output_padding=None.")
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if len(shape) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(
            "input_shape must be (height, width, channels), all positive integers. Received: "
            f"{input_shape!r}"
        )
    height, width, channels = (int(size) for size in shape)
    is_transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    needed = layer.kernel.shape[-1 if is_transposed else 2] * getattr(layer, "groups", 1)
    if channels != needed:
        raise ValueError(
            f"layer {layer.name!r} needs {needed} channels. Received: input_shape={shape}"
        )
    if not is_transposed and min(_positions(layer, 0, height), _positions(layer, 1, width)) < 1:
        raise ValueError(
            f"The kernel of layer {layer.name!r} does not fit in {height}x{width} pixels. Pass a "
            "larger input_shape."
        )
    return height, width, channels
