"""The threshold that keeps a promise: at most so many false alarms, at least so much found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it achieves on some data.

    Attributes:
        threshold: From this score on an example counts as positive.
        true_positives: Positives that count.
        false_positives: Negatives that count.
        positives: All positives.
        negatives: All negatives.
    """

    threshold: float
    true_positives: int
    false_positives: int
    positives: int
    negatives: int

    @property
    def fpr(self) -> float:
        """Share of the negatives that count; NaN without any."""
        return _share(self.false_positives, self.negatives)

    @property
    def recall(self) -> float:
        """Share of the positives that count (true positive rate); NaN without any."""
        return _share(self.true_positives, self.positives)

    @property
    def precision(self) -> float:
        """Share of positives among those that count; NaN if none does."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    def on(self, labels: ArrayLike, scores: ArrayLike) -> OperatingPoint:
        """Return what the same threshold achieves on other data, such as the test part.

        Args:
            labels: As for `threshold_for`.
            scores: As for `threshold_for`.
        """
        is_it, values = _checked(labels, scores)
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
            f"from {self.threshold:.4g} on: recall {self.recall:.1%} of {self.positives:,}, false "
            f"positives {self.fpr:.2%} of {self.negatives:,}, precision {self.precision:.1%}"
        )


def threshold_for(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    fpr: float | None = None,
    recall: float | None = None,
    precision: float | None = None,
) -> OperatingPoint:
    """Choose the threshold of a classifier by what it must keep to, on validation data.

    - `fpr=0.01`: at most one negative in a hundred counts as positive; of such thresholds that of
      the highest recall, then of the fewest false positives.
    - `recall=0.95`: at least 95 % of the positives are found; of such thresholds that of the fewest
      false positives, then of the highest recall.
    - `precision=0.9`: at least nine in ten that count are right; of such thresholds that of the
      highest recall.

    An example counts from the threshold on. It lies midway between two scores that occur, so equal
    scores stay together, and rounding to integers decides about as few as it can. What holds on few
    examples need not hold on more: of 50 negatives none can tell a rate of 0.01. Measure it on the
    test part by `OperatingPoint.on`. `kd.export.to_tflite(score_thresholds=...)` takes the
    thresholds into the file. `choose_thresholds` takes those of the best F1.

    Args:
        labels: 1 (or True) for positives and 0 for negatives, `(n,)` or `(n, 1)`. Of several
            classes ask for each by itself: `y == 3` and `scores[:, 3]`.
        scores: `(n,)` or `(n, 1)`, higher for positives: probabilities or any others. Compare
            others with the threshold in the same dtype.
        fpr: False positive rate at most, at least 0 and below 1.
        recall: Above 0, up to 1.
        precision: Above 0, up to 1.

    Returns:
        An `OperatingPoint`: the threshold, and what it achieves on these data.

    Raises:
        ValueError: If there is not exactly one wish, it is out of range or no threshold meets it
            and finds a positive; the message says how near one comes. If shapes differ, labels are
            others, scores are not finite, or one kind of examples is missing.

    Example:
        >>> print(threshold_for([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], fpr=0.0))
        from 0.6 on: recall 50.0% of 2, false positives 0.00% of 2, precision 100.0%

    Reference:
        Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006,
        https://doi.org/10.1016/j.patrec.2005.10.010
    """
    name, wish = _wish(fpr=fpr, recall=recall, precision=precision)
    is_it, values = _checked(labels, scores)
    positives, negatives = int(is_it.sum()), int((~is_it).sum())
    if not positives or not negatives:
        raise ValueError(
            f"labels must have positives and negatives; received {positives} and {negatives}"
        )
    # At each score that occurs, from the highest down, how many of both kinds count.
    at, place = np.unique(-values, return_inverse=True)
    right = np.bincount(place, is_it, len(at)).cumsum().astype(int)
    wrong = np.bincount(place, ~is_it, len(at)).cumsum().astype(int)
    reached = {"fpr": wrong / negatives, "recall": right / positives}
    reached["precision"] = right / (right + wrong)
    fits = reached[name] <= wish if name == "fpr" else reached[name] >= wish
    possible = np.flatnonzero(fits & (right > 0))
    if not len(possible):
        _give_up(name, wish, reached, right)
    order = (wrong, -right) if name == "recall" else (-right, wrong)  # the first counts first
    best = possible[np.lexsort([key[possible] for key in reversed(order)])[0]]
    threshold = midway(-at[best], -at[best + 1 : best + 2])
    return OperatingPoint(threshold, int(right[best]), int(wrong[best]), positives, negatives)


def midway(least: np.floating, below: NDArray[np.floating]) -> float:
    """Return a number above the highest of `below`, and up to `least`; that itself without any."""
    if not len(below):
        return float(least)
    lower = below.max()
    middle = least.dtype.type((float(least) + float(lower)) / 2)
    # Between neighbours there is nothing: the middle may be the lower one.
    return float(middle if lower < middle <= least else least)


def _wish(**wishes: float | None) -> tuple[str, float]:
    """Return the one wish there is, after a check of its range."""
    given = {name: value for name, value in wishes.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"exactly one of fpr, recall and precision must be given; received {given or 'none'}"
        )
    ((name, value),) = given.items()
    if not (0 <= value < 1 if name == "fpr" else 0 < value <= 1):
        wanted = "at least 0 and below 1" if name == "fpr" else "above 0 and at most 1"
        raise ValueError(f"{name} must be {wanted}; received {value}")
    return name, float(value)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray]:
    """Return labels as bools and scores as floats, both `(n,)`."""
    y, values = np.asarray(labels), np.asarray(scores)
    values = values if values.dtype.kind == "f" else values.astype(float)
    y, values = (each[:, 0] if each.shape[1:] == (1,) else each for each in (y, values))
    if y.ndim != 1 or y.shape != values.shape:
        raise ValueError(
            "labels and scores must be (n,), of one class: y == 3 and scores[:, 3] of class 3. "
            f"Received: {y.shape} and {values.shape}"
        )
    if not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"labels must be 0 and 1; received {y[~np.isin(y, (0, 1))][0]!r}. Of class numbers "
            "take y == 3 for class 3"
        )
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers; received NaN or infinity")
    return y == 1, values


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _give_up(name: str, wish: float, reached: dict[str, NDArray], right: NDArray) -> None:
    """Raise an error that says how near a threshold comes."""
    some = right > 0
    if name == "fpr":
        nearest = reached["fpr"][some].min()
        raise ValueError(
            f"fpr={wish:g} cannot be met: negatives have the highest scores. The least rate at "
            f"which a positive is found is {nearest:.4g}"
        )
    best = reached[name].argmax()
    raise ValueError(
        f"{name}={wish:g} cannot be met: the most that a threshold reaches is "
        f"{reached[name][best]:.4g}, at a recall of {reached['recall'][best]:.4g}"
    )
