"""Choose a threshold for a required false positive rate, recall or precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._checks import check_fraction, check_number


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it achieves on some data.

    Attributes:
        threshold: Examples with at least this score are predicted positive.
        true_positives: Number of positives predicted positive.
        false_positives: Number of negatives predicted positive.
        positives: Number of positives.
        negatives: Number of negatives.
    """

    threshold: float
    true_positives: int
    false_positives: int
    positives: int
    negatives: int

    @property
    def fpr(self) -> float:
        """Fraction of the negatives predicted positive; NaN if there are no negatives."""
        return _share(self.false_positives, self.negatives)

    @property
    def recall(self) -> float:
        """Fraction of the positives predicted positive (true positive rate); NaN without any."""
        return _share(self.true_positives, self.positives)

    @property
    def precision(self) -> float:
        """Fraction of the examples predicted positive that are positives; NaN if there are none."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    def on(self, labels: ArrayLike, scores: ArrayLike) -> OperatingPoint:
        """Return the operating point of the same threshold on other data, such as the test part.

        Args:
            labels: As for `threshold_for`.
            scores: As for `threshold_for`.
        """
        is_it, values = _check_scores(labels, scores)
        counts = values >= self.threshold
        right, positives = int((counts & is_it).sum()), int(is_it.sum())
        return OperatingPoint(
            self.threshold,
            right,
            int(counts.sum()) - right,
            positives,
            len(is_it) - positives,
        )

    def __str__(self) -> str:
        return (
            f"threshold {self.threshold:.4g}: recall {self.recall:.1%} of {self.positives:,}, "
            f"false positives {self.fpr:.2%} of {self.negatives:,}, precision {self.precision:.1%}"
        )


def threshold_for(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    fpr: float | None = None,
    recall: float | None = None,
    precision: float | None = None,
) -> OperatingPoint:
    """Choose the threshold of a classifier that meets a requirement on validation data.

    - `fpr=0.01`: at most one negative in a hundred is predicted positive; among such thresholds,
      the one with the highest recall, then with the fewest false positives.
    - `recall=0.95`: at least 95% of the positives are found; among such thresholds, the one with
      the fewest false positives, then with the highest recall.
    - `precision=0.9`: at least nine in ten positive predictions are correct; among such thresholds,
      the one with the highest recall.

    Examples with a score of at least the threshold are predicted positive. The threshold lies
    midway between two observed scores, so equal scores stay together, and rounding to integers
    changes as few decisions as possible. A result on few examples may not hold on more: 50
    negatives cannot resolve a rate of 0.01. Measure it on the test part with `OperatingPoint.on`.
    `kd.export.to_tflite(score_thresholds=...)` stores the thresholds in the file.
    `choose_thresholds` returns the thresholds with the best F1.

    Args:
        labels: 1 (or True) for positives and 0 for negatives, `(n,)` or `(n, 1)`. With several
            classes, call this once for each: `y == 3` and `scores[:, 3]`.
        scores: `(n,)` or `(n, 1)`, higher for positives: probabilities or any other scores. Compare
            new scores with the threshold in the same dtype.
        fpr: Highest allowed false positive rate, at least 0 and below 1.
        recall: Lowest allowed recall, above 0 and at most 1.
        precision: Lowest allowed precision, above 0 and at most 1.

    Returns:
        An `OperatingPoint`: the threshold, and what it achieves on these data.

    Raises:
        ValueError: If not exactly one requirement is given, it is out of range, or no threshold
            meets it and finds a positive (the message says how close one gets); if shapes differ,
            labels are not 0 and 1, scores are not finite, or positives or negatives are missing.

    Example:
        >>> print(threshold_for([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], fpr=0.0))
        threshold 0.6: recall 50.0% of 2, false positives 0.00% of 2, precision 100.0%

    Reference:
        Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006,
        https://doi.org/10.1016/j.patrec.2005.10.010
    """
    name, wish = _check_wishes(fpr=fpr, recall=recall, precision=precision)
    is_it, values = _check_scores(labels, scores)
    positives, negatives = int(is_it.sum()), int((~is_it).sum())
    if not positives or not negatives:
        raise ValueError(
            "labels must include positives and negatives. Received: "
            f"{positives} positives and {negatives} negatives"
        )
    # For each observed score, from the highest down, count the true and false positives.
    at, place = np.unique(-values, return_inverse=True)
    right = np.bincount(place, is_it, len(at)).cumsum().astype(int)
    wrong = np.bincount(place, ~is_it, len(at)).cumsum().astype(int)
    reached = {"fpr": wrong / negatives, "recall": right / positives}
    reached["precision"] = right / (right + wrong)
    fits = reached[name] <= wish if name == "fpr" else reached[name] >= wish
    possible = np.flatnonzero(fits & (right > 0))
    if not len(possible):
        _give_up(name, wish, reached, right)
    # The first key is the primary one.
    order = (wrong, -right) if name == "recall" else (-right, wrong)
    best = possible[np.lexsort([key[possible] for key in reversed(order)])[0]]
    threshold = place_threshold(-at[best], -at[best + 1 : best + 2])
    return OperatingPoint(threshold, int(right[best]), int(wrong[best]), positives, negatives)


def place_threshold(least: np.floating, below: NDArray[np.floating]) -> float:
    """Return a value above the maximum of `below` and at most `least`; `least` if none below."""
    if not len(below):
        return float(least)
    lower = below.max()
    middle = least.dtype.type((float(least) + float(lower)) / 2)
    # Between adjacent floats there is no other value: the middle may round to the lower one.
    return float(middle if lower < middle <= least else least)


def _check_wishes(**wishes: float | None) -> tuple[str, float]:
    """Return the name and value of the one requirement given, after checking its range."""
    given = {name: value for name, value in wishes.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"exactly one of fpr, recall and precision must be given. Received: {given or 'none'}"
        )
    ((name, value),) = given.items()
    if name == "fpr":
        return name, check_fraction(name, value)
    return name, check_number(name, value, above=0, most=1)


def _check_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray]:
    """Return labels as bools and scores as floats, both `(n,)`."""
    y, values = np.asarray(labels), np.asarray(scores)
    values = values if values.dtype.kind == "f" else values.astype(float)
    y, values = (each[:, 0] if each.shape[1:] == (1,) else each for each in (y, values))
    if y.ndim != 1 or y.shape != values.shape:
        raise ValueError(
            "labels and scores must be (n,), for one class. "
            f"Received: shapes {y.shape} and {values.shape}. For class 3, pass y == 3 and "
            "scores[:, 3]."
        )
    if not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"labels must be 0 and 1. Received: {y[~np.isin(y, (0, 1))][0]!r}. With class numbers, "
            "pass y == 3 for class 3."
        )
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers. Received: NaN or infinity")
    return y == 1, values


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _give_up(name: str, wish: float, reached: dict[str, NDArray], right: NDArray) -> None:
    """Raise an error that says how close a threshold gets."""
    some = right > 0
    if name == "fpr":
        nearest = reached["fpr"][some].min()
        raise ValueError(
            f"fpr={wish:g} cannot be met: negatives have the highest scores. The lowest rate at "
            f"which a positive is found is {nearest:.4g}."
        )
    best = reached[name].argmax()
    raise ValueError(
        f"{name}={wish:g} cannot be met: the highest value that a threshold reaches is "
        f"{reached[name][best]:.4g}, at a recall of {reached['recall'][best]:.4g}."
    )
