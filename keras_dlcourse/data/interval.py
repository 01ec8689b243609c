"""Bootstrap confidence intervals of metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_integer, check_number, check_one_of

_AT_A_TIME = 1 << 22  # indices drawn per batch; bounds the memory
_UNDEFINED = 0.05  # fraction of samples that may be undefined, e.g. if a rare class is missing


@dataclass(frozen=True)
class Interval:
    """A metric and its confidence interval.

    Attributes:
        value: The metric on the data.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Fraction of many such experiments in which the interval contains the true value.
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
    """Compute a metric and its bootstrap interval, resampling examples with replacement.

    The interval applies to other examples of the same kind, given this model: not to another
    training run, and not to data of another kind. If examples belong together (of one patient, one
    video), it is too narrow.

    Args:
        measure: Function of the labels and scores of a sample that returns a number, such as any
            scikit-learn metric.
        labels: `(n, ...)`.
        scores: `(n, ...)`, the second argument of `measure`: scores, or predicted classes.
        level: Confidence level, between 0 and 1.
        samples: Number of bootstrap samples. `measure` is called once per sample, and with `"bca"`
            also once per example.
        method: `"percentile"`, or `"bca"`: corrected for bias and skew, better for few examples,
            but undefined if all samples give the same value.
        seed: Seed of the sampling.

    Returns:
        An `Interval`.

    Raises:
        ValueError: If lengths differ, there are fewer than two examples, an argument is out of
            range, or `measure` is not finite on the data or on more than 5 % of the samples.

    Example:
        >>> labels = np.array([0, 1] * 50)
        >>> predictions = np.where(np.arange(100) < 90, labels, 1 - labels)
        >>> print(confidence_interval(lambda y, said: np.mean(y == said), labels, predictions))
        0.900 (0.840 to 0.960, 95%)

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 14;
        `scipy.stats.bootstrap(paired=True)` does the sampling.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    y, values = np.asarray(labels), np.asarray(scores)
    if y.ndim < 1 or values.ndim < 1 or len(y) != len(values) or len(y) < 2:
        raise ValueError(
            "labels and scores must have the same length of at least 2. Received: shapes "
            f"{y.shape} and {values.shape}"
        )
    check_number("level", level, above=0, below=1)
    check_integer("samples", samples)
    check_one_of("method", method, ("percentile", "bca"))
    value = float(measure(y, values))
    if not np.isfinite(value):
        raise ValueError(f"measure must return a finite number on the data. Received: {value}")
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # Degenerate results are handled, or raised, below.
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
            "method='bca' is undefined here: all samples give the same value, or none is finite. "
            "Use method='percentile'."
        )
    return Interval(value, float(low), float(high), level)


def _percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """Return both ends of the interval, from the samples on which the metric is defined."""
    undefined = ~np.isfinite(drawn)
    if undefined.mean() > _UNDEFINED:
        raise ValueError(
            f"measure is undefined on {undefined.sum()} of {len(drawn)} samples, because a class "
            "has too few examples for an interval."
        )
    low, high = np.quantile(drawn[~undefined], [(1 - level) / 2, (1 + level) / 2])
    return low, high
