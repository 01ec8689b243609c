"""Boxes from maps: object locations from labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_number
from keras_dlcourse.boxes.of_masks import boxes_around


def boxes_from_map(map: ArrayLike, threshold: float = 0.15, largest: bool = True) -> Any:
    """Return the box around the high values of a map.

    Pixels of at least `threshold` times the maximum are kept. The box surrounds their largest
    connected part (diagonal neighbors are connected).

    Args:
        map: `(height, width)`, or several maps `(n, height, width)`.
        threshold: Fraction of the map's maximum, above 0 and at most 1.
        largest: Whether to return only the box of the largest part.

    Returns:
        Boxes (left, top, right, bottom) in pixels, `"xyxy"` in Keras's terms, right and bottom
        exclusive: integers of shape `(4,)` for one map and `(n, 4)` for several. A map without a
        value above 0 has the box (0, 0, 0, 0). With `largest=False`, the boxes of all parts
        `(parts, 4)`, the largest part first; for several maps, a list of such arrays.

    Raises:
        ValueError: If the map has another shape or NaN or infinite values, or `threshold` is out of
            range.

    Example:
        >>> plane = np.zeros((6, 8))
        >>> plane[1:4, 2:5], plane[5, 7] = 0.5, 1.0
        >>> boxes_from_map(plane).tolist()
        [2, 1, 5, 4]
        >>> boxes_from_map(plane, largest=False).tolist()
        [[2, 1, 5, 4], [7, 5, 8, 6]]

    Reference:
        Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
        https://arxiv.org/abs/1512.04150; the default threshold is from Morbidelli et al.,
        "Augmented Grad-CAM", ICASSP 2020.
    """
    check_number("threshold", threshold, above=0, most=1)
    planes = np.asarray(map, "float64")
    if planes.ndim not in (2, 3) or 0 in planes.shape[-2:]:
        raise ValueError(
            f"map must have the shape (height, width) or (n, height, width). Received: "
            f"{planes.shape}."
        )
    if not np.isfinite(planes).all():
        raise ValueError("map must hold finite values; it holds NaN or infinity.")
    found = [_boxes(plane, threshold) for plane in planes.reshape(-1, *planes.shape[-2:])]
    if largest:
        none = np.zeros((1, 4), np.int64)
        firsts = [np.concatenate([boxes, none])[0] for boxes in found]
        return np.array(firsts).reshape(*planes.shape[:-2], 4)
    return found[0] if planes.ndim == 2 else found


def _boxes(plane: np.ndarray, threshold: float) -> np.ndarray:
    top = plane.max()
    return boxes_around((plane >= threshold * top) & (top > 0))
