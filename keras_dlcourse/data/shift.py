"""Detect whether test data differ from training data, by comparing simple statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_number
from keras_dlcourse._tables import text_table
from keras_dlcourse.data.stream import stream

_SMALL = 0.2  # standard deviations; Cohen calls an effect of this size small


@dataclass(frozen=True)
class FeatureShift:
    """Comparison of one statistic between two parts of a data set.

    Attributes:
        name: Name of the statistic, e.g. `"brightness of channel 0"`.
        train_mean: Its mean over the training part.
        test_mean: Its mean over the test part.
        train_std: Its standard deviation over the training part.
        test_std: Its standard deviation over the test part.
        difference: Test mean minus training mean, in pooled standard deviations.
        ks: Largest gap between the two cumulative distributions, 0 to 1 (Kolmogorov-Smirnov).
        p_value: Probability of a gap this large without any shift.
        has_moved: Whether the gap is significant, corrected for the number of statistics, and not
            small.
    """

    name: str
    train_mean: float
    test_mean: float
    train_std: float
    test_std: float
    difference: float
    ks: float
    p_value: float
    has_moved: bool

    def __str__(self) -> str:
        if not self.has_moved:
            return f"{self.name} has not moved"
        if abs(self.difference) >= _SMALL:
            way = "higher" if self.difference > 0 else "lower"
            return (
                f"{self.name} is {way} in test: {self.test_mean:.4g} vs. {self.train_mean:.4g}, "
                f"{abs(self.difference):.2g} standard deviations"
            )
        ratio = self.test_std / self.train_std if self.train_std else np.inf
        if not 0.8 < ratio < 1.25:
            way = "more" if ratio > 1 else "less"
            return (
                f"{self.name} varies {way} in test: standard deviation {self.test_std:.4g} vs. "
                f"{self.train_std:.4g}"
            )
        return f"{self.name} has another distribution in test: KS statistic {self.ks:.2g}"


@dataclass(frozen=True)
class CovariateShift:
    """Result of `covariate_shift`. True if any statistic has moved.

    Attributes:
        features: Comparisons of all statistics, in order.
        train_size: Number of examples in the training part.
        test_size: Number of examples in the test part.
    """

    features: tuple[FeatureShift, ...]
    train_size: int
    test_size: int

    @property
    def moved(self) -> tuple[FeatureShift, ...]:
        """Statistics that have moved, largest gap first."""
        return tuple(sorted((f for f in self.features if f.has_moved), key=lambda f: -f.ks))

    def __bool__(self) -> bool:
        return bool(self.moved)

    def __str__(self) -> str:
        said = [f"- {feature}" for feature in self.moved]
        head = (
            f"{len(said)} of {len(self.features)} statistics have moved between "
            f"{self.train_size:,} training and {self.test_size:,} test examples:"
            if said
            else f"No statistic has moved between {self.train_size:,} training and "
            f"{self.test_size:,} test examples."
        )
        rows = [
            [f.name, f.train_mean, f.test_mean, f.difference, f.ks, f.p_value]
            for f in self.features
        ]
        columns = ["statistic", "train", "test", "difference", "KS", "p"]
        return "\n".join([head, *said, text_table(columns, rows)])


def covariate_shift(train: Any, test: Any, *, alpha: float = 0.01) -> CovariateShift:
    """Compare the distributions of training and test inputs, without a model or labels.

    For images, the mean (brightness) and standard deviation (contrast) of each channel within an
    image are compared; for vectors, each feature. A statistic has moved if the Kolmogorov-Smirnov
    test is significant at `alpha` divided by the number of statistics (Bonferroni), and the gap
    between the distributions is at least 0.1 or the means differ by at least 0.2 standard
    deviations, because with many examples even a negligible gap is significant. Changes that these
    statistics do not capture, such as other objects or backgrounds, are not detected.

    Args:
        train: Images `(n, height, width, channels)` or vectors `(n, features)`, in any form that
            `kd.data.take` accepts. Images are compared as stored, before normalization.
        test: Data like `train`, with the same number of channels or features.
        alpha: Probability of reporting any shift if there is none; above 0 and below 1.

    Returns:
        A `CovariateShift`; `print` it for a summary.

    Raises:
        TypeError: If the data have an unsupported type.
        ValueError: If shapes are invalid or do not match, values are not finite, a part has only
            one example, or `alpha` is out of range.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> images = np.random.default_rng(0).uniform(0, 200, (300, 8, 8, 1))
        >>> print(str(kd.data.covariate_shift(images[:200], images[200:] + 30)).splitlines()[1])
        - brightness of channel 0 is higher in test: 130.9 vs. 100.3, 4 standard deviations

    Reference:
        Shimodaira, "Improving predictive inference under covariate shift by weighting the
        log-likelihood function", 2000, https://doi.org/10.1016/S0378-3758(00)00115-4; Rabanser,
        Günnemann and Lipton, "Failing Loudly", NeurIPS 2019, https://arxiv.org/abs/1810.11953
    """
    check_number("alpha", alpha, above=0, below=1)
    names, ours = _statistics("train", train)
    other_names, theirs = _statistics("test", test)
    if names != other_names:
        raise ValueError(
            "train and test must have the same channels or features. Received: "
            f"{len(names)} statistics starting with {names[0]!r}, and {len(other_names)} starting "
            f"with {other_names[0]!r}"
        )
    level = alpha / len(names)
    features = tuple(
        _compare(name, ours[:, k], theirs[:, k], level) for k, name in enumerate(names)
    )
    return CovariateShift(features, len(ours), len(theirs))


def _statistics(name: str, data: Any) -> tuple[list[str], np.ndarray]:
    """Return the names of the statistics and their values, `(n, statistics)` float64."""
    parts = [_summarize_batch(name, stored) for _, stored in stream(data, 256)]
    values = np.concatenate([part for _, part in parts])
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite. Received: NaN or infinite values")
    if len(values) < 2:
        raise ValueError(f"{name} must have 2 examples or more. Received: {len(values)}")
    return parts[0][0], values


def _summarize_batch(name: str, batch: np.ndarray) -> tuple[list[str], np.ndarray]:
    if batch.ndim == 2:
        return [f"feature {k}" for k in range(batch.shape[1])], np.asarray(batch, "float64")
    if batch.ndim != 4:
        raise ValueError(
            f"{name} must be images (n, height, width, channels) or vectors (n, features). "
            f"Received: shape {batch.shape}"
        )
    channels = range(batch.shape[3])
    names = [f"{what} of channel {k}" for what in ("brightness", "contrast") for k in channels]
    axes = (1, 2)
    brightness, contrast = batch.mean(axes, "float64"), batch.std(axes, "float64")
    return names, np.concatenate([brightness, contrast], axis=1)


def _compare(name: str, ours: np.ndarray, theirs: np.ndarray, level: float) -> FeatureShift:
    from scipy.stats import ks_2samp  # takes a second to import

    found = ks_2samp(ours, theirs, method="auto")
    gap = theirs.mean() - ours.mean()
    pooled = np.sqrt((ours.var() + theirs.var()) / 2)
    difference = float(gap / pooled) if pooled else float(np.sign(gap) * np.inf if gap else 0)
    matters = found.statistic >= 0.1 or abs(difference) >= _SMALL
    return FeatureShift(
        name,
        float(ours.mean()),
        float(theirs.mean()),
        float(ours.std()),
        float(theirs.std()),
        difference,
        float(found.statistic),
        float(found.pvalue),
        bool(found.pvalue < level and matters),
    )
