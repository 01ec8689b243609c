"""The confusion matrix: what each class was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import new_figure, shortened


@dataclass(frozen=True)
class _Style:
    """How a matrix of up to `classes` classes is drawn: cell in inches, fonts in points."""

    classes: float
    cell: float
    label_size: float
    number_size: float
    lines: int


# The more classes, the less fits into a cell: two lines, one, or colour alone.
_STYLES = (
    _Style(12, cell=0.62, label_size=11, number_size=10, lines=2),
    _Style(30, cell=0.36, label_size=9, number_size=7.5, lines=1),
    _Style(float("inf"), cell=0.15, label_size=7, number_size=0, lines=0),
)
# What is written into a cell, the more important line first.
_SHOWN = {
    "both": ("{count}", "{share:.0%}"),
    "counts": ("{count}",),
    "shares": ("{share:.0%}",),
}


def confusion_counts(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

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
            "labels and predictions must be two lists of the same length; "
            f"received shapes {true.shape} and {predicted.shape}"
        )
    for name, values in (("labels", true), ("predictions", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(
                f"{name} must lie in 0 .. {classes - 1}; received {values.min()} .. {values.max()}"
            )
    # One number for each (row, column) pair, counted in one pass.
    pairs = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confusion_pairs(counts: ArrayLike, limit: int = 10) -> list[tuple[int, int, int]]:
    """List the commonest mistakes.

    Args:
        counts: Confusion counts, shape `(classes, classes)`, row = true class.
        limit: Pairs to return at most.

    Returns:
        `(true class, predicted class, count)`, commonest first; pairs that never happened are left
        out.

    Example:
        >>> confusion_pairs([[5, 2], [3, 9]])
        [(1, 0, 3), (0, 1, 2)]
    """
    wrong = square(counts).copy()
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
    """Draw a confusion matrix: colour is the share of the row, numbers are counts and shares.

    Up to 12 classes show count and row share in each cell, up to 30 the count or the share; more
    show colour only. Cells that never happened are left blank.

    Args:
        counts: Confusion counts, shape `(classes, classes)`, row = true class.
        class_names: A name for each class.
        show: Numbers in the cells: `"counts"`, `"shares"`, which are per cent of the row, or
            `"both"`.

    Returns:
        The figure.

    Raises:
        ValueError: If `counts` is not square, there is not one name for each class, or `show` is
            none of these.

    Example:
        >>> figure = draw_confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['8\\n80%', '2\\n20%', '1\\n10%', '9\\n90%']
    """
    if show not in _SHOWN:
        raise ValueError(f"show must be one of {', '.join(map(repr, _SHOWN))}; received {show!r}")
    counts = square(counts, class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    style = next(style for style in _STYLES if len(counts) <= style.classes)
    side = max(len(counts) * style.cell, 2.5)
    figure = new_figure(side + 2.6, side + 1.7)
    axes = figure.subplots()
    # The square root keeps a mistake of one in a hundred visible beside right answers.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    figure.colorbar(
        image,
        shrink=0.6,
        ticks=[0, 0.01, 0.05, 0.2, 0.5, 1],
        format=PercentFormatter(1, decimals=0),
        label="share of the true class",
    )
    _label(axes, [shortened(name) for name in class_names], style)
    _number(axes, counts, shares, style, "\n".join(_SHOWN[show][: style.lines]))
    return figure


def square(counts: ArrayLike, class_names: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return confusion counts as a square array of integers, with a name for each class."""
    array = np.asarray(counts)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"counts must be a square matrix; received shape {array.shape}")
    if class_names is not None and len(class_names) != len(array):
        raise ValueError(
            f"class_names must hold one name for each of {len(array)} classes; "
            f"received {len(class_names)}"
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
    """Write the numbers into the cells that are not empty."""
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
