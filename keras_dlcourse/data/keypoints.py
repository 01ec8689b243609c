"""Conversion of keypoints to and from coordinates relative to the box of their object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse.edge.description.layouts import KeypointLayout


def keypoints_to_box(points: Any, boxes: Any) -> np.ndarray:
    """Return keypoints relative to the center of a box, in units of its width and height.

        x' = (x - center_x) / width        y' = (y - center_y) / height

    Args:
        points: `(n, points, 2)`, or `(n, points, 3)` whose third value is the visibility, which is
            returned unchanged.
        boxes: `(n, 4)` as left, top, right, bottom, in the units of the points.

    Returns:
        float32 of the shape of `points`; 0 along a side of the box with length 0.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> keypoints_to_box([[[30, 40]]], [[10, 20, 30, 60]]).tolist()
        [[[0.5, 0.0]]]

    Reference:
        Toshev and Szegedy, "DeepPose", CVPR 2014, https://arxiv.org/abs/1312.4659, equation 1
    """
    points, middle, sides = _check_keypoints(points, boxes)
    away = points[..., :2] - middle
    places = np.divide(away, sides, out=np.zeros_like(away), where=sides > 0)
    return np.concatenate([places, points[..., 2:]], axis=-1)


def keypoints_from_box(points: Any, boxes: Any) -> np.ndarray:
    """Return keypoints in the units of the boxes. The inverse of `keypoints_to_box`.

    Args:
        points: `(n, points, 2)` or `(n, points, 3)`.
        boxes: `(n, 4)` as left, top, right, bottom.

    Returns:
        float32 of the shape of `points`.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> keypoints_from_box([[[0.5, 0.0]]], [[10, 20, 30, 60]]).tolist()
        [[[30.0, 40.0]]]
    """
    points, _, _ = _check_keypoints(points, boxes)
    numbers = points[..., :2].reshape(len(points), 2 * points.shape[1])
    places = KeypointLayout("box").places(numbers, np.asarray(boxes, "float32"))
    return np.concatenate([places, points[..., 2:]], axis=-1)


def flip_keypoints(points: Any, width: float, pairs: Sequence[tuple[int, int]] = ()) -> np.ndarray:
    """Return the keypoints of mirrored images.

    Args:
        points: `(n, points, 2)` or `(n, points, 3)`.
        width: Width of the images in the units of the points: 1 for fractions of the width, 0 for
            points relative to the center of a box.
        pairs: Pairs of point indices to swap, such as the left and the right eye: in a mirrored
            face, the left eye is where the right one was.

    Returns:
        float32 of the shape of `points`.

    Raises:
        ValueError: If `points` has another shape, or a pair contains an index out of range.

    Example:
        >>> flip_keypoints([[[0.25, 0.5], [0.5, 0.5]]], 1, pairs=[(0, 1)]).tolist()
        [[[0.5, 0.5], [0.75, 0.5]]]
    """
    points = _points(points)
    order = swap_pairs(points.shape[-2], pairs)
    points = points.copy()
    points[..., 0] = width - points[..., 0]
    return points[..., order, :]


def swap_pairs(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the indices of `count` points with each pair swapped."""
    order = np.arange(count)
    for one, other in pairs:
        if not (0 <= one < count and 0 <= other < count):
            raise ValueError(
                f"pairs must contain point indices below {count}. Received: {(one, other)}"
            )
        order[[one, other]] = other, one
    return order


def _points(points: Any) -> np.ndarray:
    points = np.asarray(points, "float32")
    if points.ndim != 3 or points.shape[-1] not in (2, 3):
        raise ValueError(f"points must be (n, points, 2 or 3). Received: shape {points.shape}")
    return points


def _check_keypoints(points: Any, boxes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points, and the center and side lengths of each box, `(n, 1, 2)`."""
    points, boxes = _points(points), np.asarray(boxes, "float32")
    if boxes.shape != (len(points), 4):
        raise ValueError(
            f"boxes must be ({len(points)}, 4), one for each row of points. Received: shape "
            f"{boxes.shape}"
        )
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return points, (low + high) / 2, high - low
