"""Hand-crafted image features, as used before deep learning: baselines to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data.checks import images as check_images

_AT_A_TIME = 1 << 22  # pixels processed at a time: bounds the memory
_CLIP = 0.2  # maximum of a value in a block: Dalal and Triggs, section 6.4


def hog(images: Any, *, cell: int = 8, block: int = 2, bins: int = 9) -> NDArray[np.float32]:
    """Describe images by histograms of oriented gradients (HOG).

    In each cell, edge directions (0 to 180 degrees) are counted, weighted by edge strength; each
    vote is shared between the two nearest directions. Overlapping blocks of cells are normalized to
    length 1, clipped at 0.2, and normalized again, so the features are invariant to brightness and
    contrast. The gradient of a color image is taken from the channel where it is steepest. Pixels
    at the right and bottom that do not fill a cell are ignored.

    Args:
        images: `(n, height, width, channels)`, uint8 or floats of any range.
        cell: Height and width of a cell, in pixels.
        block: Height and width of a block, in cells.
        bins: Number of directions.

    Returns:
        float32 `(n, features)`. The features are ordered by row and column of the block, row and
        column of the cell in the block, and direction.

    Raises:
        TypeError: If `cell`, `block` or `bins` is not an integer, or images have another dtype.
        ValueError: If one of them is below 1, or images have another shape or are too small for a
            block.

    Example:
        >>> hog(np.zeros((5, 32, 32, 1), "uint8")).shape  # 3 x 3 blocks of 2 x 2 cells, 9 each
        (5, 324)

    Reference:
        Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005,
        https://doi.org/10.1109/CVPR.2005.177
    """
    pixels = check_images(images)
    cell, block, bins = (
        check_integer(name, value)
        for name, value in (("cell", cell), ("block", block), ("bins", bins))
    )
    height, width = pixels.shape[1:3]
    if min(height, width) < cell * block:
        raise ValueError(
            f"images must be {cell * block} x {cell * block} pixels or larger for block={block} "
            f"and cell={cell}. Received: {height} x {width}"
        )
    step = max(1, _AT_A_TIME // pixels[0].size)
    parts = [
        _blocks(_votes(np.asarray(pixels[start : start + step]), cell, bins), block)
        for start in range(0, len(pixels), step)
    ]
    return np.concatenate(parts)


def _votes(pixels: NDArray, cell: int, bins: int) -> NDArray[np.float64]:
    """Return the edge strength in each direction for each cell, `(n, rows, cols, bins)`."""
    values = pixels.astype("float32")
    down, right = np.zeros_like(values), np.zeros_like(values)  # no gradient at the border
    down[:, 1:-1] = values[:, 2:] - values[:, :-2]
    right[:, :, 1:-1] = values[:, :, 2:] - values[:, :, :-2]
    steepest = np.hypot(down, right).argmax(axis=-1, keepdims=True)
    down, right = (np.take_along_axis(one, steepest, -1)[..., 0] for one in (down, right))
    n, rows, columns = len(values), values.shape[1] // cell, values.shape[2] // cell
    down, right = (one[:, : rows * cell, : columns * cell] for one in (down, right))
    direction = np.arctan2(down, right) % np.pi * (bins / np.pi) - 0.5  # bin centers are integers
    lower = np.floor(direction)
    share, strength = direction - lower, np.hypot(down, right)
    cells = np.arange(n * rows * columns).reshape(n, rows, columns)
    place = cells.repeat(cell, 1).repeat(cell, 2) * bins
    votes = np.zeros(n * rows * columns * bins)
    for number, weight in ((lower, 1 - share), (lower + 1, share)):
        into = place + number.astype(int) % bins
        votes += np.bincount(into.ravel(), (strength * weight).ravel(), len(votes))
    return votes.reshape(n, rows, columns, bins)


def _blocks(votes: NDArray[np.float64], block: int) -> NDArray[np.float32]:
    """Return the blocks of cells, each normalized to length 1, `(n, features)`."""
    windows = sliding_window_view(votes, (block, block), (1, 2))  # the block's axes come last
    found = np.moveaxis(windows, 3, -1).reshape(*windows.shape[:3], -1)
    found = _normalize(np.minimum(_normalize(found), _CLIP))
    return found.reshape(len(votes), -1).astype("float32")


def _normalize(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors normalized to length 1. Zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def color_histogram(images: Any, *, bins: int = 4) -> NDArray[np.float32]:
    """Describe images by their color histograms, regardless of where the colors are.

    Each channel is divided into bins of equal width. The histogram has one bin for each combination
    of the channels' bins.

    Args:
        images: `(n, height, width, channels)`, uint8.
        bins: Number of bins per channel.

    Returns:
        float32 `(n, bins ** channels)`: fractions of the pixels; the last channel varies fastest.

    Raises:
        TypeError: If images are not uint8, or `bins` is not an integer.
        ValueError: If images have another shape, or `bins` is not from 1 to 256.

    Example:
        >>> color_histogram(np.full((1, 8, 8, 1), 200, "uint8"), bins=4).tolist()
        [[0.0, 0.0, 0.0, 1.0]]

    Reference:
        Swain and Ballard, "Color indexing", International Journal of Computer Vision 7, 1991,
        https://doi.org/10.1007/BF00130487
    """
    pixels = check_images(images)
    if pixels.dtype != np.uint8:
        raise TypeError(f"images must be uint8, 0 to 255. Received: {pixels.dtype}")
    check_integer("bins", bins, most=256)
    channels = pixels.shape[-1]
    powers = bins ** np.arange(channels)[::-1]
    found = np.empty((len(pixels), bins**channels), "float32")
    for row, image in zip(found, pixels, strict=True):
        places = (image.astype(int) * bins // 256) @ powers
        row[:] = np.bincount(places.ravel(), minlength=len(row)) / places.size
    return found
