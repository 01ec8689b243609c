"""How many objects are found, by the overlap of their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_number
from keras_dlcourse.metrics.boundary_f1 import check_masks


@dataclass(frozen=True)
class InstanceScores:
    """How many objects are found, over all images.

    Attributes:
        found: Pairs of a true and a predicted object that overlap enough, each object in one pair.
        missed: True objects without a partner.
        invented: Predicted objects without a partner.
        mean_iou: Mean IoU of the pairs; NaN without pairs.
    """

    found: int
    missed: int
    invented: int
    mean_iou: float

    @property
    def precision(self) -> float:
        """Fraction of the predicted objects that are there; NaN without predictions."""
        return _divide(self.found, self.found + self.invented)

    @property
    def recall(self) -> float:
        """Fraction of the true objects that are found; NaN without objects."""
        return _divide(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """`2 found / (2 found + missed + invented)`; NaN if there is no object at all."""
        return _divide(2 * self.found, 2 * self.found + self.missed + self.invented)


def instance_scores(true: Any, predicted: Any, iou: float = 0.5) -> InstanceScores:
    """Count the objects whose predicted masks overlap the true ones.

    Objects of an image are paired so that as many pairs as possible have at least the given IoU,
    and, of all such choices, their IoUs are highest.

    Args:
        true: Numbers of the true objects, `(images, height, width)`: 0 for the background, another
            number for each object of an image.
        predicted: Numbers of the predicted objects, of the same shape, such as from
            `kd.data.separate_instances`.
        iou: Least intersection over union of a pair, above 0.

    Returns:
        An `InstanceScores`.

    Raises:
        TypeError: If the numbers are not integers.
        ValueError: If shapes differ, or an argument is out of range.

    Example:
        >>> true, predicted = np.zeros((2, 1, 4, 8), int)
        >>> true[0, :, :3], true[0, :, 5:] = 1, 2
        >>> predicted[0, :, :4] = 7  # the first object and one more column; the second is missed
        >>> scores = instance_scores(true, predicted)
        >>> scores.mean_iou, round(scores.f1, 3)
        (0.75, 0.667)

    Reference:
        Caicedo et al., "Nucleus Segmentation across Imaging Experiments: the 2018 Data Science
        Bowl", Nature Methods 2019, https://doi.org/10.1038/s41592-019-0612-7
    """
    true, predicted = check_masks(true, predicted)
    iou = check_number("iou", iou, above=0, most=1)
    missed, invented, paired = 0, 0, []
    for one, other in zip(true, predicted, strict=True):
        overlaps = _overlaps(one, other)
        pairs = _pair(overlaps, iou)
        paired += pairs
        missed += overlaps.shape[0] - len(pairs)
        invented += overlaps.shape[1] - len(pairs)
    mean = float(np.mean(paired)) if paired else float("nan")
    return InstanceScores(len(paired), missed, invented, mean)


def _overlaps(true: NDArray, predicted: NDArray) -> NDArray[np.float64]:
    """Return the IoU of each true object with each predicted one."""
    (ours, rows), (theirs, columns) = (
        np.unique(numbers, return_inverse=True) for numbers in (true, predicted)
    )
    cells = rows.ravel() * len(theirs) + columns.ravel()
    pixels = np.bincount(cells, minlength=len(ours) * len(theirs)).reshape(len(ours), len(theirs))
    either = pixels.sum(axis=1, keepdims=True) + pixels.sum(axis=0) - pixels
    return (pixels / either)[ours != 0][:, theirs != 0]


def _pair(overlaps: NDArray[np.float64], least: float) -> list[float]:
    """Return the IoUs of the pairs of objects, each of which is in at most one."""
    from scipy.optimize import linear_sum_assignment

    # A further pair is worth more than any sum of IoUs.
    worth = np.where(overlaps >= least, 1 + overlaps / (2 * max(1, min(overlaps.shape))), 0)
    chosen = overlaps[linear_sum_assignment(worth, maximize=True)]
    return [float(one) for one in chosen if one >= least]


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
