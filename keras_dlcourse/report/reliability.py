"""The reliability diagram: how often answers of a score are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import GREY, STYLES, new_figure, plain_axes, shortened


@dataclass(frozen=True)
class Reliability:
    """Answers counted by their score.

    Attributes:
        counts: How many in each bin, `(bins,)`.
        scores: Their mean score; NaN in an empty bin.
        shares: The share of right ones; NaN in an empty bin.
    """

    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between score and share right."""
        gaps = np.nan_to_num(np.abs(self.shares - self.scores))
        return float((self.counts * gaps).sum() / self.counts.sum())


def reliability(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> Reliability:
    """Count answers by their score, in bins of equal width from 0 to 1.

    Args:
        labels: True classes, integers, shape `(n,)`.
        scores: Probabilities `(n, classes)`, of which the top one is the answer; or `(n,)` of a
            thing that is there or not, with labels of 1 and 0.
        bins: How many bins.

    Returns:
        A `Reliability`.

    Raises:
        ValueError: If shapes do not fit, scores are outside 0 to 1, or `bins` is below 1.

    Example:
        >>> found = reliability([0, 1], [[0.9, 0.1], [0.9, 0.1]], bins=5)
        >>> found.counts.tolist(), round(found.error, 2)
        ([0, 0, 0, 0, 2], 0.4)
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    if true.ndim != 1 or values.ndim not in (1, 2) or len(true) != len(values) or not len(true):
        raise ValueError(
            "labels and scores must have shapes (n,) and (n, classes) or (n,), n > 0; received "
            f"{true.shape} and {values.shape}"
        )
    if not ((values >= 0) & (values <= 1 + 1e-6)).all():
        raise ValueError(f"scores must be from 0 to 1; received up to {values.max():.4g}")
    if bins < 1:
        raise ValueError(f"bins must be 1 or more; received {bins}")
    right = true == values.argmax(axis=1) if values.ndim == 2 else true == 1
    score = values.max(axis=1) if values.ndim == 2 else values
    place = np.clip(np.ceil(score * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    some = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts,
        np.bincount(place, score, minlength=bins) / some,
        np.bincount(place, right, minlength=bins) / some,
    )


def draw_reliability(answers: Mapping[str, Reliability]) -> Figure:
    """Draw reliability diagrams over each other, and how scores are distributed below.

    Above, a curve under the diagonal belongs to a network too sure of itself. Bins with fewer than
    ten answers are drawn pale: their share says little.

    Args:
        answers: Up to four, by the name that the legend gives them.

    Returns:
        The figure.

    Raises:
        ValueError: If there are none, or more than four.

    Example:
        >>> figure = draw_reliability({"plain": reliability([0, 1], [[0.9, 0.1], [0.9, 0.1]])})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['share right', 'answers']
    """
    if not 0 < len(answers) <= len(STYLES):
        raise ValueError(f"answers must be 1 to {len(STYLES)}; received {len(answers)}")
    figure = new_figure(5.6, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_shares(upper, answers)
    for found, (color, _, style) in zip(answers.values(), STYLES, strict=False):
        edges = np.linspace(0, 1, len(found.counts) + 1)
        lower.stairs(found.counts, edges, color=color, ls=style, lw=1.5)
    figure.legend(loc="outside upper center", frameon=False, fontsize=10)
    lower.set_ylabel("answers", fontsize=12)
    upper.set_xlabel("")
    lower.set_xlabel("score of the answer", fontsize=12)
    lower.set_yscale("log")
    # matplotlib's own is a formula, which `png_bytes` shows
    lower.yaxis.set_major_formatter("{x:g}")
    plain_axes(lower)
    return figure


def draw_shares(axes: Axes, answers: Mapping[str, Reliability]) -> None:
    """Draw the share of right answers against their score into axes; see `draw_reliability`."""
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="scores that mean what they say")
    for (name, found), (color, marker, style) in zip(answers.items(), STYLES, strict=False):
        there = found.counts > 0
        x, y = found.scores[there], found.shares[there]
        label = f"{shortened(name, 24)}: error {found.error:.1%}"
        axes.plot(x, y, color=color, ls=style, lw=1.5, label=label)
        few = found.counts[there] < 10
        for chosen, alpha in ((few, 0.3), (~few, 1.0)):
            axes.scatter(x[chosen], y[chosen], color=color, marker=marker, s=28, alpha=alpha)
    axes.set_xlabel("score of the answer", fontsize=12)
    axes.set_ylabel("share right", fontsize=12)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    plain_axes(axes)
