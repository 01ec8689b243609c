"""How far a measure might be from the one on more data of the same kind: the bootstrap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_AT_A_TIME = 1 << 22  # indices drawn in one go: bounds the memory
_UNDEFINED = 0.05  # share of draws that may give no number, e.g. for want of a rare class


@dataclass(frozen=True)
class Interval:
    """A measure and its confidence interval.

    Attributes:
        value: On the data.
        low: Lower end.
        high: Upper end.
        level: In how many of many such experiments the interval holds the true value.
    """

    value: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, {self.level:.0%})"


def confidence_interval(
    measure: Callable[[np.ndarray, np.ndarray], float],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    level: float = 0.95,
    samples: int = 1000,
    method: str = "percentile",
    seed: int = 0,
) -> Interval:
    """Measure, and say how sure the figure is: examples are drawn anew with replacement.

    It holds for other examples of the same kind, given this model: not for another training, and
    not for data of another kind. Examples that belong together (of one patient, one video) make it
    too narrow.

    Args:
        measure: Called with labels and scores of a draw; gives a number. Any of scikit-learn's.
        labels: `(n, ...)`.
        scores: `(n, ...)`, what the measure takes beside labels: scores, or predicted classes.
        level: From 0 to 1.
        samples: How many draws. The measure is called once for each, and once more for each example
            with `"bca"`.
        method: `"percentile"`, or `"bca"`: corrected for bias and skew, better for few examples,
            and not defined where all draws give the same number.
        seed: Of the draws.

    Returns:
        An `Interval`.

    Raises:
        ValueError: If lengths differ, there are fewer than two examples, an argument is out of its
            range, or the measure gives no number on the data, or on more than 5 % of the draws.

    Example:
        >>> labels = np.array([0, 1] * 50)
        >>> predictions = np.where(np.arange(100) < 90, labels, 1 - labels)
        >>> print(confidence_interval(lambda y, said: np.mean(y == said), labels, predictions))
        0.900 (0.840 to 0.960, 95%)

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 14;
        `scipy.stats.bootstrap(paired=True)` draws.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    y, values = np.asarray(labels), np.asarray(scores)
    if y.ndim < 1 or values.ndim < 1 or len(y) != len(values) or len(y) < 2:
        raise ValueError(
            "labels and scores must have one length, 2 or more; received shapes "
            f"{y.shape} and {values.shape}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1; received {level}")
    if samples < 1:
        raise ValueError(f"samples must be 1 or more; received {samples}")
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be 'percentile' or 'bca'; received {method!r}")
    value = float(measure(y, values))
    if not np.isfinite(value):
        raise ValueError(f"measure gives {value} on the data: there is nothing to draw from")
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # What is degenerate is handled, or raised, below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (np.arange(len(y)),),
            lambda rows: measure(y[rows], values[rows]),
            vectorized=False,
            n_resamples=samples,
            batch=max(1, _AT_A_TIME // len(y)),
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = found.confidence_interval
    if method == "percentile":
        low, high = _percentiles(found.bootstrap_distribution, level)
    if not np.isfinite([low, high]).all():
        raise ValueError(
            "method='bca' is not defined here: draws give all the same number, or none. Take "
            "method='percentile'"
        )
    return Interval(value, float(low), float(high), level)


def _percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """Return both ends, from the draws on which the measure is defined."""
    undefined = ~np.isfinite(drawn)
    if undefined.mean() > _UNDEFINED:
        raise ValueError(
            f"measure gives no number on {undefined.sum()} of {len(drawn)} draws: a class has too "
            "few examples for an interval"
        )
    low, high = np.quantile(drawn[~undefined], [(1 - level) / 2, (1 + level) / 2])
    return low, high
