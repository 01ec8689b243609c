"""Boxes around connected regions of masks, and the overlap of boxes, in NumPy and SciPy.

Boxes are in Keras's `"xyxy"` format: (left, top, right, bottom) in pixels, right and bottom
exclusive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def boxes_around(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a box around each connected region of a mask. Diagonal neighbors are connected.

    Args:
        mask: `(height, width)`.

    Returns:
        Boxes `(regions, 4)`, sorted by decreasing number of pixels; ties are sorted from top to
        bottom, then from left to right.

    Example:
        >>> boxes_around(np.array([[1, 0, 0, 0], [0, 0, 1, 1]], bool)).tolist()
        [[2, 1, 4, 2], [0, 0, 1, 1]]
    """
    from scipy import ndimage

    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    pixels = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts)]
    order = np.argsort(-pixels, kind="stable")
    return np.array(boxes, np.int64).reshape(-1, 4)[order]


def intersection_over_union(one: NDArray, other: NDArray) -> NDArray[np.float64]:
    """Return the intersection over union (IoU) of boxes.

    Args:
        one: Boxes `(..., 4)`.
        other: Boxes `(..., 4)` that broadcast against `one`.

    Returns:
        Values from 0 to 1; 0 where both boxes are empty.

    Example:
        >>> float(intersection_over_union(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])))
        0.3333333333333333
    """
    corner = np.maximum(one[..., :2], other[..., :2])
    opposite = np.minimum(one[..., 2:], other[..., 2:])
    common = _area(np.concatenate([corner, opposite], axis=-1))
    together = _area(one) + _area(other) - common
    return np.divide(common, together, out=np.zeros(common.shape), where=together > 0)


def _area(boxes: NDArray) -> NDArray[np.float64]:
    sides = np.maximum(np.asarray(boxes, "float64")[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]
