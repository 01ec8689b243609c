"""Plot embeddings in the plane, with a marker and a color for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_dlcourse.report.canvas import BLUE, GREEN, GREY, PURPLE, VERMILION, new_figure, shorten

# Okabe and Ito's colors and three of Tol's, each with its own marker, so that classes also differ
# in grayscale.
_COLORS = (
    *(BLUE, VERMILION, GREEN, PURPLE, "#E69F00"),
    *("#56B4E9", "#000000", "#882255", "#999933", "#999999"),
)
_MARKS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")
_NAMED = 20  # classes that a legend can name; with more, only colors are shown


def draw_embedding_map(
    points: ArrayLike,
    labels: Sequence[object] | None = None,
    title: str = "Embeddings",
    axis_label: str = "",
) -> Figure:
    """Draw a map of embeddings.

    Each of up to 20 classes has its own color and marker. The numbers in the legend appear at the
    center (median) of the points of each class. With more classes, colors come from a continuous
    scale and there is no legend.

    Args:
        points: `(n, 2)`, as returned by `kd.retrieval.embedding_map`.
        labels: The class of each point; None draws all points alike.
        title: Title of the figure.
        axis_label: Name of the axes, such as `"PCA"`.

    Returns:
        The figure.

    Raises:
        ValueError: If `points` has a wrong shape or is not finite, or `labels` does not match.

    Example:
        >>> figure = draw_embedding_map([[0, 0], [1, 1], [1, 0]], ["cat", "dog", "dog"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['1 cat', '2 dog']
    """
    places = np.asarray(points, "float64")
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise ValueError(f"points must have shape (n, 2), n > 0. Received: {places.shape}")
    if not np.isfinite(places).all():
        raise ValueError("points must be finite. Received: NaN or infinite values")
    if labels is not None and len(labels) != len(places):
        raise ValueError(
            f"labels must have one label for each of {len(places)} points. Received: {len(labels)}"
        )
    figure = new_figure(7.4, 5.4)
    axes = figure.subplots()
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    axes.set(xticks=[], yticks=[])
    if axis_label:
        axes.set_xlabel(f"{axis_label} 1", color=GREY)
        axes.set_ylabel(f"{axis_label} 2", color=GREY)
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(20_000 / len(places), 8, 36))
    if labels is None:
        axes.scatter(places[:, 0], places[:, 1], s=size, color=GREY, alpha=0.6, linewidths=0)
        return figure
    names = list(dict.fromkeys(labels))
    names.sort(key=lambda name: (str(type(name)), name))
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers[label] for label in labels])
    if len(names) > _NAMED:
        colors = colormaps["viridis"](classes / (len(names) - 1))
        axes.scatter(places[:, 0], places[:, 1], s=size, color=colors, alpha=0.7, linewidths=0)
        axes.set_title(
            f"{title} · {len(names)} classes", fontsize=12, fontweight="bold", loc="left"
        )
        return figure
    for number, name in enumerate(names):
        own = places[classes == number]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=size,
            color=_COLORS[number % len(_COLORS)],
            marker=_MARKS[number % len(_MARKS)],
            alpha=0.65,
            linewidths=0,
            label=f"{number + 1} {shorten(str(name))}",
        )
        x, y = np.median(own, axis=0)
        axes.text(
            x,
            y,
            str(number + 1),
            fontsize=9,
            ha="center",
            va="center",
            bbox={
                "boxstyle": "circle,pad=0.2",
                "facecolor": "white",
                "alpha": 0.9,
                "edgecolor": GREY,
                "linewidth": 0.6,
            },
        )
    figure.legend(loc="outside right upper", fontsize=9, frameon=False, markerscale=1.5)
    return figure
