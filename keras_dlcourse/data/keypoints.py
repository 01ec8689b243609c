"""Keypoints relative to the box of what they belong to, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse.edge.description.layouts import KeypointLayout


def keypoints_to_box(points: Any, boxes: Any) -> np.ndarray:
    """Return keypoints from the middle of a box, in its widths and heights.

        x' = (x - middle of the box) / width        y' = (y - middle) / height

    Args:
        points: `(n, points, 2)`, or `(n, points, 3)` with whether a point is visible as the third
            number, which stays.
        boxes: `(n, 4)` as left, top, right, bottom, in the units of the points.

    Returns:
        float32 of the shape of `points`; 0 along a side of the box without length.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> keypoints_to_box([[[30, 40]]], [[10, 20, 30, 60]]).tolist()
        [[[0.5, 0.0]]]

    Reference:
        Toshev and Szegedy, "DeepPose", CVPR 2014, https://arxiv.org/abs/1312.4659, equation 1
    """
    points, middle, sides = _checked(points, boxes)
    away = points[..., :2] - middle
    places = np.divide(away, sides, out=np.zeros_like(away), where=sides > 0)
    return np.concatenate([places, points[..., 2:]], axis=-1)


def keypoints_from_box(points: Any, boxes: Any) -> np.ndarray:
    """Return keypoints in the units of the boxes: what `keypoints_to_box` made relative.

    Args:
        points: `(n, points, 2)` or `(n, points, 3)`.
        boxes: `(n, 4)` as left, top, right, bottom.

    Returns:
        float32 of the shape of `points`.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> keypoints_from_box([[[0.5, 0.0]]], [[10, 20, 30, 60]]).tolist()
        [[[30.0, 40.0]]]
    """
    points, _, _ = _checked(points, boxes)
    numbers = points[..., :2].reshape(len(points), 2 * points.shape[1])
    places = KeypointLayout("box").places(numbers, np.asarray(boxes, "float32"))
    return np.concatenate([places, points[..., 2:]], axis=-1)


def flip_keypoints(points: Any, width: float, pairs: Sequence[tuple[int, int]] = ()) -> np.ndarray:
    """Return the keypoints of mirrored images.

    Args:
        points: `(n, points, 2)` or `(n, points, 3)`.
        width: Width of the images in the units of the points: 1 for shares, 0 for points relative
            to the middle of a box.
        pairs: Points that change places, such as the left and the right eye: the left eye of a
            mirrored face is the image of the right one.

    Returns:
        float32 of the shape of `points`.

    Raises:
        ValueError: If the shape is another, or a pair names a point that is not there.

    Example:
        >>> flip_keypoints([[[0.25, 0.5], [0.5, 0.5]]], 1, pairs=[(0, 1)]).tolist()
        [[[0.5, 0.5], [0.75, 0.5]]]
    """
    points = _points(points)
    order = swapped(points.shape[-2], pairs)
    points = points.copy()
    points[..., 0] = width - points[..., 0]
    return points[..., order, :]


def swapped(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the numbers of `count` points with those of each pair exchanged."""
    order = np.arange(count)
    for one, other in pairs:
        if not (0 <= one < count and 0 <= other < count):
            raise ValueError(f"the pair {(one, other)} names a point that is none of {count}.")
        order[[one, other]] = other, one
    return order


def _points(points: Any) -> np.ndarray:
    points = np.asarray(points, "float32")
    if points.ndim != 3 or points.shape[-1] not in (2, 3):
        raise ValueError(f"points must be (n, points, 2 or 3), got shape {points.shape}.")
    return points


def _checked(points: Any, boxes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points, and the middle and the sides of each box, `(n, 1, 2)`."""
    points, boxes = _points(points), np.asarray(boxes, "float32")
    if boxes.shape != (len(points), 4):
        raise ValueError(
            f"boxes must be ({len(points)}, 4), one for each row of points, got {boxes.shape}."
        )
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return points, (low + high) / 2, high - low
