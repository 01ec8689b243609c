"""Plot where a network looks for each class, averaged over its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_dlcourse.report.canvas import GREY, shorten
from keras_dlcourse.report.maps import draw_scale, overlay, sheet, to_rgb

# Inches.
_PANEL, _GAP, _MARGIN, _TITLE, _CAPTION, _FOOTER = 1.1, 0.1, 0.2, 0.42, 0.36, 0.62


def draw_class_means(
    pixels: ArrayLike,
    maps: ArrayLike,
    counts: Sequence[int] | np.ndarray,
    class_names: Sequence[str],
    title: str = "Mean map of each class",
    columns: int = 5,
) -> Figure:
    """Draw the mean map of each class over the mean image of the class.

    Args:
        pixels: Mean images, uint8, `(classes, height, width, 1 or 3)`.
        maps: Mean maps, `(classes, height, width)`. Each is scaled from its minimum to its maximum.
        counts: Number of images per class; classes without images are omitted.
        class_names: A name for each class.
        title: Title of the figure.
        columns: Number of classes per row.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match, or no class has images.

    Example:
        >>> image, plane = np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 8, 8))
        >>> figure = draw_class_means(image, plane, [3, 0], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts[1:3]]
        ['cat', '3 images']
    """
    images, planes, numbers = np.asarray(pixels), np.asarray(maps, "float64"), np.asarray(counts)
    n = len(class_names)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or planes.shape != images.shape[:3]:
        raise ValueError(
            "pixels must have shape (classes, height, width, 1 or 3), and maps the same without "
            f"channels. Received: {images.shape} and {planes.shape}"
        )
    if not len(images) == len(numbers) == n or not numbers.any():
        raise ValueError(
            "pixels, maps, counts and class_names must have one entry per class, with images of at "
            f"least one class. Received: {len(images)}, {len(planes)}, {numbers.tolist()} and {n}"
        )
    shown = np.flatnonzero(numbers).tolist()
    columns = min(columns, len(shown))
    height = _PANEL * images.shape[1] / images.shape[2]
    rows = -(-len(shown) // columns)
    width_of_all = max(5.2, 2 * _MARGIN + columns * (2 * _PANEL + 2 * _GAP))
    height_of_all = _TITLE + rows * (height + _CAPTION + _GAP) + _FOOTER
    figure, axes = sheet(width_of_all, height_of_all)
    axes.text(_MARGIN, 0.24, title, fontsize=12, fontweight="bold", va="center")
    for place, number in enumerate(shown):
        row, column = divmod(place, columns)
        left = _MARGIN + column * (2 * _PANEL + 2 * _GAP)
        top = _TITLE + row * (height + _CAPTION + _GAP) + _CAPTION
        axes.text(left, top - 0.18, shorten(str(class_names[number]), 16), fontsize=9)
        axes.text(left, top - 0.05, f"{numbers[number]:,} images", fontsize=7, color=GREY)
        rgb = to_rgb(images[number])
        for panel in (rgb, overlay(rgb, _stretch(planes[number]))):
            extent = (left, left + _PANEL, top + height, top)
            axes.imshow(panel, extent=extent, interpolation="nearest", zorder=1)
            left += _PANEL
    draw_scale(axes, width_of_all, height_of_all)
    return figure


def _stretch(plane: np.ndarray) -> np.ndarray:
    low, span = plane.min(), np.ptp(plane)
    return np.zeros_like(plane) if span == 0 else (plane - low) / span
