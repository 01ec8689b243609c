"""The reliability diagram: how often predictions with a given score are correct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._checks import check_integer
from keras_dlcourse.report.canvas import GREY, STYLES, new_figure, shorten, style_axes


@dataclass(frozen=True)
class Reliability:
    """Predictions counted by their score.

    Attributes:
        counts: Number of predictions in each bin, `(bins,)`.
        scores: Mean score in each bin; NaN in an empty bin.
        shares: Fraction of correct predictions in each bin; NaN in an empty bin.
    """

    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between score and fraction correct."""
        gaps = np.nan_to_num(np.abs(self.shares - self.scores))
        return float((self.counts * gaps).sum() / self.counts.sum())


def reliability(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> Reliability:
    """Count predictions by their score, in bins of equal width from 0 to 1.

    Args:
        labels: True classes, integers, shape `(n,)`.
        scores: Probabilities `(n, classes)`, of which the highest is the prediction; or `(n,)` for
            a single class that is present or not, with labels of 1 and 0.
        bins: Number of bins.

    Returns:
        A `Reliability`.

    Raises:
        ValueError: If shapes do not match, scores are outside 0 to 1, or `bins` is below 1.

    Example:
        >>> found = reliability([0, 1], [[0.9, 0.1], [0.9, 0.1]], bins=5)
        >>> found.counts.tolist(), round(found.error, 2)
        ([0, 0, 0, 0, 2], 0.4)
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    if true.ndim != 1 or values.ndim not in (1, 2) or len(true) != len(values) or not len(true):
        raise ValueError(
            "labels and scores must have shapes (n,) and (n, classes) or (n,), n > 0. Received: "
            f"{true.shape} and {values.shape}"
        )
    if not ((values >= 0) & (values <= 1 + 1e-6)).all():
        raise ValueError(f"scores must be from 0 to 1. Received: values up to {values.max():.4g}")
    check_integer("bins", bins)
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
    """Draw reliability diagrams in one plot, and the distributions of the scores below.

    A curve below the diagonal indicates an overconfident network. Bins with fewer than ten
    predictions are drawn pale, because their fraction correct is unreliable.

    Args:
        answers: Up to four reliabilities, by their name in the legend.

    Returns:
        The figure.

    Raises:
        ValueError: If there are none, or more than four.

    Example:
        >>> figure = draw_reliability({"plain": reliability([0, 1], [[0.9, 0.1], [0.9, 0.1]])})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['fraction correct', 'predictions']
    """
    if not 0 < len(answers) <= len(STYLES):
        raise ValueError(
            f"answers must have 1 to {len(STYLES)} entries. Received: {len(answers)} entries"
        )
    figure = new_figure(5.6, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_shares(upper, answers)
    for found, (color, _, style) in zip(answers.values(), STYLES, strict=False):
        edges = np.linspace(0, 1, len(found.counts) + 1)
        lower.stairs(found.counts, edges, color=color, ls=style, lw=1.5)
    figure.legend(loc="outside upper center", frameon=False, fontsize=10)
    lower.set_ylabel("predictions", fontsize=12)
    upper.set_xlabel("")
    lower.set_xlabel("score of the prediction", fontsize=12)
    lower.set_yscale("log")
    # matplotlib's default formatter writes formulas, which `png_bytes` would show as plain text.
    lower.yaxis.set_major_formatter("{x:g}")
    style_axes(lower)
    return figure


def draw_shares(axes: Axes, answers: Mapping[str, Reliability]) -> None:
    """Draw the fraction of correct predictions against their score; see `draw_reliability`."""
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfect calibration")
    for (name, found), (color, marker, style) in zip(answers.items(), STYLES, strict=False):
        there = found.counts > 0
        x, y = found.scores[there], found.shares[there]
        label = f"{shorten(name, 24)}: error {found.error:.1%}"
        axes.plot(x, y, color=color, ls=style, lw=1.5, label=label)
        few = found.counts[there] < 10
        for chosen, alpha in ((few, 0.3), (~few, 1.0)):
            axes.scatter(x[chosen], y[chosen], color=color, marker=marker, s=28, alpha=alpha)
    axes.set_xlabel("score of the prediction", fontsize=12)
    axes.set_ylabel("fraction correct", fontsize=12)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    style_axes(axes)
