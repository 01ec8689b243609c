"""Choose among boxes that overlap, with NumPy alone."""

from __future__ import annotations

import numpy as np

_BLOCK = 128  # boxes whose overlaps with each other are computed at once


def non_max_suppression(
    edges: np.ndarray,
    scores: np.ndarray,
    *,
    iou_threshold: float,
    max_results: int,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the indices of the boxes that overlap no better one by more than a limit, best first.

    A box is dropped if its intersection over union with a box that is kept, and has a higher score,
    or the same score and a lower index, is above `iou_threshold`. Boxes without area overlap
    nothing.

    Args:
        edges: Left, top, right and bottom of each box, `(n, 4)`.
        scores: The score of each box, `(n,)`.
        iou_threshold: The limit.
        max_results: Maximum number of boxes to keep.
        classes: The class of each box, `(n,)`: only boxes of the same class are compared. None
            compares all.

    Example:
        >>> boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [6, 6, 8, 8]])
        >>> scores = np.array([0.6, 0.9, 0.8])
        >>> non_max_suppression(boxes, scores, iou_threshold=0.5, max_results=10).tolist()
        [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(0, int)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if len(kept):
            block = block[~_overlap(edges, classes, kept, block, iou_threshold).any(axis=0)]
        covers = _overlap(edges, classes, block, block, iou_threshold)
        covers = np.triu(covers, 1)  # only boxes with lower scores are dropped
        alive = np.ones(len(block), bool)
        for number in np.flatnonzero(covers.any(axis=1)).tolist():
            if alive[number]:
                alive &= ~covers[number]
        kept = np.concatenate([kept, block[alive]])
        if len(kept) >= max_results:
            break
    return kept[:max_results]


def _overlap(
    edges: np.ndarray,
    classes: np.ndarray | None,
    ones: np.ndarray,
    others: np.ndarray,
    limit: float,
) -> np.ndarray:
    """Return whether boxes overlap by more than the limit, `(ones, others)`."""
    found = box_ious(edges[ones], edges[others]) > limit
    return found if classes is None else found & (classes[ones, None] == classes[others])


def box_ious(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of all pairs of boxes, `(ones, others)`; 0 without area.

    Args:
        ones: Left, top, right and bottom of boxes, `(n, 4)`.
        others: Of others, `(m, 4)`.
    """
    # One coordinate at a time: several times faster than arrays with a last axis of 2.
    left, top, right, bottom = ones.T[:, :, None]
    others_left, others_top, others_right, others_bottom = others.T
    width = np.minimum(right, others_right) - np.maximum(left, others_left)
    height = np.minimum(bottom, others_bottom) - np.maximum(top, others_top)
    both = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(ones)[:, None] + _areas(others) - both
    return both / np.where(union > 0, union, 1)


def _areas(edges: np.ndarray) -> np.ndarray:
    left, top, right, bottom = edges.T
    areas: np.ndarray = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    return areas
