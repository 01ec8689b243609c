"""Masks at the size of the image, from the values of a network at its own resolution.

The confidence of a class at a pixel of the image is interpolated bilinearly between those of the
network: half-pixel centers, as in OpenCV's `INTER_LINEAR` and `tf.image.resize`, the values at the
border continued outwards. The category is the class with the highest interpolated confidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_dlcourse.edge.description.layouts import MaskLayout

_BAND = 32  # pixels that are interpolated together
_AT_ONCE = 1 << 14  # pixels whose confidences are computed together, to fit into the caches


class _Axis(NamedTuple):
    """Where the pixels of an image lie between the values of a network, along one axis.

    Attributes:
        low: The index of the value before each pixel.
        high: The index of the one after it.
        share: How far each pixel is from the first to the second, from 0 to 1.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray


def _place(values: int, pixels: int) -> _Axis:
    centers = (np.arange(pixels) + 0.5) * (values / pixels) - 0.5
    centers = centers.clip(0, values - 1)
    low = centers.astype(np.intp)
    return _Axis(low, np.minimum(low + 1, values - 1), (centers - low).astype(np.float32))


def enlarge_confidences(values: np.ndarray, layout: MaskLayout, out: np.ndarray) -> None:
    """Write the confidence of each class at each pixel of an image.

    Args:
        values: float32 array of shape (height, width, classes): the output of a network.
        layout: What its values mean.
        out: float32 array of shape (classes, height, width), at the size of the image.

    Example:
        >>> out = np.empty((1, 1, 4), np.float32)
        >>> enlarge_confidences(np.array([[[0.0], [1.0]]]), MaskLayout("none"), out)
        >>> out.tolist()
        [[[0.0, 0.25, 0.75, 1.0]]]
    """
    height, width, _ = values.shape
    rows, columns = [*_bands(height, out.shape[1])], [*_bands(width, out.shape[2])]
    planes = layout.confidences(np.ascontiguousarray(np.moveaxis(values, -1, 0)), axis=0)
    wide = np.empty((height, out.shape[2]), np.float32)
    for plane, whole in zip(planes, out, strict=True):
        for pixels, near, shares in columns:
            wide[:, pixels] = plane[:, near] @ shares.T
        for pixels, near, shares in rows:
            np.matmul(shares, wide[near], out=whole[pixels])


def _bands(values: int, pixels: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the interpolation along one axis as products with small matrices, the fastest way.

    Yields:
        Some pixels, the values they lie between, and for each pixel the share of each value.
    """
    axis = _place(values, pixels)
    for start in range(0, pixels, _BAND):
        band = slice(start, min(start + _BAND, pixels))
        low, high, share = axis.low[band], axis.high[band], axis.share[band]
        shares = np.zeros((len(low), high[-1] + 1 - low[0]), np.float32)
        places = np.arange(len(low))
        shares[places, low - low[0]] = 1 - share
        shares[places, high - low[0]] += share
        yield band, slice(low[0], high[-1] + 1), shares


def find_categories(values: np.ndarray, layout: MaskLayout, size: tuple[int, int]) -> np.ndarray:
    """Return the class with the highest interpolated confidence at each pixel of an image.

    Between four values of the network with the same class, it is that class everywhere, because
    each of its confidences is at least that of any other class. So only pixels at the borders
    between classes are interpolated.

    Args:
        values: float32 array of shape (height, width, classes), with at least two classes.
        layout: What its values mean.
        size: Height and width of the image.

    Returns:
        uint8 array of shape `size`.

    Example:
        >>> values = np.array([[[0.9, 0.1], [0.3, 0.7]]], np.float32)
        >>> find_categories(values, MaskLayout("none"), (1, 6)).tolist()
        [[0, 0, 0, 0, 1, 1]]
    """
    rows, columns = (_place(*sizes) for sizes in zip(values.shape, size, strict=False))
    best = values.argmax(-1).astype(np.uint8)
    mixed = _find_mixed(best)
    categories = best[rows.low].take(columns.low, 1)
    pixels = np.flatnonzero(mixed[rows.low].take(columns.low, 1))
    confidences, index = _confidences_around(values, layout, mixed)
    flat = categories.reshape(-1)
    for start in range(0, len(pixels), _AT_ONCE):
        part = pixels[start : start + _AT_ONCE]
        y, x = np.divmod(part, size[1])
        left, right, share = columns.low[x], columns.high[x], columns.share[x][:, None]
        top, bottom = (
            _between(confidences[index[row, left]], confidences[index[row, right]], share)
            for row in (rows.low[y], rows.high[y])
        )
        flat[part] = _between(top, bottom, rows.share[y][:, None]).argmax(-1)
    return categories


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the values at a share of the way from `first` to `second`; both are overwritten."""
    second -= first
    second *= share
    first += second
    return first


def _find_mixed(best: np.ndarray) -> np.ndarray:
    """Return where a class differs from that to the right, below, or diagonally below."""
    down, right, both = (_next(best, 0), _next(best, 1), _next(_next(best, 0), 1))
    return np.asarray((best != down) | (best != right) | (best != both))


def _next(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the next value along an axis, for the last one itself."""
    return values.take(np.minimum(np.arange(values.shape[axis]) + 1, values.shape[axis] - 1), axis)


def _confidences_around(
    values: np.ndarray, layout: MaskLayout, mixed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidences next to borders, and for each position its row among them."""
    needed = mixed.copy()
    needed[1:] |= mixed[:-1]
    needed[:, 1:] |= needed[:, :-1].copy()
    index = np.zeros(needed.shape, np.intp)
    index[needed] = np.arange(np.count_nonzero(needed))
    return layout.confidences(values[needed]), index
