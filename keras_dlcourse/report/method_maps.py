"""Plot maps of several methods side by side, one row per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_dlcourse.report.canvas import GREY, shorten
from keras_dlcourse.report.maps import draw_scale, overlay, sheet, to_rgb

# Inches.
_PANEL, _GAP, _MARGIN, _TITLE, _HEADER, _CAPTION, _FOOTER = 1.6, 0.12, 0.2, 0.42, 0.26, 0.36, 0.62


def draw_methods(
    pixels: ArrayLike,
    maps: Mapping[str, ArrayLike],
    captions: Sequence[str],
    title: str = "What the network looks at",
) -> Figure:
    """Draw images, each next to its maps by several methods, with one color scale for all.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        maps: Maps each method's name to its maps, from 0 to 1 and the same size,
            `(n, height, width)`.
        captions: A caption for each row, such as the prediction and its score, length n.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> images, plane = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8))
        >>> figure = draw_methods(images, {"cam": plane, "grad_cam": plane}, ["cat 90%", "dog 60%"])
        >>> [text.get_text() for text in figure.axes[0].texts[1:4]]
        ['image', 'cam', 'grad_cam']
    """
    images = np.asarray(pixels)
    planes = {name: np.asarray(each, "float64") for name, each in maps.items()}
    _check(images, planes, captions)
    rgb = [to_rgb(image) for image in images]
    columns = {"image": rgb} | {
        name: [overlay(image, plane) for image, plane in zip(rgb, each, strict=True)]
        for name, each in planes.items()
    }
    return draw_rows(columns, captions, title)


def draw_rows(
    columns: Mapping[str, Sequence[np.ndarray]], captions: Sequence[str], title: str
) -> Figure:
    """Draw pictures in columns, each with a heading, and in rows, each with a caption.

    Args:
        columns: Maps each heading to one RGB picture (0 to 1) per row, all of the same shape.
        captions: A caption for each row.
        title: Title of the figure.

    Returns:
        The figure, with the color bar of the maps.
    """
    height, width = next(iter(columns.values()))[0].shape[:2]
    panel_height = _PANEL * height / width
    row_height = _CAPTION + panel_height
    wide = max(2 * _MARGIN + len(columns) * (_PANEL + _GAP) - _GAP, 5.2)
    tall = _TITLE + _HEADER + len(captions) * row_height + _FOOTER
    figure, axes = sheet(wide, tall)
    axes.text(_MARGIN, 0.24, title, fontsize=12, fontweight="bold", va="center")
    lefts = [_MARGIN + number * (_PANEL + _GAP) for number in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        axes.text(left, _TITLE + 0.12, name, fontsize=9, color=GREY, va="center")
    for row, caption in enumerate(captions):
        top = _TITLE + _HEADER + row * row_height
        axes.text(_MARGIN, top + 0.2, shorten(caption, 60), fontsize=9, va="center")
        top += _CAPTION
        for left, pictures in zip(lefts, columns.values(), strict=True):
            extent = (left, left + _PANEL, top + panel_height, top)
            axes.imshow(pictures[row], extent=extent, interpolation="nearest", zorder=1)
    draw_scale(axes, wide, tall)
    return figure


def _check(images: np.ndarray, planes: Mapping[str, np.ndarray], captions: Sequence[str]) -> None:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"pixels must have shape (n, height, width, 1 or 3), n > 0. Received: {images.shape}"
        )
    for name, each in planes.items():
        if each.shape != images.shape[:3]:
            raise ValueError(
                f"maps of {name!r} must have shape {images.shape[:3]}. Received: {each.shape}"
            )
    if not planes or len(captions) != len(images):
        raise ValueError(
            "maps and captions must have at least one method and one caption for each of "
            f"{len(images)} images. Received: {len(planes)} methods and {len(captions)} captions"
        )
