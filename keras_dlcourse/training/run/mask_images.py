"""Which images a report shows with their masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def typical_images(image_iou: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Return the images whose mean IoU is next to the median, in ascending order.

    Example:
        >>> typical_images(np.array([0.1, 0.9, 0.5, 0.6, np.nan]), 2).tolist()
        [2, 3]
    """
    order = _rank(image_iou)
    start = max(0, (len(order) - limit) // 2)
    return order[start : start + limit]


def worst_images(image_iou: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Return the images with the lowest mean IoU, the worst first; none that are all right.

    Example:
        >>> worst_images(np.array([0.1, 1.0, 0.5, np.nan]), 3).tolist()
        [0, 2]
    """
    order = _rank(image_iou)
    return order[image_iou[order] < 1][:limit]


def _rank(image_iou: NDArray[np.float64]) -> NDArray[np.int64]:
    known = np.flatnonzero(~np.isnan(image_iou))
    return known[np.argsort(image_iou[known], kind="stable")]


def name_classes(mask: NDArray, class_names: Sequence[str]) -> str:
    """Return the names of the classes in a mask, those with most pixels first.

    Example:
        >>> name_classes(np.array([[1, 1, 0, 255]]), ["ground", "house"])
        'house, ground'
    """
    counts = np.bincount(mask.ravel(), minlength=len(class_names))[: len(class_names)]
    order = np.argsort(-counts, kind="stable")
    return ", ".join(class_names[number] for number in order if counts[number])
