"""Small pictures in a grid: patches that excite a unit, or the kernels of a first layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import GREY, VERMILION, new_figure, shortened

_PANEL, _LINE, _TITLE = 1.1, 0.2, 0.45  # inches


def draw_patches(
    crops: Sequence[ArrayLike],
    captions: Sequence[str] = (),
    clipped: Sequence[bool] = (),
    title: str = "",
    columns: int = 3,
) -> Figure:
    """Draw crops of images in a grid, each at its own size and with what it is called below.

    Crops of bytes and of floats from 0 to 1 are drawn as they are. Other floats, images that were
    normalised, are stretched over their range, all crops together.

    Args:
        crops: Images `(height, width, 1 or 3)`, of any sizes.
        captions: A text for each, or none.
        clipped: Whether each is cut off by the border of its image, which its frame and a word
            say; or none.
        title: Written on top.
        columns: Crops in a row.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no crops, one is no image, or there are other numbers of captions.

    Example:
        >>> figure = draw_patches([np.zeros((5, 5, 1))], ["image 7: 3.2"], [True])
        >>> [text.get_text() for text in figure.texts]
        ['image 7: 3.2', 'at the border']
    """
    images = _checked([np.asarray(crop) for crop in crops], captions, clipped, columns)
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
        texts = [shortened(captions[number])] if captions else []
        texts += ["at the border"] if cut else []
        for line, text in enumerate(texts):
            y = 1 - (top + _PANEL + (line + 0.75) * _LINE) / height
            figure.text(left / width, y, text, fontsize=7, color=GREY if line else "black")
    return figure


def _checked(
    crops: list[NDArray], captions: Sequence[str], clipped: Sequence[bool], columns: int
) -> list[NDArray]:
    """Return crops as RGB of 0 to 1."""
    if not crops or columns < 1:
        raise ValueError(f"there must be a crop and a column; got {len(crops)} and {columns}")
    for name, given in (("captions", captions), ("clipped", clipped)):
        if len(given) not in (0, len(crops)):
            raise ValueError(f"{name} must have one for each of {len(crops)}; got {len(given)}")
    for crop in crops:
        if crop.ndim != 3 or crop.shape[-1] not in (1, 3) or 0 in crop.shape:
            raise ValueError(f"crops must have the shape (height, width, 1 or 3); got {crop.shape}")
    floats = [crop / 255.0 if crop.dtype == np.uint8 else crop.astype("float64") for crop in crops]
    low, high = min(map(np.min, floats)), max(map(np.max, floats))
    if low < 0 or high > 1:
        floats = [(crop - low) / (high - low) for crop in floats]
    return [np.broadcast_to(crop, (*crop.shape[:2], 3)) for crop in floats]
