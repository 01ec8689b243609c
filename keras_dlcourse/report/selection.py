"""Plot training and validation error against the values tried, from underfit to overfit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shorten, style_axes


def draw_selection(
    values: Sequence[Any],
    training: ArrayLike,
    validation: ArrayLike,
    chosen: int,
    measure: str = "loss",
    name: str = "value",
) -> Figure:
    """Draw a metric on training and validation folds against the values tried.

    Lines connect the means; error bars show one standard deviation over the folds. The x axis is
    logarithmic for numbers that span more than a factor of 20.

    Args:
        values: The values tried.
        training: The metric on the training folds, shape `(values, folds)`.
        validation: The metric on the validation folds, shape `(values, folds)`.
        chosen: Index of the chosen value.
        measure: Name of the metric.
        name: Name of the values.

    Returns:
        The figure.

    Raises:
        ValueError: If shapes differ, or `chosen` is not an index into `values`.

    Example:
        >>> figure = draw_selection([0, 1], [[0.1, 0.1], [0.2, 0.3]], [[0.5, 0.6], [0.4, 0.4]], 1)
        >>> figure.axes[0].get_xlabel()
        'value'
    """
    parts = [np.asarray(part, float) for part in (training, validation)]
    if any(part.ndim != 2 or len(part) != len(values) for part in parts):
        raise ValueError(
            f"training and validation must be (values, folds) for {len(values)} values. Received: "
            f"{parts[0].shape} and {parts[1].shape}"
        )
    if not 0 <= chosen < len(values):
        raise ValueError(f"chosen must be from 0 to {len(values) - 1}. Received: {chosen}")
    figure = new_figure(5.6, 4.0)
    axes = figure.subplots()
    at = _set_up_axis(axes, values)
    styles = (("training", BLUE, "--", "o"), ("validation", VERMILION, "-", "s"))
    for part, (label, color, style, marker) in zip(parts, styles, strict=True):
        mean, spread = part.mean(axis=1), part.std(axis=1)
        axes.errorbar(
            at,
            mean,
            spread,
            ls=style,
            color=color,
            marker=marker,
            ms=5,
            lw=2,
            capsize=3,
            label=label,
        )
    label = f"chosen: {shorten(str(values[chosen]), 14)}"
    axes.axvline(at[chosen], color=GREY, lw=1, ls=":", label=label)
    axes.set_xlabel(name, fontsize=12)
    axes.set_ylabel(measure.replace("_", " "), fontsize=12)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=11)
    return figure


def _set_up_axis(axes: Any, values: Sequence[Any]) -> np.ndarray:
    """Set up the x axis and return the position of each value."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        axes.set_xticks(range(len(values)), [shorten(str(value), 12) for value in values])
        return np.arange(len(values))
    numbers = np.asarray(values, float)
    above = numbers[numbers > 0]
    if (numbers >= 0).all() and len(above) > 1 and above.max() > 20 * above.min():
        # Zero has no logarithm; it is placed one step to the left of the smallest value.
        axes.set_xscale("symlog", linthresh=above.min(), linscale=0.5)
        axes.set_xticks(numbers, [f"{value:g}" for value in numbers])
        axes.minorticks_off()
    return numbers
