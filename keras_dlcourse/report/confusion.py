"""The confusion matrix: how often each class is predicted as each other class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.report.canvas import new_figure, shorten


@dataclass(frozen=True)
class _Style:
    """Style of a matrix with up to `classes` classes: cell size in inches, fonts in points."""

    classes: float
    cell: float
    label_size: float
    number_size: float
    lines: int


# The more classes, the less fits into a cell: two lines, one line, or color only.
_STYLES = (
    _Style(12, cell=0.62, label_size=11, number_size=10, lines=2),
    _Style(30, cell=0.36, label_size=9, number_size=7.5, lines=1),
    _Style(float("inf"), cell=0.15, label_size=7, number_size=0, lines=0),
)
# Text in a cell, the more important line first.
_SHOWN = {
    "both": ("{count}", "{share:.0%}"),
    "counts": ("{count}",),
    "shares": ("{share:.0%}",),
}


def confusion_counts(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often each class is predicted as each class.

    Args:
        labels: True classes, integers, shape `(n,)`.
        predictions: Predicted classes, integers, shape `(n,)`.
        classes: Number of classes.

    Returns:
        Counts of shape `(classes, classes)`: row = true class, column = predicted class.

    Raises:
        ValueError: If the shapes differ or a class is outside `0 .. classes - 1`.

    Example:
        >>> confusion_counts([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    true, predicted = np.asarray(labels), np.asarray(predictions)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(
            "labels and predictions must be one-dimensional and have the same length. "
            f"Received: shapes {true.shape} and {predicted.shape}"
        )
    for name, values in (("labels", true), ("predictions", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(
                f"{name} must be from 0 to {classes - 1}. Received: "
                f"{values.min()} to {values.max()}"
            )
    # Encode each (row, column) pair as one integer to count them in a single pass.
    pairs = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confusion_pairs(counts: ArrayLike, limit: int = 10) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes.

    Args:
        counts: Confusion counts, shape `(classes, classes)`, row = true class.
        limit: Maximum number of pairs.

    Returns:
        `(true class, predicted class, count)`, most frequent first. Pairs that never occur are
        omitted.

    Example:
        >>> confusion_pairs([[5, 2], [3, 9]])
        [(1, 0, 3), (0, 1, 2)]
    """
    wrong = check_counts(counts).copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    rows, columns = np.unravel_index(order, wrong.shape)
    pairs = [
        (int(row), int(column), int(wrong[row, column]))
        for row, column in zip(rows, columns, strict=True)
    ]
    return [pair for pair in pairs if pair[2]]


def draw_confusion_matrix(
    counts: ArrayLike, class_names: Sequence[str], show: str = "both"
) -> Figure:
    """Draw a confusion matrix: colors are fractions of each row, text shows counts and percentages.

    Cells show count and percentage for up to 12 classes, count or percentage for up to 30, and
    only the color for more. Cells with a count of 0 are left blank.

    Args:
        counts: Confusion counts, shape `(classes, classes)`, row = true class.
        class_names: A name for each class.
        show: Text in the cells: `"counts"`, `"shares"` (percentages of the row), or `"both"`.

    Returns:
        The figure.

    Raises:
        ValueError: If `counts` is not square, `class_names` has a wrong length, or `show` is
            unknown.

    Example:
        >>> figure = draw_confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['8\\n80%', '2\\n20%', '1\\n10%', '9\\n90%']
    """
    check_one_of("show", show, tuple(_SHOWN))
    counts = check_counts(counts, class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    style = next(style for style in _STYLES if len(counts) <= style.classes)
    side = max(len(counts) * style.cell, 2.5)
    figure = new_figure(side + 2.6, side + 1.7)
    axes = figure.subplots()
    # The square root keeps a mistake in one of a hundred visible next to correct predictions.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    figure.colorbar(
        image,
        shrink=0.6,
        ticks=[0, 0.01, 0.05, 0.2, 0.5, 1],
        format=PercentFormatter(1, decimals=0),
        label="fraction of the true class",
    )
    _label(axes, [shorten(name) for name in class_names], style)
    _number(axes, counts, shares, style, "\n".join(_SHOWN[show][: style.lines]))
    return figure


def check_counts(counts: ArrayLike, class_names: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return confusion counts as a square integer array, after validating the class names."""
    array = np.asarray(counts)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"counts must be a square matrix. Received: shape {array.shape}")
    if class_names is not None and len(class_names) != len(array):
        raise ValueError(
            f"class_names must have one name for each of {len(array)} classes. "
            f"Received: {len(class_names)} names"
        )
    return array.astype(np.int64)


def _label(axes: Axes, names: list[str], style: _Style) -> None:
    """Write the class names along both sides."""
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90, fontsize=style.label_size)
    axes.set_yticks(ticks, names, fontsize=style.label_size)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def _number(
    axes: Axes, counts: NDArray[np.int64], shares: NDArray, style: _Style, form: str
) -> None:
    """Write the text into the cells that are not empty."""
    if not form:
        return
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = shares[row, column]
        axes.text(
            column,
            row,
            form.format(count=counts[row, column], share=share),
            ha="center",
            va="center",
            fontsize=style.number_size,
            linespacing=1.1,
            color="white" if share > 0.3 else "black",
        )
