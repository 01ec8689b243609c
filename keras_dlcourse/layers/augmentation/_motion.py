"""How the points of an image move, and the boxes around them."""

from __future__ import annotations

import math
from typing import Any

from keras import ops


class Motion:
    """How the points of each image move: `p' = matrix (p - center) + center + shift`.

    Points are in pixels from the upper left corner of the image, so the center of its first pixel
    is at (0.5, 0.5).

    Attributes:
        matrix: `(batch, 2, 2)`.
        shift: `(batch, 2)`, x and y.
        size: `(2,)`, width and height.
        is_flipped: `(batch,)`, whether an image is mirrored.
    """

    def __init__(self, matrix: Any, shift: Any, size: Any, is_flipped: Any) -> None:
        self.matrix = matrix
        self.shift = shift
        self.size = size
        self.is_flipped = is_flipped

    def points(self, points: Any) -> Any:
        """Return the moved points of `(batch, n, 2)`."""
        middle = self.size / 2
        turned = ops.matmul(points - middle, ops.transpose(self.matrix, (0, 2, 1)))
        return turned + middle + self.shift[:, None]

    def boxes(self, boxes: Any) -> Any:
        """Return upright boxes around the moved boxes `(batch, ..., 4)`, clipped to the image."""
        left, top, right, bottom = (boxes[..., k] for k in range(4))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        stacked = ops.stack([ops.stack(corner, axis=-1) for corner in corners], axis=-2)
        moved = ops.reshape(self.points(_flatten(stacked)), ops.shape(stacked))
        low = self._clip(ops.min(moved, axis=-2))
        high = self._clip(ops.max(moved, axis=-2))
        gone = ops.any(high - low <= 0, axis=-1, keepdims=True) & _has_area(boxes)
        edges = ops.concatenate([low, high], axis=-1)
        missing = gone | ops.any(ops.isnan(boxes), axis=-1, keepdims=True)
        return ops.where(missing, float("nan"), edges)

    def _clip(self, points: Any) -> Any:
        return ops.minimum(ops.maximum(points, 0.0), self.size)

    def to_pixels(self) -> Any:
        """Return transforms `(batch, 8)` in Keras's form, from output pixels to input pixels.

        Keras's coordinates refer to pixel centers: ours minus half a pixel.
        """
        (a, b), (c, d) = ((self.matrix[:, k, 0], self.matrix[:, k, 1]) for k in range(2))
        det = a * d - b * c
        middle = self.size / 2
        x, y = (0.5 - middle[k] - self.shift[:, k] for k in range(2))
        rows = [
            (d / det, -b / det, (d * x - b * y) / det + middle[0] - 0.5),
            (-c / det, a / det, (a * y - c * x) / det + middle[1] - 0.5),
        ]
        zero = ops.zeros_like(det)
        return ops.stack([*rows[0], *rows[1], zero, zero], axis=-1)


def _flatten(corners: Any) -> Any:
    """Return corners `(batch, ..., 2)` as points `(batch, n, 2)`."""
    return ops.reshape(corners, (-1, math.prod(corners.shape[1:-1]), 2))


def _has_area(boxes: Any) -> Any:
    return ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1, keepdims=True)


def out_of_box(points: Any, box: Any) -> Any:
    """Convert points relative to a box (left, top, right, bottom), `(batch, 4)`, to its units."""
    low, high = box[:, None, :2], box[:, None, 2:]
    return points[..., :2] * (high - low) + (low + high) / 2


def into_box(places: Any, box: Any) -> Any:
    """Convert points in the units of a box to points relative to it; 0 along sides of length 0."""
    low, high = box[:, None, :2], box[:, None, 2:]
    side = high - low
    return ops.where(side > 0, places - (low + high) / 2, 0.0) / ops.where(side > 0, side, 1.0)
