"""Evaluate a classifier's predictions on test data, in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._tables import text_table
from keras_dlcourse.data.interval import Interval, confidence_interval
from keras_dlcourse.report.canvas import new_figure
from keras_dlcourse.report.class_scores import ClassScores, class_scores
from keras_dlcourse.report.confusion import confusion_counts, confusion_pairs
from keras_dlcourse.report.curves import PRECISION_RECALL, ROC, areas, draw_on
from keras_dlcourse.report.one_vs_rest import Question, one_vs_rest
from keras_dlcourse.report.reliability import Reliability, draw_shares, reliability

_SHOWN = 5  # most frequently confused pairs of classes


@dataclass(frozen=True)
class Evaluation:
    """The quality of a classifier. `str()` returns a table, `draw_evaluation` draws it.

    Attributes:
        class_names: The class names.
        accuracy: Accuracy with its bootstrap interval; the interval is 0 to 1 for one example.
        confusion: Counts, `(classes, classes)`, row = true class.
        classes: Precision, recall and F1 of each class.
        areas: Area under the ROC curve of each class against the rest, `(classes,)`, or `(1,)` for
            a single class that is present or not; NaN for a class that has all or none of the
            examples.
        average_precisions: Average precision (the area of precision against recall), likewise.
        reliability: Predictions counted by score; `reliability.error` is the calibration error.
        threshold: Score from which the second class is predicted, for one score per example;
            otherwise None.
    """

    class_names: tuple[str, ...]
    accuracy: Interval
    confusion: NDArray[np.int64]
    classes: ClassScores
    areas: NDArray[np.float64]
    average_precisions: NDArray[np.float64]
    reliability: Reliability
    threshold: float | None
    _questions: list[Question] = field(repr=False)

    @property
    def area(self) -> float:
        """The mean area under the ROC curves."""
        return _mean(self.areas)

    @property
    def average_precision(self) -> float:
        """The mean average precision."""
        return _mean(self.average_precisions)

    def confused(self, limit: int = _SHOWN) -> list[tuple[str, str, int]]:
        """Return the most frequent mistakes: true class, predicted class, count."""
        names = self.class_names
        pairs = confusion_pairs(self.confusion, limit)
        return [(names[true], names[said], count) for true, said, count in pairs]

    def to_dict(self) -> dict[str, float | None]:
        """Return the main metrics as JSON-serializable values; None if undefined."""
        found = {
            "accuracy": self.accuracy.value,
            "accuracy_low": self.accuracy.low,
            "accuracy_high": self.accuracy.high,
            "accuracy_level": self.accuracy.level,
            "f1": self.classes.macro[2],
            "area": self.area,
            "average_precision": self.average_precision,
            "calibration_error": self.reliability.error,
        }
        return {name: None if np.isnan(value) else value for name, value in found.items()}

    def __str__(self) -> str:
        lines = [
            f"accuracy {self.accuracy} on {self.confusion.sum():,} examples",
            f"area under ROC {self.area:.3f}, average precision {self.average_precision:.3f}",
            f"calibration error {self.reliability.error:.3f}",
        ]
        if self.threshold is not None:
            lines.insert(1, f"{self.class_names[1]} at scores of {self.threshold:.3g} or higher")
        parts = ["\n".join(lines), str(self.classes)]
        if self.confused():
            parts.append(text_table(["true class", "predicted class", "count"], self.confused()))
        return "\n\n".join(parts)


def evaluation(
    labels: ArrayLike,
    scores: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float = 0.5,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a classifier's predictions on data used neither for training nor for selection.

    Args:
        labels: True classes, integers, `(n,)`.
        scores: Probabilities, `(n, classes)`; or `(n,)` or `(n, 1)` of the second of two classes.
        class_names: A name for each class; two names for one score per example.
        threshold: Score from which the second of two classes is predicted, for one score per
            example.
        level: Level of the confidence interval.
        seed: Seed of the bootstrap.

    Returns:
        An `Evaluation`.

    Raises:
        ValueError: If the shapes do not match, or `scores` are not probabilities.

    Example:
        >>> found = evaluation([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], ["intact", "broken"])
        >>> found.area, found.confused()
        (0.75, [('broken', 'intact', 1)])
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    if true.ndim != 1:
        raise ValueError(
            f"labels must be class indices, (n,). Received: shape {true.shape}. For multi-label "
            "data, evaluate each class separately: draw_roc accepts such labels."
        )
    questions = one_vs_rest(true, values)
    binary = len(questions) == 1
    classes = 2 if binary else len(questions)
    if len(class_names) != classes:
        raise ValueError(f"class_names must have {classes} names. Received: {len(class_names)}")
    if binary:
        values = values.reshape(-1)
    answers = (values >= threshold).astype(int) if binary else values.argmax(axis=1)
    counts = confusion_counts(true, answers, classes)
    return Evaluation(
        class_names=tuple(class_names),
        accuracy=_accuracy(true, answers, level, seed),
        confusion=counts,
        classes=class_scores(counts, class_names),
        areas=areas(ROC, questions),
        average_precisions=areas(PRECISION_RECALL, questions),
        reliability=reliability(true, values),
        threshold=threshold if binary else None,
        _questions=questions,
    )


def draw_evaluation(found: Evaluation) -> Figure:
    """Draw ROC curves, precision against recall, and the reliability diagram side by side.

    `draw_confusion_matrix(found.confusion, found.class_names)` draws the confusion matrix.

    Args:
        found: An `Evaluation`, as returned by `evaluation`.

    Returns:
        The figure.

    Raises:
        ValueError: If all examples are of one class.

    Example:
        >>> found = evaluation([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], ["intact", "broken"])
        >>> [axes.get_ylabel() for axes in draw_evaluation(found).axes]
        ['true positive rate', 'precision', 'fraction correct']
    """
    figure = new_figure(14.0, 4.7)
    roc, precision_recall, shares = figure.subplots(1, 3)
    names = None if found.threshold is not None else found.class_names
    for axes, kind, each in (
        (roc, ROC, found.areas),
        (precision_recall, PRECISION_RECALL, found.average_precisions),
    ):
        draw_on(axes, kind, found._questions, each, names, found.threshold)
    draw_shares(shares, {"calibration": found.reliability})
    shares.legend(frameon=False, fontsize=10)
    return figure


def _accuracy(labels: NDArray, answers: NDArray, level: float, seed: int) -> Interval:
    """Return the accuracy, with its bootstrap interval, or the exact one if that has no width."""

    def measure(labels: NDArray, answers: NDArray) -> float:
        return float(np.mean(labels == answers))

    if len(labels) == 1:
        return Interval(measure(labels, answers), 0.0, 1.0, level)
    right = int(np.sum(labels == answers))
    if right in (0, len(labels)):  # as in every sample that can be drawn from these
        from scipy.stats import binomtest

        exact = binomtest(right, len(labels)).proportion_ci(level, method="exact")
        return Interval(measure(labels, answers), float(exact.low), float(exact.high), level)
    return confidence_interval(measure, labels, answers, level=level, seed=seed)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
