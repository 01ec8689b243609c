"""From a mask of all objects to a number for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse._extras import require

_SMOOTHING = 1.0  # pixels: a ragged outline is no object of its own


def separate_instances(
    interior: Any, threshold: float = 0.5, *, spacing: int = 7, smallest: int = 1
) -> NDArray[np.int32]:
    """Number the objects of a mask, splitting those that touch (watershed).

    The distance of each pixel from the background, smoothed by one pixel, has a peak in the middle
    of each object. Starting from the peaks, the objects grow downhill until they meet each other or
    the background. It suits convex objects such as cells, best where the network was trained to
    leave gaps between them (`kd.losses.boundary_weights`).

    Args:
        interior: Probability that a pixel belongs to an object, `(height, width)` or
            `(batch, height, width)`; or a mask, True or 1 in objects.
        threshold: Probability from which on a pixel belongs to an object.
        spacing: Least distance between the middles of two objects, in pixels: about the radius of
            the smallest ones.
        smallest: Least number of pixels of an object; smaller ones become background.

    Returns:
        Numbers of the objects of each image from 1, 0 for the background; of the shape of
        `interior`.

    Raises:
        ImportError: If scikit-image is not installed.
        TypeError: If `interior` is not numbers.
        ValueError: If `interior` has another number of axes or NaN, or an argument is out of range.

    Example:
        >>> y, x = np.ogrid[:24, :40]  # two discs that overlap
        >>> discs = [np.hypot(y - 12, x - center) < 9 for center in (12, 27)]
        >>> found = separate_instances(discs[0] | discs[1])  # doctest: +SKIP
        >>> found[12, 12], found[12, 27]  # doctest: +SKIP
        (1, 2)

    Reference:
        Vincent and Soille, "Watersheds in Digital Spaces", PAMI 1991,
        https://doi.org/10.1109/34.87344
    """
    require("keras_dlcourse.data.separate_instances", "scikit-image", "skimage")
    values = np.asarray(interior)
    if values.dtype.kind not in "buif":
        raise TypeError(f"interior must be numbers or True and False. Received: {values.dtype}")
    if values.ndim not in (2, 3):
        raise ValueError(
            "interior must be (height, width) or (batch, height, width). Received: shape "
            f"{values.shape}. Choose one class of scores, such as scores[..., 0]."
        )
    if np.isnan(values).any():
        raise ValueError("interior must not have NaN. Check the weights of the model.")
    threshold = check_number("threshold", threshold)
    check_integer("spacing", spacing)
    check_integer("smallest", smallest)
    found = np.zeros(values.shape, np.int32)
    for number in np.ndindex(values.shape[:-2]):
        found[number] = _split(values[number] >= threshold, spacing, smallest)
    return found


def _split(mask: NDArray[np.bool_], spacing: int, smallest: int) -> NDArray[np.int32]:
    """Return the numbers of the objects of one mask."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    # The border of the image is none of an object that it cuts.
    height = ndimage.distance_transform_edt(mask) if not mask.all() else np.ones(mask.shape)
    height = ndimage.gaussian_filter(height, _SMOOTHING)
    disc = np.hypot(*np.ogrid[-spacing : spacing + 1, -spacing : spacing + 1]) <= spacing
    peaks = mask & (height == ndimage.maximum_filter(height, footprint=disc))
    marks, _ = ndimage.label(peaks, np.ones((3, 3)))
    parts = watershed(-height, marks, mask=mask)
    kept = np.bincount(parts.ravel()) >= smallest
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[parts]
