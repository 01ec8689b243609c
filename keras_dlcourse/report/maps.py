"""Plot class activation maps next to their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, new_figure, shorten

# A perceptually uniform colormap, suitable for color blindness.
_COLORS = colormaps["viridis"]
_OPACITY = 0.75
_CONTRAST = 0.5  # of the image under a map, so that map colors match the color bar

# By whether the prediction is correct; None if unknown.
_HEADINGS = {True: ("✓ correct", BLUE), False: ("✗ wrong", VERMILION), None: ("image", GREY)}

# Inches.
_PANEL, _GAP, _CAPTION, _MARGIN, _HEADER, _FOOTER = 1.3, 0.1, 0.42, 0.16, 0.4, 0.62


def draw_class_activation_maps(
    pixels: ArrayLike,
    maps: ArrayLike,
    scores: ArrayLike,
    predictions: Sequence[int] | NDArray,
    labels: Sequence[int] | NDArray | None,
    class_names: Sequence[str],
    title: str = "Class activation maps",
    columns: int = 2,
    count: bool = True,
) -> Figure:
    """Draw images, each next to its maps for the true and for the predicted class.

    Correct and wrong predictions differ in a word, a mark and the line style of the frame, not in
    color alone. The maps are drawn in viridis over a pale grayscale image, with a color bar.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        maps: Maps with values from 0 to 1 and the same size, `(n, 2, height, width)`: of the true
            and of the predicted class; or `(n, 1, height, width)`, of the predicted class, if there
            are no labels.
        scores: The scores of those classes, 0 to 1, shape `(n, 2)` or `(n, 1)`.
        predictions: Predicted classes, length n.
        labels: True classes, length n, or None.
        class_names: A name for each class.
        title: Title of the figure.
        columns: Number of images per row.
        count: Whether to add the number of correct predictions to the title, if there are labels.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> image, maps = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2, 8, 8))
        >>> figure = draw_class_activation_maps(
        ...     image, maps, [[0.2, 0.8]], [1], [0], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts[1:6]]
        ['✗ wrong', 'true class', 'cat 20%', 'predicted', 'dog 80%']
    """
    images, planes = np.asarray(pixels), np.asarray(maps, "float64")
    values = np.asarray(scores, "float64")
    kinds = 1 if labels is None else 2
    _check(images, planes, values, kinds)
    columns = min(columns, len(images))
    cell = np.array(
        [(_PANEL + _GAP) * (kinds + 1) + _GAP, _PANEL * _ratio(images) + _CAPTION + _GAP]
    )
    rows = -(-len(images) // columns)
    width = columns * (cell[0] + _MARGIN) + _MARGIN
    height = rows * (cell[1] + _MARGIN) + _HEADER + _FOOTER
    width = max(width, 5.2)  # minimum width for the title and the color bar
    figure, axes = sheet(width, height)
    if labels is not None and count:
        right = int(np.sum(np.asarray(labels) == np.asarray(predictions)))
        title = f"{title} · {right} of {len(images)} correct"
    axes.text(_MARGIN, 0.2, title, fontsize=12, fontweight="bold", va="center")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        corner = np.array([_MARGIN, _HEADER]) + (cell + _MARGIN) * [column, row]
        truth = None if labels is None else int(labels[index])
        names = [] if truth is None else [("true class", class_names[truth])]
        names.append(("predicted", class_names[int(predictions[index])]))
        captions = [
            (kind, f"{shorten(str(name), 14)} {score:.0%}")
            for (kind, name), score in zip(names, values[index], strict=True)
        ]
        verdict = None if truth is None else truth == int(predictions[index])
        _draw_example(axes, corner, cell, to_rgb(image), planes[index], captions, verdict)
    draw_scale(axes, width, height)
    return figure


def write_animation(
    path: Path, pictures: Sequence[Path], seconds: float = 0.7, most: int = 60
) -> None:
    """Combine images of the same size into an animation that holds the last one longer.

    Args:
        path: The `.gif` or `.webp` file to write.
        pictures: Image files, in order; those with another size than the last one are skipped.
        seconds: Duration of each image.
        most: Maximum number of images; of more, evenly spaced ones are used.
    """
    with Image.open(pictures[-1]) as last:
        size = last.size
    chosen = [pictures[i] for i in np.unique(np.linspace(0, len(pictures) - 1, most).astype(int))]
    frames = []
    for picture in chosen:
        with Image.open(picture) as image:
            if image.size == size:
                frames.append(image.convert("P", palette=Image.Palette.ADAPTIVE))
    durations = [int(1000 * seconds)] * (len(frames) - 1) + [int(3000 * seconds)]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
    )


def _draw_example(
    axes: Axes,
    corner: NDArray,
    cell: NDArray,
    image: NDArray,
    maps: NDArray,
    captions: list[tuple[str, str]],
    verdict: bool | None,
) -> None:
    """Draw one image, its maps, their captions and the frame around them."""
    left, top = corner + [_GAP, _CAPTION]
    below = top + _PANEL * image.shape[0] / image.shape[1]
    heading, color = _HEADINGS[verdict]
    frame = Rectangle(
        (corner[0], corner[1]),
        cell[0],
        cell[1],
        facecolor="none",
        edgecolor=color if verdict is False else GREY,
        linewidth=2.0 if verdict is False else 0.8,
        linestyle="--" if verdict is False else "-",
    )
    axes.add_patch(frame)
    top_line, low_line = corner[1] + 0.19, corner[1] + 0.34
    axes.text(left, low_line, heading, fontsize=10, fontweight="bold", color=color)
    panels = [image, *(overlay(image, plane) for plane in maps)]
    for panel in panels:
        axes.imshow(
            panel, extent=(left, left + _PANEL, below, top), interpolation="nearest", zorder=1
        )
        if panel is not image:
            kind, answer = captions.pop(0)
            axes.text(left, top_line, kind, fontsize=8, color=GREY)
            axes.text(left, low_line, answer, fontsize=8)
        left += _PANEL + _GAP


def draw_scale(axes: Axes, width: float, height: float) -> None:
    """Draw the color bar as it looks over a medium gray."""
    steps = np.linspace(0, 1, 256)[None]
    bar = overlay(np.full((1, 256, 3), 0.5), steps)
    top = height - _FOOTER + 0.12
    left, right = width / 2 - 1.1, width / 2 + 1.1
    axes.imshow(bar, extent=(left, right, top + 0.14, top), aspect="auto", zorder=1)
    axes.text(left - 0.08, top + 0.07, "0 least", fontsize=8, ha="right", va="center")
    axes.text(right + 0.08, top + 0.07, "1 most", fontsize=8, ha="left", va="center")
    note = "evidence for the class by image region; each image has its own scale"
    axes.text(width / 2, top + 0.3, note, fontsize=8, color=GREY, ha="center", va="center")


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Create a figure with one axes in inches, y pointing down, because many axes are slow."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure, axes


def to_rgb(image: NDArray) -> NDArray[np.float64]:
    """Return an image as RGB from 0 to 1."""
    return np.broadcast_to(image, (*image.shape[:2], 3)) / 255.0


def overlay(image: NDArray, plane: NDArray) -> NDArray[np.float64]:
    """Blend the colors of a map with a pale grayscale image."""
    grey = image @ [0.299, 0.587, 0.114]
    pale = 0.5 + _CONTRAST * (grey - 0.5)
    return (1 - _OPACITY) * pale[..., None] + _OPACITY * _COLORS(plane)[..., :3]


def _ratio(images: NDArray) -> float:
    return float(images.shape[1] / images.shape[2])


def _check(images: NDArray, maps: NDArray, scores: NDArray, kinds: int) -> None:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"pixels must have shape (n, height, width, 1 or 3), n > 0. Received: {images.shape}"
        )
    expected = (len(images), kinds, *images.shape[1:3])
    if maps.shape != expected or scores.shape != expected[:2]:
        raise ValueError(
            f"maps and scores must have shapes {expected} and {expected[:2]} for pixels of shape "
            f"{images.shape} {'without' if kinds == 1 else 'with'} labels. Received: {maps.shape} "
            f"and {scores.shape}"
        )
