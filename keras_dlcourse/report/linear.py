"""What a linear classifier has learned: its boundary in the plane, and its templates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shortened


def draw_perceptron(
    points: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    intercept: float,
    mistakes: ArrayLike,
    mistakes_by_pass: Sequence[int],
) -> Figure:
    """Draw two classes in the plane, the line between them, and what it was learned from.

    Args:
        points: `(n, 2)`.
        labels: Two classes, `(n,)`.
        weights: w, `(2,)`, as `Perceptron.coef_[0]`.
        intercept: w0, as `Perceptron.intercept_[0]`.
        mistakes: Numbers of the examples that were mistakes; circles, larger where it was often.
        mistakes_by_pass: How many in each pass.

    Returns:
        The figure.

    Raises:
        ValueError: If the points are not in the plane, or there are not two classes.

    Example:
        >>> figure = draw_perceptron([[0, 0], [2, 2]], [0, 1], [1, 1], -2.0, [1, 0, 1], [2, 1, 0])
        >>> [axes.get_title() for axes in figure.axes]
        ['mistakes are circled', '3 mistakes in 3 passes']
    """
    x, y, w = np.asarray(points, float), np.asarray(labels), np.asarray(weights, float)
    classes = np.unique(y)
    if x.ndim != 2 or x.shape[1] != 2 or w.shape != (2,) or len(x) != len(y) or len(classes) != 2:
        raise ValueError(
            "points, labels and weights must be (n, 2), two classes (n,) and (2,). Received: "
            f"{x.shape}, {len(classes)} classes {y.shape} and {w.shape}"
        )
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    for one, color, mark in zip(classes, (BLUE, VERMILION), "os", strict=True):
        left.scatter(*x[y == one].T, c=color, marker=mark, s=28, label=shortened(str(one)))
    numbers, times = np.unique(np.asarray(mistakes, int), return_counts=True)
    left.scatter(
        *x[numbers].T, s=90 + 40 * np.log2(times), facecolors="none", edgecolors=GREY, lw=1.2
    )
    middle = x.mean(axis=0)
    length = float(w @ w)
    if length:  # through the point of the line that is nearest to the middle of the data
        foot = middle - w * (w @ middle + intercept) / length
        left.axline(foot, foot + [-w[1], w[0]], color="black", lw=1.5)
    margin = 0.08 * np.maximum(np.ptp(x, axis=0), 1e-9)
    left.set_xlim(x[:, 0].min() - margin[0], x[:, 0].max() + margin[0])
    left.set_ylim(x[:, 1].min() - margin[1], x[:, 1].max() + margin[1])
    left.set_title("mistakes are circled", fontsize=12)
    left.legend(frameon=False, fontsize=10)
    passes = range(1, len(mistakes_by_pass) + 1)
    right.plot(passes, mistakes_by_pass, color=BLUE, marker="o", ms=4, lw=1.8)
    right.set_title(f"{sum(mistakes_by_pass)} mistakes in {len(passes)} passes", fontsize=12)
    right.set_xlabel("pass", fontsize=12)
    right.set_ylabel("mistakes", fontsize=12)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_templates(
    weights: ArrayLike, image_shape: Sequence[int], class_names: Sequence[str], columns: int = 5
) -> Figure:
    """Draw the weights of each class of a linear classifier as an image: its template.

    What speaks for the class is red, what speaks against it blue, and white does not matter; the
    mean over colour channels. All have one scale.

    Args:
        weights: `(classes, pixels)`, as `Perceptron.coef_`; of a dense layer it is `kernel.T`.
        image_shape: `(height, width)` or `(height, width, channels)`.
        class_names: A name for each class.
        columns: Templates in a row.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:
        >>> figure = draw_templates(np.eye(3, 4), (2, 2), ["cat", "dog", "cow"])
        >>> [axes.get_title() for axes in figure.axes[:3]]
        ['cat', 'dog', 'cow']
    """
    values, shape = np.asarray(weights, float), tuple(image_shape)
    fits = values.ndim == 2 and len(shape) in (2, 3) and values.shape[1] == np.prod(shape)
    if not fits or len(class_names) != len(values):
        raise ValueError(
            "weights must be (classes, pixels) for images of image_shape, with a name each. "
            f"Received: {values.shape}, {shape} and {len(class_names)} names"
        )
    images = values.reshape(len(values), *shape[:2], -1).mean(axis=-1)
    largest = float(np.abs(images).max()) or 1.0
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.9 * columns, 2.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, name in zip(grid, images, class_names, strict=False):
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_title(shortened(name), fontsize=11)
    return figure
