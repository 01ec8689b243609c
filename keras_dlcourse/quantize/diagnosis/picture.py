"""Plot a diagnosis as bars along the network, one per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from keras_dlcourse.quantize.diagnosis.layer import DECENT_DB, LayerDiagnosis
from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shorten

TALLEST = 70.0  # dB; anything above is as good as exact
MOST_NAMES = 60


def draw_layers(layers: Sequence[LayerDiagnosis]) -> Figure:
    """Draw the SQNR along the network.

    Bars show the SQNR if only that layer were rounded: short bars are where the error originates.
    The line shows the SQNR at that point of the network: where the error becomes visible.

    Args:
        layers: The layers of a `Diagnosis`.

    Returns:
        The figure.

    Raises:
        ValueError: If no layers of the two files matched.
    """
    if not layers:
        raise ValueError("The diagnosis has no layers to draw: no layers of the two files matched.")
    places = range(len(layers))
    figure = new_figure(max(6.0, 1.5 + 0.22 * len(layers)), 5.0)
    axes = figure.subplots()
    colors = [VERMILION if layer.causes else BLUE for layer in layers]
    bars = axes.bar(places, [_height(layer.alone_db) for layer in layers], color=colors)
    for bar, layer in zip(bars, layers, strict=True):
        if layer.causes:
            bar.set_hatch("//")  # distinguishable in grayscale
    axes.plot(places, [_height(layer.sqnr_db) for layer in layers], color=GREY, marker=".", lw=1.5)
    axes.axhline(DECENT_DB, color=GREY, lw=1, ls=":")
    axes.set_ylabel("signal-to-noise ratio (dB)", fontsize=12)
    axes.set_ylim(0, TALLEST)
    axes.margins(x=0.01)
    _name_layers(axes, [layer.name for layer in layers])
    axes.spines[["top", "right"]].set_visible(False)
    handles: list[Any] = [
        bars[0],
        Line2D([], [], color=GREY, marker="."),
        Line2D([], [], color=GREY, lw=1, ls=":"),
    ]
    titles = ["if only this layer were rounded (hatched: cause found)", "at this point",
              "below this, answers begin to change"]  # fmt: skip
    figure.legend(handles, titles, loc="outside upper left", fontsize=9, frameon=False)
    return figure


def _height(ratio: float | None) -> float:
    return TALLEST if ratio is None else min(max(ratio, 0.5), TALLEST)


def _name_layers(axes: Any, names: list[str]) -> None:
    step = -(-len(names) // MOST_NAMES)
    axes.set_xticks(
        range(0, len(names), step),
        [shorten(name, 24) for name in names[::step]],
        rotation=90,
        fontsize=8,
    )
