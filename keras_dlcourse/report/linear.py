"""Plot what a classifier has learned: its boundary in the plane, or a linear one's templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import BLUE, GREY, STYLES, new_figure, shorten, style_axes

# Color and marker of each class: first those of curves, then the rest of the palette.
_CLASSES = (
    *((color, marker) for color, marker, _ in STYLES),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#F0E442", "X"),
    ("#000000", "*"),
)


def draw_perceptron(
    points: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    intercept: float,
    mistakes: ArrayLike,
    mistakes_by_pass: Sequence[int],
) -> Figure:
    """Draw two classes in the plane, the line between them, and the mistakes it was learned from.

    Args:
        points: `(n, 2)`.
        labels: Two classes, `(n,)`.
        weights: w, `(2,)`, such as `Perceptron.coef_[0]`.
        intercept: w0, such as `Perceptron.intercept_[0]`.
        mistakes: Indices of the examples that were mistakes; repeated ones get larger circles.
        mistakes_by_pass: Number of mistakes in each pass.

    Returns:
        The figure.

    Raises:
        ValueError: If the points are not in the plane, or there are not exactly two classes.

    Example:
        >>> figure = draw_perceptron([[0, 0], [2, 2]], [0, 1], [1, 1], -2.0, [1, 0, 1], [2, 1, 0])
        >>> [axes.get_title() for axes in figure.axes]
        ['mistakes are circled', '3 mistakes in 3 passes']
    """
    x, y, w = np.asarray(points, float), np.asarray(labels), np.asarray(weights, float)
    classes = np.unique(y)
    if x.ndim != 2 or x.shape[1] != 2 or w.shape != (2,) or len(x) != len(y) or len(classes) != 2:
        raise ValueError(
            "points, labels and weights must be (n, 2), (n,) with two classes, and (2,). Received: "
            f"{x.shape}, {len(classes)} classes {y.shape} and {w.shape}"
        )
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    _scatter(left, x, y, classes)
    numbers, times = np.unique(np.asarray(mistakes, int), return_counts=True)
    left.scatter(
        *x[numbers].T, s=90 + 40 * np.log2(times), facecolors="none", edgecolors=GREY, lw=1.2
    )
    middle = x.mean(axis=0)
    length = float(w @ w)
    if length:  # draw through the point of the line closest to the center of the data
        foot = middle - w * (w @ middle + intercept) / length
        left.axline(foot, foot + [-w[1], w[0]], color="black", lw=1.5)
    left.set_title("mistakes are circled", fontsize=12)
    passes = range(1, len(mistakes_by_pass) + 1)
    right.plot(passes, mistakes_by_pass, color=BLUE, marker="o", ms=4, lw=1.8)
    right.set_title(f"{sum(mistakes_by_pass)} mistakes in {len(passes)} passes", fontsize=12)
    right.set_xlabel("pass", fontsize=12)
    right.set_ylabel("mistakes", fontsize=12)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    style_axes(left, right)
    return figure


def draw_boundary(
    predict: Callable[[NDArray[np.float64]], Any],
    points: ArrayLike,
    labels: ArrayLike,
    resolution: int = 200,
) -> Figure:
    """Draw the class that a classifier predicts at each point of the plane, and its training data.

    A linear classifier has straight boundaries, a network with hidden layers curved ones.

    Args:
        predict: Called with points, float64 `(k, 2)`. Returns a class for each, `(k,)`, like
            `predict` of scikit-learn classifiers, or scores `(k, classes)` with the classes in
            sorted order, like `predict` of Keras models that end in a softmax. For a single
            sigmoid, use `lambda places: model.predict(places)[:, 0] > 0.5`.
        points: `(n, 2)`.
        labels: Up to 8 classes, `(n,)`.
        resolution: Number of grid points in each direction.

    Returns:
        The figure.

    Raises:
        ValueError: If the points are not in the plane, there are no or too many classes, or
            `predict` returns a wrong shape or a class that is not in `labels`.

    Example:
        >>> figure = draw_boundary(lambda at: at[:, 0] > 1, [[0, 0], [2, 2]], [False, True])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['False', 'True']
    """
    x, y = np.asarray(points, float), np.asarray(labels)
    classes = np.unique(y)
    fits = x.ndim == 2 and x.shape[1] == 2 and y.shape == (len(x),)
    if not fits or not 0 < len(classes) <= len(_CLASSES):
        raise ValueError(
            f"points and labels must be (n, 2) and (n,) with 1 to {len(_CLASSES)} classes. "
            "Received: "
            f"{x.shape} and {len(classes)} classes {y.shape}"
        )
    figure = new_figure(5.2, 4.6)
    axes = figure.subplots()
    _scatter(axes, x, y, classes)
    sides = [np.linspace(*ends, resolution) for ends in (axes.get_xlim(), axes.get_ylim())]
    across, up = np.meshgrid(*sides)
    places = np.column_stack([across.ravel(), up.ravel()])
    answers = _class_numbers(np.asarray(predict(places)), classes, len(places))
    axes.pcolormesh(
        across,
        up,
        answers.reshape(across.shape),
        cmap=ListedColormap([color for color, _ in _CLASSES]),
        vmin=-0.5,
        vmax=len(_CLASSES) - 0.5,
        alpha=0.2,
        linewidth=0,
        rasterized=True,
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _class_numbers(answers: NDArray[Any], classes: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Convert predictions or scores to indices into `classes`."""
    if answers.shape == (count, len(classes)) and len(classes) > 1:
        return answers.argmax(axis=1)
    if answers.shape != (count,):
        raise ValueError(
            f"predict must return one class per point, ({count},), or scores ({count}, "
            f"{len(classes)}). Received: {answers.shape}"
        )
    strange = ~np.isin(answers, classes)
    if strange.any():
        raise ValueError(
            f"predict must return classes from labels, {classes.tolist()}. Received: "
            f"{answers[strange][0]!r}"
        )
    return np.searchsorted(classes, answers)


def _scatter(axes: Axes, x: NDArray[Any], y: NDArray[Any], classes: NDArray[Any]) -> None:
    """Draw the points of each class, and set slightly wider axis limits."""
    for one, (color, marker) in zip(classes, _CLASSES, strict=False):
        label = shorten(str(one))
        across, up = x[y == one].T
        axes.scatter(across, up, c=color, marker=marker, s=28, label=label, zorder=2)
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.08 * np.maximum(high - low, 1e-9)
    (left, bottom), (right, top) = low - margin, high + margin
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.legend(frameon=False, fontsize=10)


def draw_templates(
    weights: ArrayLike, image_shape: Sequence[int], class_names: Sequence[str], columns: int = 5
) -> Figure:
    """Draw the weights of each class of a linear classifier as an image: its template.

    Evidence for the class is red, evidence against it is blue, and irrelevant pixels are white.
    Color channels are averaged. All templates share one scale.

    Args:
        weights: `(classes, pixels)`, such as `Perceptron.coef_`; for a dense layer, `kernel.T`.
        image_shape: `(height, width)` or `(height, width, channels)`.
        class_names: A name for each class.
        columns: Number of templates per row.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> figure = draw_templates(np.eye(3, 4), (2, 2), ["cat", "dog", "cow"])
        >>> [axes.get_title() for axes in figure.axes[:3]]
        ['cat', 'dog', 'cow']
    """
    values, shape = np.asarray(weights, float), tuple(image_shape)
    fits = values.ndim == 2 and len(shape) in (2, 3) and values.shape[1] == np.prod(shape)
    if not fits or len(class_names) != len(values):
        raise ValueError(
            "weights must be (classes, pixels) for images of image_shape, with one name per class. "
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
        axes.set_title(shorten(name), fontsize=11)
    return figure
