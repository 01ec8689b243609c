"""U-Net's weights of pixels, which make a network separate objects that touch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_number
from keras_dlcourse.losses.segmentation._pixels import _check_class_weight

_REACH = 6  # in sigma: the border term is below 2e-8 of its maximum there


def boundary_weights(
    instances: Any,
    border_weight: float = 10.0,
    sigma: float = 5.0,
    class_weight: Sequence[float] = (1.0, 1.0),
) -> np.ndarray:
    """Return a weight for each pixel, high in the gaps between neighboring objects.

        w(x) = w_c(x) + w0 * exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

    w_c is the weight of the pixel's class. d1 and d2 are the distances, in pixels, from the center
    of the pixel to the nearest pixel of the nearest and of the second nearest object. The second
    term is added to the background: it is where a wrong pixel merges two objects. Images with fewer
    than two objects have w_c alone.

    Pass the weights as `sample_weight` to `model.fit`, with a loss such as
    `kd.losses.PixelCrossentropy`. Objects that touch need a gap of background in the masks that the
    network is trained on, as in the paper.

    Args:
        instances: Numbers of the objects, `(height, width)` or `(batch, height, width)` integers:
            0 for the background, another number for each object.
        border_weight: The highest weight that a gap adds (w0), at least 0.
        sigma: Width of the gaps that count, in pixels, above 0.
        class_weight: Weights of background and object (w_c).

    Returns:
        Float32 weights of the shape of `instances`.

    Raises:
        TypeError: If `instances` are not integers, or an argument is not a number.
        ValueError: If `instances` has another number of axes or negative numbers, or an argument is
            out of range.

    Example:
        >>> weights = boundary_weights(np.array([[1, 0, 2, 0, 0, 0]]), sigma=2.0)
        >>> [round(float(weight), 2) for weight in weights[0]]  # 1 + 10 exp(-(1 + 1)^2 / 8), ...
        [1.0, 7.07, 1.0, 2.35, 1.11, 1.0]

    Reference:
        Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
        Segmentation", MICCAI 2015, section 3, https://arxiv.org/abs/1505.04597
    """
    masks = np.asarray(instances)
    if masks.dtype.kind not in "iub":
        raise TypeError(
            f"instances must be integers, 0 for the background. Received: {masks.dtype}. Convert "
            "whole numbers with astype('int32')."
        )
    if masks.ndim not in (2, 3):
        raise ValueError(
            "instances must be (height, width) or (batch, height, width). Received: shape "
            f"{masks.shape}"
        )
    if (masks.astype("int64") < 0).any():
        raise ValueError("instances must not have negative numbers; 0 is the background.")
    w0 = check_number("border_weight", border_weight, least=0)
    sigma = check_number("sigma", sigma, above=0)
    of_class = _check_class_weight(class_weight) or []
    if len(of_class) != 2:
        raise ValueError(
            "class_weight must be two weights, of background and object. Received: "
            f"{class_weight!r}"
        )
    weights = np.where(masks > 0, of_class[1], of_class[0]).astype("float32")
    for number in np.ndindex(masks.shape[:-2]):
        total = _two_distances(masks[number], sigma * _REACH)
        border = w0 * np.exp(-np.square(total) / (2 * sigma**2))
        weights[number] += np.where(masks[number] > 0, 0, border)
    return weights


def _two_distances(mask: np.ndarray, reach: float) -> np.ndarray:
    """Return the sum of the distances to the two nearest objects; infinity beyond the reach."""
    from scipy import ndimage

    # Objects may have any numbers: 1, 2, ... as find_objects expects them.
    numbers, dense = np.unique(mask, return_inverse=True)
    dense = dense.reshape(mask.shape) + int(numbers[0] != 0)
    nearest, second = np.full((2, *mask.shape), np.inf)
    margin = int(np.ceil(reach))
    for number, box in enumerate(ndimage.find_objects(dense), 1):
        if box is None:
            continue
        # Pixels further away than the reach get no weight, so the rest of the image is left out.
        here = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
        distance = ndimage.distance_transform_edt(dense[here] != number)
        second[here] = np.minimum(second[here], np.maximum(nearest[here], distance))
        nearest[here] = np.minimum(nearest[here], distance)
    return nearest + second
