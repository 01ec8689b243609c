"""How well a network recognizes the labels of images that may have any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.data.interval import Interval, confidence_interval
from keras_dlcourse.report.class_scores import ClassScores
from keras_dlcourse.report.curves import PRECISION_RECALL, areas
from keras_dlcourse.report.one_vs_rest import one_vs_rest


@dataclass(frozen=True)
class LabelScores:
    """The quality of scores for images with any number of labels.

    Attributes:
        mean_average_precision: The mean average precision (mAP) over the labels that some image
            has, with its bootstrap interval.
        average_precisions: That of each label, `(labels,)`; NaN for a label that no image has.
        labels: Precision, recall and F1 of each label at its threshold.
        exact: Whether all labels of each image are right, `(n,)`; unknown ones do not count.
        loss: Mean binary cross-entropy of each image over its known labels, `(n,)`.
    """

    mean_average_precision: Interval
    average_precisions: NDArray[np.float64]
    labels: ClassScores
    exact: NDArray[np.bool_]
    loss: NDArray[np.float64]

    def to_dict(self) -> dict[str, float]:
        """Return the main measures as JSON-serializable values."""
        found = self.mean_average_precision
        return {
            "mean_average_precision": found.value,
            "mean_average_precision_low": found.low,
            "mean_average_precision_high": found.high,
            "mean_average_precision_level": found.level,
            "f1": self.labels.macro[2],
            "exact_match": float(self.exact.mean()),
        }


def label_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    thresholds: ArrayLike,
    names: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> LabelScores:
    """Measure how well scores tell which labels images have.

    Args:
        labels: `(n, labels)`: 1 where an image has a label, 0 where it has not, below 0 where that
            is unknown. At least one image must have a label.
        scores: Probabilities, `(n, labels)`.
        thresholds: For each label the score from which it counts as recognized, `(labels,)`.
        names: A name for each label.
        level: Level of the confidence interval.
        seed: Seed of the bootstrap.

    Example:
        >>> labels = [[1, 0], [1, 1], [0, 0], [0, 1]]
        >>> scores = [[0.9, 0.2], [0.6, 0.8], [0.7, 0.1], [0.2, 0.3]]
        >>> found = label_scores(labels, scores, [0.5, 0.5], ["cat", "dog"])
        >>> found.exact.tolist(), found.average_precisions.round(2).tolist()
        ([True, True, False, False], [0.83, 1.0])
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    known, is_there = true >= 0, true == 1
    said = values >= np.asarray(thresholds, float)
    likelihood = np.clip(np.where(is_there, values, 1 - values), 1e-7, None)
    return LabelScores(
        _bootstrap(true, values, level, seed),
        areas(PRECISION_RECALL, one_vs_rest(true, values)),
        _measure_each(is_there & known, said & known, names),
        ((said == is_there) | ~known).all(axis=1),
        -(np.log(likelihood) * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1),
    )


def _measure_each(is_there: NDArray, said: NDArray, names: Sequence[str]) -> ClassScores:
    """Return precision, recall and F1 of each label; NaN for labels that no image has."""
    right, found, support = (each.sum(axis=0) for each in (is_there & said, said, is_there))
    there = np.where(support > 0, support, np.nan)
    precision = np.where(support > 0, right / np.maximum(found, 1), np.nan)
    return ClassScores(tuple(names), precision, right / there, 2 * right / (found + there), support)


def _bootstrap(labels: NDArray, scores: NDArray, level: float, seed: int) -> Interval:
    """Return the mean average precision and its interval; a single image has none."""
    measure = _MeanAveragePrecision(labels, scores)
    rows = np.arange(len(labels))
    if len(rows) == 1:
        return Interval(measure(rows, rows), 0.0, 1.0, level)
    return confidence_interval(measure, rows, rows, level=level, seed=seed)


class _MeanAveragePrecision:
    """Mean average precision of samples of the same images, which are sorted only once.

    The value of a sample is that of scikit-learn's `average_precision_score`, averaged over the
    labels that occur in it; 0 if none does.
    """

    def __init__(self, labels: NDArray, scores: NDArray) -> None:
        self.order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, self.order, axis=0)
        sorted_labels = np.take_along_axis(labels, self.order, axis=0)
        self.is_known, self.is_there = sorted_labels >= 0, sorted_labels == 1
        # Equal scores are one threshold: the last of them has the precision of all.
        is_last = np.ones(ranked.shape, bool)
        is_last[:-1] = ranked[1:] != ranked[:-1]
        places = np.where(is_last, np.arange(len(ranked))[:, None], len(ranked))
        self.last = np.minimum.accumulate(places[::-1], axis=0)[::-1]

    def __call__(self, rows: NDArray, _: Any) -> float:
        counts = np.bincount(rows, minlength=len(self.order))[self.order]
        positive, listed = counts * self.is_there, counts * self.is_known
        true = np.cumsum(positive, axis=0)
        precision = true / np.maximum(np.cumsum(listed, axis=0), 1)
        at_threshold = np.take_along_axis(precision, self.last, axis=0)
        total = true[-1]
        if not total.any():
            return 0.0
        area = (positive * at_threshold).sum(axis=0)[total > 0] / total[total > 0]
        return float(area.mean())
