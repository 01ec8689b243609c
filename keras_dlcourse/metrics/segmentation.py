"""Measures of class masks, from one confusion matrix of all pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse.data.mask_labels import IGNORE


@dataclass(frozen=True)
class SegmentationScores:
    """Measures of class masks; classes that nothing can be said of are NaN, and not in the means.

    Attributes:
        pixel_accuracy: Fraction of pixels with the correct class.
        mean_accuracy: Mean over classes of the fraction of their pixels that are found.
        mean_iou: Mean over classes of intersection over union.
        frequency_weighted_iou: Mean of the same, weighted by the pixels of each class.
        mean_dice: Mean over classes of the Dice coefficient, which equals the F1 score of pixels.
        accuracy: Fraction of each class's pixels that are found, `(classes,)`.
        iou: Intersection over union of each class, `(classes,)`.
        dice: Dice coefficient of each class, `(classes,)`.
        confusion: Pixels by true class (row) and predicted class (column).
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    mean_dice: float
    accuracy: np.ndarray
    iou: np.ndarray
    dice: np.ndarray
    confusion: np.ndarray


MEASURES: dict[str, Callable[[Any], Any]] = {
    "pixel_accuracy": lambda m: _divide(ops.sum(ops.diagonal(m)), ops.sum(m)),
    "mean_accuracy": lambda m: _mean(*_accuracy(m)),
    "mean_iou": lambda m: _mean(*_iou(m)),
    "frequency_weighted_iou": lambda m: _divide(
        ops.sum(ops.sum(m, axis=1) * _divide(*_iou(m))), ops.sum(m)
    ),
    "mean_dice": lambda m: _mean(*_dice(m)),
}
"""The value of each measure, from a confusion matrix."""


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SegmentationMetric(keras.metrics.MeanIoU):
    """A measure of class masks over all labeled pixels of a data set.

    | `measure` | value |
    |---|---|
    | `"pixel_accuracy"` | correct pixels / pixels |
    | `"mean_accuracy"` | mean over classes of  correct pixels of the class / its pixels |
    | `"mean_iou"` | mean over classes of  intersection / union |
    | `"frequency_weighted_iou"` | the same, weighted by the pixels of each class |
    | `"mean_dice"` | mean over classes of  2 * intersection / (true + predicted pixels) |

    It is `keras.metrics.MeanIoU`, which counts the pixels in a confusion matrix, with the other
    measures of that matrix, the output of a single sigmoid, and weights of images. `scores()` gives
    all measures, also of each class. Classes that are neither in the masks nor predicted are not in
    the means. A label that no class has, other than `ignore`, makes the result NaN; so do fractions
    and negative weights.

    Args:
        classes: Number of classes; 1 for a single sigmoid, which is measured as two classes,
            background and object.
        measure: A measure of the table.
        ignore: Value of the pixels without a label, or None if all have one.
        threshold: Score from which on a single sigmoid says object; 0 for logits.
        name: Name in logs; by default that of the measure.
        dtype: Dtype of the counts.

    Call arguments:
        y_true: Class numbers `(batch, height, width)`, with or without a last axis of 1.
        y_pred: Scores `(batch, height, width, classes)`.
        sample_weight: Weight of each image, `(batch,)`, or of each pixel, `(batch, height, width)`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or a shape is not as above.

    Example:
        >>> metric = SegmentationMetric(classes=2)
        >>> scores = np.array([[[[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]]])
        >>> metric.update_state(np.array([[[0, 1, 1]]]), scores)
        >>> float(metric.result())  # 1/2 for both classes
        0.5
        >>> [round(one, 3) for one in metric.scores().dice.tolist()]
        [0.667, 0.667]

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, section 5, https://arxiv.org/abs/1411.4038
    """

    def __init__(
        self,
        classes: int,
        measure: str = "mean_iou",
        ignore: int | None = IGNORE,
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.classes = check_integer("classes", classes)
        self.measure = check_one_of("measure", measure, tuple(MEASURES))
        self.ignore = None if ignore is None else check_integer("ignore", ignore, least=-1)
        self.threshold = check_number("threshold", threshold)
        self._given_dtype = dtype
        # float32 cannot count one by one beyond 2^24; weights need fractions. JAX has no float64.
        exact = "float32" if keras.backend.backend() == "jax" else "float64"
        super().__init__(max(self.classes, 2), name=name or self.measure, dtype=dtype or exact)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the pixels of a batch."""
        labels, scores = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(labels.shape) == 4 and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if len(labels.shape) != 3 or len(scores.shape) != 4 or scores.shape[-1] != self.classes:
            raise ValueError(
                f"y_true must be (batch, height, width) and y_pred (batch, height, width, "
                f"{self.classes}). Received: {tuple(labels.shape)} and {tuple(scores.shape)}"
            )
        sizes = zip(labels.shape[1:], scores.shape[1:3], strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in sizes):
            raise ValueError(
                "y_true and y_pred must have the same height and width. Received: "
                f"{tuple(labels.shape)} and {tuple(scores.shape)}"
            )
        if self.classes == 1:
            found = ops.cast(scores[..., 0] >= self.threshold, "int32")
        else:
            found = ops.cast(ops.argmax(scores, axis=-1), "int32")
        wrong = ops.any(labels != ops.floor(labels)) if _is_float(labels) else False
        labels = ops.cast(labels, "int32")
        known = ops.ones_like(labels, "bool")
        if self.ignore is not None:
            known = labels != self.ignore
        weights = ops.cast(known, self.dtype)
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), self.dtype)
            if len(given.shape) < 3:
                given = ops.reshape(given, (-1, 1, 1))
            given = ops.reshape(given, (-1, *given.shape[1:3]))
            # TensorFlow's compiler takes not (x >= 0) for x < 0, which NaN is not.
            wrong = ops.logical_or(wrong, ops.any(ops.logical_or(given < 0, ops.isnan(given))))
            weights = weights * given
        labels = ops.where(known, labels, 0)
        super().update_state(labels, found, weights)
        # Keras leaves out labels that no class has, as if they were correct nowhere.
        strange = ops.any(ops.logical_or(labels < 0, labels >= self.num_classes))
        wrong = ops.logical_or(wrong, strange)
        self.total_cm.assign(self.total_cm + ops.cast(ops.where(wrong, np.nan, 0.0), self.dtype))

    def result(self) -> Any:
        """Return the measure; 0 if there were no pixels."""
        return ops.cast(MEASURES[self.measure](self._matrix()), "float32")

    def scores(self) -> SegmentationScores:
        """Return all measures, also those of each class."""
        return measure_matrix(self._matrix())

    def _matrix(self) -> Any:
        return ops.convert_to_tensor(self.total_cm)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {
            "name": self.name,
            "dtype": self._given_dtype,
            "classes": self.classes,
            "measure": self.measure,
            "ignore": self.ignore,
            "threshold": self.threshold,
        }


def _is_float(values: Any) -> bool:
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(values.dtype)))


def measure_matrix(matrix: Any) -> SegmentationScores:
    """Return all measures of a confusion matrix `(classes, classes)`, true classes in rows.

    Example:
        >>> scores = measure_matrix(np.array([[8.0, 2.0], [0.0, 10.0]]))
        >>> [round(float(iou), 2) for iou in scores.iou]
        [0.8, 0.83]
    """
    matrix = ops.convert_to_tensor(matrix)
    values: dict[str, Any] = {
        name: float(ops.convert_to_numpy(measure(matrix))) for name, measure in MEASURES.items()
    }
    for name, measure in (("accuracy", _accuracy), ("iou", _iou), ("dice", _dice)):
        values[name] = _with_gaps(*map(ops.convert_to_numpy, measure(matrix)))
    return SegmentationScores(**values, confusion=ops.convert_to_numpy(matrix))


def _accuracy(matrix: Any) -> tuple[Any, Any]:
    """Return the correct pixels of each class, and its pixels."""
    return ops.diagonal(matrix), ops.sum(matrix, axis=1)


def _iou(matrix: Any) -> tuple[Any, Any]:
    """Return intersection and union of each class."""
    same = ops.diagonal(matrix)
    return same, ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - same


def _dice(matrix: Any) -> tuple[Any, Any]:
    """Return twice the intersection of each class, and its true and predicted pixels."""
    return 2 * ops.diagonal(matrix), ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1)


def _mean(part: Any, whole: Any) -> Any:
    """Return the mean ratio of the classes that have one."""
    return _divide(ops.sum(_divide(part, whole)), ops.sum(ops.cast(whole > 0, whole.dtype)))


def _divide(part: Any, whole: Any) -> Any:
    """Return a ratio, 0 where the whole is 0."""
    return part / ops.where(whole > 0, whole, ops.ones_like(whole))


def _with_gaps(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
