"""Resizing of raw maps to the image size and scaling to 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def resize_and_scale(maps: np.ndarray, size: tuple[Any, ...]) -> np.ndarray:
    """Resize raw maps to the size of the images and scale those of each image to 0..1.

    Args:
        maps: `(n, h, w)` or `(n, k, h, w)`.
        size: Target height and width.

    Returns:
        Float32 maps of that size; the k maps of one image share one scale.

    Example:
        >>> import numpy as np
        >>> resize_and_scale(np.array([[[1.0, 3.0]]]), (1, 4))
        array([[[0.  , 0.25, 0.75, 1.  ]]], dtype=float32)
    """
    return to_unit(resize_maps(maps, size))


def to_unit(maps: np.ndarray) -> np.ndarray:
    """Scale the maps of each example, with any number of axes, to 0..1.

    Args:
        maps: `(n, ...)`.

    Returns:
        Float32 maps of the same shape; constant maps become all 0.
    """
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axes, keepdims=True)
    span = maps.max(axes, keepdims=True) - low
    # Rounding errors of resizing must not look like evidence in a constant map.
    flat = span <= 1e-6 * np.abs(maps).max(axes, keepdims=True)
    result = np.where(flat, 0, (maps - low) / np.where(flat, 1, span))
    return np.asarray(result, "float32")


def resize_maps(maps: np.ndarray, size: tuple[Any, ...]) -> np.ndarray:
    """Resize maps to the size of the images, with bilinear interpolation.

    Args:
        maps: `(..., h, w)`.
        size: Target height and width.

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
