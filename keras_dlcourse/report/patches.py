"""Plot small pictures in a grid: patches that excite a unit, or kernels of a first layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse._checks import check_integer
from keras_dlcourse.report.canvas import GREY, VERMILION, new_figure, shorten

_PANEL, _LINE, _TITLE = 1.1, 0.2, 0.45  # inches


def draw_patches(
    crops: Sequence[ArrayLike],
    captions: Sequence[str] = (),
    clipped: Sequence[bool] = (),
    title: str = "",
    columns: int = 3,
) -> Figure:
    """Draw image crops in a grid, each in its own size with its caption below.

    Crops of uint8, and of floats from 0 to 1, are drawn unchanged. Other floats, such as normalized
    images, are rescaled by their overall range, all crops together.

    Args:
        crops: Images `(height, width, 1 or 3)`, of any size.
        captions: A caption for each crop, or empty.
        clipped: Whether each crop is cut off by the border of its image, shown by its frame and a
            note; or empty.
        title: Title of the figure.
        columns: Number of crops per row.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no crops, a crop is not an image, or the lengths do not match.

    Example:
        >>> figure = draw_patches([np.zeros((5, 5, 1))], ["image 7: 3.2"], [True])
        >>> [text.get_text() for text in figure.texts]
        ['image 7: 3.2', 'at the border']
    """
    images = _check_crops([np.asarray(crop) for crop in crops], captions, clipped, columns)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = bool(captions) + any(clipped)
    cell = _PANEL + 0.12, _PANEL + 0.12 + lines * _LINE
    head = _TITLE if title else 0.05
    width, height = max(columns * cell[0] + 0.12, 1.5), rows * cell[1] + head + 0.12
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    if title:
        figure.text(0.12 / width, 1 - 0.22 / height, title, fontsize=11, va="center")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left, top = 0.12 + column * cell[0], head + row * cell[1]
        box = (left / width, 1 - (top + _PANEL) / height, _PANEL / width, _PANEL / height)
        axes = figure.add_axes(box)
        axes.set(xticks=[], yticks=[])
        axes.imshow(image, interpolation="nearest", aspect="equal")
        cut = bool(clipped) and bool(clipped[number])
        for spine in axes.spines.values():
            spine.set(edgecolor=VERMILION if cut else GREY, linestyle="--" if cut else "-")
        texts = [shorten(captions[number])] if captions else []
        texts += ["at the border"] if cut else []
        for line, text in enumerate(texts):
            y = 1 - (top + _PANEL + (line + 0.75) * _LINE) / height
            figure.text(left / width, y, text, fontsize=7, color=GREY if line else "black")
    return figure


def _check_crops(
    crops: list[NDArray], captions: Sequence[str], clipped: Sequence[bool], columns: int
) -> list[NDArray]:
    """Validate crops and return them as RGB from 0 to 1."""
    check_integer("columns", columns)
    if not crops:
        raise ValueError("crops must contain at least one image. Received: none")
    for name, given in (("captions", captions), ("clipped", clipped)):
        if len(given) not in (0, len(crops)):
            raise ValueError(
                f"{name} must have one entry for each of {len(crops)} crops. Received: {len(given)}"
            )
    for crop in crops:
        if crop.ndim != 3 or crop.shape[-1] not in (1, 3) or 0 in crop.shape:
            raise ValueError(
                f"crops must have shape (height, width, 1 or 3). Received: {crop.shape}"
            )
    floats = [crop / 255.0 if crop.dtype == np.uint8 else crop.astype("float64") for crop in crops]
    low, high = min(map(np.min, floats)), max(map(np.max, floats))
    if low < 0 or high > 1:
        floats = [(crop - low) / (high - low) for crop in floats]
    return [np.broadcast_to(crop, (*crop.shape[:2], 3)) for crop in floats]
