"""Precision, recall and F1 of each class, from confusion counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._tables import text_table
from keras_dlcourse.report.confusion import check_counts

_COLUMNS = ("class", "precision", "recall", "F1", "examples")


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of each class. `str()` returns a table.

    Attributes:
        names: The class names.
        precision: Fraction of the predictions of the class that are correct, `(classes,)`; 0 if
            there are none. NaN, like the other scores, for a class without examples in the data.
        recall: Fraction of the examples of the class that are predicted correctly.
        f1: 2 precision recall / (precision + recall), their harmonic mean.
        support: Number of examples of the class.
    """

    names: tuple[str, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]

    @property
    def macro(self) -> tuple[float, float, float]:
        """Unweighted mean precision, recall and F1 over the classes that have examples."""
        return self._means(self.support > 0)

    @property
    def weighted(self) -> tuple[float, float, float]:
        """Mean precision, recall and F1, weighted by the number of examples."""
        return self._means(self.support)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return name, precision, recall, F1 and support of each class, then of both means.

        Scores that are undefined are None.
        """
        columns = (self.precision, self.recall, self.f1)
        rows = [
            (name, *(None if np.isnan(one) else float(one) for one in scores), int(count))
            for name, *scores, count in zip(self.names, *columns, self.support, strict=True)
        ]
        total = int(self.support.sum())
        return [*rows, ("mean", *self.macro, total), ("weighted mean", *self.weighted, total)]

    def __str__(self) -> str:
        rows = [
            [name, *(one if one is None else round(one, 3) for one in scores), count]
            for name, *scores, count in self.rows()
        ]
        return text_table(_COLUMNS, rows)

    def _means(self, weights: NDArray) -> tuple[float, float, float]:
        columns = np.nan_to_num(np.stack([self.precision, self.recall, self.f1]))
        means = columns @ weights / weights.sum()
        return float(means[0]), float(means[1]), float(means[2])


def class_scores(counts: ArrayLike, class_names: Sequence[str]) -> ClassScores:
    """Compute precision, recall and F1 of each class, and their means.

    Args:
        counts: Confusion counts, shape `(classes, classes)`, row = true class.
        class_names: A name for each class.

    Returns:
        A `ClassScores`.

    Raises:
        ValueError: If `counts` is not square or is all zeros, or `class_names` has a wrong length.

    Example:
        >>> print(class_scores([[8, 2], [1, 9]], ["cat", "dog"]))
         class           precision   recall      F1   examples
        ───────────────────────────────────────────────────────
         cat                 0.889      0.8   0.842         10
         dog                 0.818      0.9   0.857         10
         mean                0.854     0.85    0.85         20
         weighted mean       0.854     0.85    0.85         20

    Reference:
        van Rijsbergen, "Information Retrieval", 1979, chapter 7; the results equal those of
        `sklearn.metrics.precision_recall_fscore_support`.
    """
    counts = check_counts(counts, class_names)
    if not counts.any():
        raise ValueError("counts must have at least one value above 0. Received: only zeros")
    right, said, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    there = np.where(support > 0, support, np.nan)
    precision = np.where(support > 0, right / np.maximum(said, 1), np.nan)
    return ClassScores(
        tuple(class_names), precision, right / there, 2 * right / (said + there), support
    )
