"""Plot the signals that pass through a network, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shorten, style_axes

Measurements = Mapping[str, Sequence[float | None]]

_MOST_NAMES = 24  # readable below a panel
_STYLES = ((GREY, "--", "o"), (VERMILION, "-", "s"), (BLUE, "-.", "^"))


def draw_signals(
    layers: Sequence[str],
    activations: Measurements,
    gradients: Measurements,
    dead: Measurements,
    updates: Measurements,
) -> Figure:
    """Draw four panels over the layers: activations, gradients, dead units, and step sizes.

    Args:
        layers: Names of the layers, first to last.
        activations: Maps the names of up to three measurements to variances, one per layer. None is
            omitted, and 0 cannot be shown on a logarithmic axis.
        gradients: Variances, in the same form.
        dead: Fractions from 0 to 1, in the same form.
        updates: Norm of a step divided by the norm of the kernel, in the same form.

    Returns:
        The figure.

    Raises:
        ValueError: If a measurement does not have one value per layer, or there are too many.

    Example:
        >>> once = {"before": [1.0, 0.1]}
        >>> figure = draw_signals(["first", "second"], once, once, {"before": [0.0, 0.5]}, once)
        >>> [axes.get_title() for axes in figure.axes][:2]
        ['variance of activations', 'variance of gradients']
    """
    panels: dict[str, Mapping] = {
        "variance of activations": activations,
        "variance of gradients": gradients,
        "dead ReLU units, %": {key: 100 * np.asarray(row, float) for key, row in dead.items()},
        "step / weights": updates,
    }
    for title, measurements in panels.items():
        lengths = {len(row) for row in measurements.values()}
        if lengths != {len(layers)} or len(measurements) > len(_STYLES):
            raise ValueError(
                f"{title} must have 1 to {len(_STYLES)} rows with one value for each of the "
                f"{len(layers)} layers. Received: {len(measurements)} rows of {sorted(lengths)}"
            )
    figure = new_figure(10.0, 7.2)
    grid = figure.subplots(2, 2).ravel()
    for axes, (title, measurements) in zip(grid, panels.items(), strict=True):
        _draw_panel(axes, title, measurements)
        _label_layers(axes, layers)
    return figure


def _draw_panel(axes: Axes, title: str, measurements: Measurements) -> None:
    in_percent = title.endswith("%")
    drawn: list[float] = []
    for (name, row), (color, style, mark) in zip(measurements.items(), _STYLES, strict=False):
        values = np.asarray(row, float)
        shown = np.isfinite(values) & (in_percent | (values > 0))
        places = np.flatnonzero(shown)
        drawn += values[places].tolist()
        axes.plot(places, values[places], style, color=color, marker=mark, ms=4, lw=1.8, label=name)
    axes.set_title(title, fontsize=12)
    if in_percent:
        axes.set_ylim(-3, 103)
    elif drawn:
        axes.set_yscale("log")
        # Whole powers of ten, so that at least two of them have ticks.
        low, high = np.floor(np.log10(min(drawn))), np.ceil(np.log10(max(drawn)))
        axes.set_ylim(10.0**low * 0.8, 10.0 ** max(high, low + 1) * 1.25)
        axes.yaxis.set_major_formatter("{x:.0e}")
        axes.minorticks_off()
    if drawn:
        axes.legend(frameon=False, fontsize=10)
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY, fontsize=12)
    style_axes(axes)


def _label_layers(axes: Axes, layers: Sequence[str]) -> None:
    """Label the layers, or as many of them as fit."""
    every = -(-len(layers) // _MOST_NAMES)
    places = list(range(0, len(layers), every))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_xticks(places, [shorten(layers[n], 16) for n in places], rotation=90, fontsize=8)
