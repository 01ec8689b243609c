"""Raw maps to the size of their images and the scale of 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def scaled(maps: np.ndarray, size: tuple[Any, ...]) -> np.ndarray:
    """Enlarge raw maps to the size of the images and bring each image's to 0..1.

    Args:
        maps: `(n, h, w)` or `(n, k, h, w)`.
        size: Height and width to enlarge to.

    Returns:
        Float32 maps of that size; the k maps of one image share their scale.

    Example:
        >>> import numpy as np
        >>> scaled(np.array([[[1.0, 3.0]]]), (1, 4))
        array([[[0.  , 0.25, 0.75, 1.  ]]], dtype=float32)
    """
    return to_unit(enlarged(maps, size))


def to_unit(maps: np.ndarray) -> np.ndarray:
    """Bring the maps of each example, of any number of axes, to 0..1.

    Args:
        maps: `(n, ...)`.

    Returns:
        Float32 maps of the same shape; those that are the same everywhere are all 0.
    """
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axes, keepdims=True)
    span = maps.max(axes, keepdims=True) - low
    # Rounding in an enlargement must not pass for evidence in a map that is the same everywhere.
    flat = span <= 1e-6 * np.abs(maps).max(axes, keepdims=True)
    result = np.where(flat, 0, (maps - low) / np.where(flat, 1, span))
    return np.asarray(result, "float32")


def enlarged(maps: np.ndarray, size: tuple[Any, ...]) -> np.ndarray:
    """Enlarge maps to the size of the images, bilinear.

    Args:
        maps: `(..., h, w)`.
        size: Height and width to enlarge to.

    Returns:
        Float32 maps of that size.
    """
    height, width = (int(side) for side in size)
    planes = maps.reshape(-1, *maps.shape[-2:]).astype("float32")
    large = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in planes
    ]
    return np.stack(large).reshape(*maps.shape[:-2], height, width)
