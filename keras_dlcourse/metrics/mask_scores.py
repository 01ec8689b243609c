"""How well predicted masks fit: all measures of pixels, outlines, and each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data.interval import Interval, confidence_interval
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.metrics.boundary_f1 import boundary_f1, check_masks
from keras_dlcourse.metrics.segmentation import SegmentationScores, measure_matrix

_MEASURES = (
    "pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou", "mean_dice",
)  # fmt: skip


@dataclass(frozen=True)
class MaskScores:
    """Measures of predicted masks.

    Attributes:
        pixels: The measures of one confusion matrix of all pixels, also of each class.
        interval: The mean IoU with its interval over images; None for a single image.
        boundary_f1: Mean over images of how well the outlines of each class agree, `(classes,)`;
            NaN for classes without an outline.
        images: Number of images that show each class, `(classes,)`.
        image_iou: The mean IoU of each image, `(n,)`; NaN for images without labeled pixels.
    """

    pixels: SegmentationScores
    interval: Interval | None
    boundary_f1: NDArray[np.float64]
    images: NDArray[np.int64]
    image_iou: NDArray[np.float64]

    def to_dict(self) -> dict[str, float | None]:
        """Return the measures of all classes together as JSON-serializable values."""
        found: dict[str, float | None] = {name: getattr(self.pixels, name) for name in _MEASURES}
        outlines = self.boundary_f1[~np.isnan(self.boundary_f1)]
        found["boundary_f1"] = float(outlines.mean()) if len(outlines) else None
        if self.interval is not None:
            for end in ("low", "high", "level"):
                found[f"mean_iou_{end}"] = getattr(self.interval, end)
        return found

    def by_class(self) -> dict[str, list[Any]]:
        """Return the measures of each class; None where there is none."""
        columns = {
            "iou": self.pixels.iou,
            "accuracy": self.pixels.accuracy,
            "dice": self.pixels.dice,
            "boundary_f1": self.boundary_f1,
        }
        return {
            "images": self.images.tolist(),
            **{
                name: [None if np.isnan(one) else float(one) for one in values]
                for name, values in columns.items()
            },
        }


def mask_scores(
    true: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    *,
    ignore: int | None = IGNORE,
    limit: int | None = None,
    level: float = 0.95,
) -> MaskScores:
    """Measure predicted masks: all pixels, outlines, and each image, with an interval over images.

    `SegmentationMetric` measures the same pixels batch by batch, e.g. during `fit`.

    Args:
        true: Class numbers `(images, height, width)`.
        predicted: Predicted class numbers of the same shape (`scores.argmax(-1)`).
        classes: Number of classes.
        ignore: Value of the pixels without a label, or None if all have one.
        limit: Maximum number of images whose outlines are compared, taken from the start; None for
            all. Each takes milliseconds for each class.
        level: Confidence level of the interval, between 0 and 1.

    Returns:
        A `MaskScores`.

    Raises:
        TypeError: If masks are not integers.
        ValueError: If shapes differ, no pixel has a label, or a number is out of range.

    Example:
        >>> true, predicted = np.zeros((2, 2, 4, 4), "uint8")
        >>> true[:, 1:3, 1:3], predicted[:, 1:3, 1:4] = 1, 1
        >>> found = mask_scores(true, predicted, 2)
        >>> [round(float(iou), 2) for iou in (*found.pixels.iou, *found.image_iou)]
        [0.83, 0.67, 0.75, 0.75]
        >>> print(found.interval)  # the mean IoU of other such images
        0.750 (0.750 to 0.750, 95%)
    """
    true, predicted = check_masks(true, predicted)
    classes = check_integer("classes", classes)
    some = slice(None if limit is None else check_integer("limit", limit))
    _check_numbers("true", true if ignore is None else true[true != ignore], classes)
    _check_numbers("predicted", predicted, classes)
    matrix, areas = _count(true, predicted, classes, ignore)
    if not matrix.any():
        raise ValueError(
            f"true must have pixels with a label. Received: shape {true.shape}, only {ignore}"
        )
    outlines = boundary_f1(true[some], predicted[some], classes, ignore=ignore)
    there = ~np.isnan(outlines)
    means = np.where(there, outlines, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return MaskScores(
        pixels=measure_matrix(matrix.astype("float64")),
        interval=None
        if len(areas) < 2
        else confidence_interval(
            lambda rows, _: mean_iou(rows.sum(axis=0)), areas, areas, level=level
        ),
        boundary_f1=np.where(there.any(axis=0), means, np.nan),
        images=(areas[:, 1] > 0).sum(axis=0),
        image_iou=np.array([mean_iou(one) for one in areas]),
    )


def _check_numbers(name: str, numbers: NDArray, classes: int) -> None:
    """Raise ValueError for a number that no class has."""
    if wrong := [int(one) for one in (numbers.min(initial=0), numbers.max(initial=0))
                 if not 0 <= one < classes]:  # fmt: skip
        raise ValueError(
            f"{name} must be class numbers from 0 to {classes - 1}. Received: {wrong[0]}"
        )


def mean_iou(areas: NDArray[np.int64]) -> float:
    """Return the mean IoU of classes from their areas; NaN if there are none.

    Args:
        areas: Pixels of each class where both masks show it, in the true and in the predicted
            mask, `(3, classes)`.

    Example:
        >>> mean_iou(np.array([[2, 0, 0], [4, 1, 0], [2, 0, 0]]))  # the third class is nowhere
        0.25
    """
    both, true, predicted = areas
    either = true + predicted - both
    found = either > 0
    return float((both[found] / either[found]).mean()) if found.any() else float("nan")


def _count(
    true: NDArray, predicted: NDArray, classes: int, ignore: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the confusion matrix of all pixels, and the areas `(n, 3, classes)` for `mean_iou`."""
    total = np.zeros((classes, classes), np.int64)
    areas = np.zeros((len(true), 3, classes), np.int64)
    for number, (one, other) in enumerate(zip(true, predicted, strict=True)):
        known = np.ones(one.shape, bool) if ignore is None else one != ignore
        pairs = one[known].astype(np.int64) * classes + other[known]
        matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        total += matrix
        areas[number] = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return total, areas
