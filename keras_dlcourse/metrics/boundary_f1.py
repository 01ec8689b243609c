"""How well the outlines of masks agree, which pixel measures of large objects hardly show."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.data.mask_labels import IGNORE


def boundary_f1(
    true: Any,
    predicted: Any,
    classes: int,
    tolerance: float = 0.0075,
    ignore: int | None = IGNORE,
) -> np.ndarray:
    """Return the boundary F1 score of each class in each image.

        F1 = 2 P R / (P + R)

    P is the fraction of the predicted boundary that lies near the true one, R the fraction of the
    true boundary near the predicted one. The boundary of a class consists of its pixels above,
    below or beside a pixel of another class; the border of the image is not a boundary, nor is that
    of a region without labels.

    Args:
        true: True class numbers `(images, height, width)`.
        predicted: Predicted class numbers of the same shape (`scores.argmax(-1)`).
        classes: Number of classes.
        tolerance: Greatest distance that is near, as a fraction of the diagonal of the image.
        ignore: Value of the pixels without a label, or None if all have one.

    Returns:
        Scores `(images, classes)`, from 0 to 1; NaN for classes without a boundary in both masks.
        `numpy.nanmean(..., axis=0)` is the score of each class.

    Raises:
        TypeError: If the masks are not integers.
        ValueError: If shapes differ or an argument is out of range.

    Example:
        >>> true, predicted = np.zeros((2, 1, 8, 8), int)
        >>> true[0, 2:6, 2:6], predicted[0, 2:6, 2:7] = 1, 1
        >>> boundary_f1(true, predicted, 2, tolerance=0.0).round(2).tolist()
        [[0.71, 0.77]]

    Reference:
        Csurka, Larlus and Perronnin, "What is a Good Evaluation Measure for Semantic
        Segmentation?", BMVC 2013, https://doi.org/10.5244/C.27.32
    """
    true, predicted = check_masks(true, predicted)
    classes = check_integer("classes", classes)
    reach = check_number("tolerance", tolerance, least=0) * np.hypot(*true.shape[1:])
    known = np.ones(true.shape, bool) if ignore is None else true != ignore
    scores = np.full((len(true), classes), np.nan)
    for image, here in enumerate(known):
        for number in range(classes):
            there = _boundary(true[image] == number, here)
            found = _boundary(predicted[image] == number, here)
            scores[image, number] = _f1(there, found, reach)
    return scores


def check_masks(true: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return masks as arrays; raise an error unless they are integers of the same shape."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    for name, mask in (("true", true), ("predicted", predicted)):
        if mask.dtype.kind not in "iu":
            raise TypeError(
                f"{name} must be class numbers. Received: {mask.dtype}. Take argmax(-1) of scores."
            )
        if mask.ndim != 3 or mask.shape != true.shape:
            raise ValueError(
                "true and predicted must be (images, height, width), of the same shape. Received: "
                f"{true.shape} and {predicted.shape}"
            )
    return true, predicted


def _boundary(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that touch a labeled pixel outside of it."""
    from scipy import ndimage

    outside = ~mask & known
    return mask & known & ndimage.binary_dilation(outside)


def _f1(true: np.ndarray, predicted: np.ndarray, reach: float) -> float:
    if not true.any() and not predicted.any():
        return float("nan")
    if not true.any() or not predicted.any():
        return 0.0
    precision, recall = _near(predicted, true, reach), _near(true, predicted, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(these: np.ndarray, those: np.ndarray, reach: float) -> float:
    """Return the fraction of some pixels that lie within the reach of others."""
    from scipy import ndimage

    return float((ndimage.distance_transform_edt(~those)[these] <= reach).mean())
