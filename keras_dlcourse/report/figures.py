"""Learning curves and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shorten, style_axes


def draw_learning_curve(
    history: Mapping[str, Sequence[float]], metric: str = "loss", best_epoch: int | None = None
) -> Figure:
    """Draw one metric over the epochs, for training and, if available, validation.

    Args:
        history: `model.fit(...).history`: a list for each metric, with one value per epoch.
        metric: The metric's name; its validation counterpart is `"val_" + metric`.
        best_epoch: The epoch whose weights were kept, counted from 1; it is marked in the plot.

    Returns:
        The figure.

    Raises:
        ValueError: If `history` has no such metric.

    Example:
        >>> figure = draw_learning_curve({"loss": [2.0, 1.0], "val_loss": [1.9, 1.3]}, "loss")
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['training', 'validation']
    """
    if metric not in history:
        raise ValueError(
            f"history must have the metric {metric!r}. Available: {', '.join(history) or 'nothing'}"
        )
    figure = new_figure(5.6, 4.0)
    axes = figure.subplots()
    # Line style and marker differ as well as color, for grayscale.
    curves = (("", "training", BLUE, "--", "o"), ("val_", "validation", VERMILION, "-", "s"))
    for prefix, label, color, style, marker in curves:
        values = history.get(prefix + metric)
        if values:
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, style, color=color, marker=marker, ms=4, lw=2, label=label)
    if best_epoch is not None:
        axes.axvline(best_epoch, color=GREY, lw=1, ls=":", label=f"kept: epoch {best_epoch}")
    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel(metric.replace("_", " "), fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=11)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=11)
    return figure


def confident_mistakes(labels: ArrayLike, scores: ArrayLike, limit: int = 12) -> NDArray[np.int64]:
    """Find the wrong predictions with the highest scores.

    Args:
        labels: True classes, integers, shape `(n,)`.
        scores: Scores of all classes, shape `(n, classes)`.
        limit: Maximum number of indices.

    Returns:
        Indices into `labels`, most confident mistake first.

    Raises:
        ValueError: If there is not one row of scores per label.

    Example:
        >>> confident_mistakes([0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]]).tolist()
        [2, 1]
    """
    true, values = np.asarray(labels), np.asarray(scores)
    if true.ndim != 1 or values.ndim != 2 or len(true) != len(values):
        raise ValueError(
            "labels and scores must have shapes (n,) and (n, classes). "
            f"Received: {true.shape} and {values.shape}"
        )
    wrong = np.flatnonzero(values.argmax(axis=1) != true)
    order = np.argsort(-values[wrong].max(axis=1), kind="stable")
    return wrong[order][:limit]


def draw_mistakes(
    pixels: ArrayLike,
    labels: Sequence[int] | NDArray,
    predictions: Sequence[int] | NDArray,
    scores: Sequence[float] | NDArray,
    class_names: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Draw images in a grid, each with its true class, predicted class and score.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        labels: True classes, length n.
        predictions: Predicted classes, length n.
        scores: Scores of the predictions, 0 to 1, length n.
        class_names: A name for each class.
        columns: Number of images per row.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no images, their shape is wrong, or the lengths differ.

    Example:
        >>> image = np.zeros((1, 8, 8, 1), np.uint8)
        >>> figure = draw_mistakes(image, [0], [1], [0.9], ["cat", "dog"])
        >>> figure.axes[0].get_title()
        'true: cat\\npred: dog 90%'
    """
    images = np.asarray(pixels)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"pixels must have shape (n, height, width, 1 or 3), n > 0. Received: {images.shape}"
        )
    if not len(images) == len(labels) == len(predictions) == len(scores):
        raise ValueError(
            "pixels, labels, predictions and scores must have the same length. Received: "
            f"{len(images)}, {len(labels)}, {len(predictions)} and {len(scores)}"
        )
    rows = -(-len(images) // columns)
    figure = new_figure(2.1 * columns, 2.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, label, answer, score in zip(
        grid, images, labels, predictions, scores, strict=False
    ):
        picture = image.squeeze(-1) if image.shape[-1] == 1 else image
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        true, said = shorten(class_names[label]), shorten(class_names[answer], 13)
        axes.set_title(f"true: {true}\npred: {said} {score:.0%}", fontsize=11)
    return figure
