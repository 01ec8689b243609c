"""Plot queries with their nearest neighbors, marked as correct or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, shorten
from keras_dlcourse.report.maps import sheet, to_rgb

# Inches.
_PANEL, _GAP, _APART, _MARGIN, _TITLE, _HEADER, _LINES = 1.1, 0.14, 0.3, 0.2, 0.42, 0.26, 0.38
_NARROW = 5.2
_MARKS = {True: ("✓ ", BLUE, "-"), False: ("✗ ", VERMILION, "--"), None: ("", GREY, "-")}


def draw_neighbours(
    queries: ArrayLike,
    neighbours: ArrayLike,
    distances: ArrayLike,
    query_labels: Sequence[object] | None = None,
    labels: Sequence[Sequence[object]] | NDArray | None = None,
    title: str = "Nearest neighbors",
) -> Figure:
    """Draw each query next to its neighbors, the nearest first.

    Correct and wrong neighbors differ in a mark and in the line style of the frame, not in color
    alone.

    Args:
        queries: Images, uint8, shape `(n, height, width, 1 or 3)`.
        neighbours: Images, uint8, shape `(n, k, height, width, 1 or 3)`.
        distances: `(n, k)`, as returned by a search.
        query_labels: The class of each query, length n; None disables the marks.
        labels: The class of each neighbor, `(n, k)`; None disables the marks.
        title: Title of the figure; with labels, the number of correct nearest neighbors is added.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> image = np.zeros((1, 8, 8, 1), np.uint8)
        >>> figure = draw_neighbours(
        ...     image, image[:, None], [[0.25]], query_labels=["cat"], labels=[["dog"]])
        >>> [text.get_text() for text in figure.axes[0].texts[3:]]
        ['cat', '✗ dog', '0.25']
    """
    asked, near = np.asarray(queries), np.asarray(neighbours)
    far = np.asarray(distances, "float64")
    known = query_labels is not None and labels is not None
    _check(asked, near, far, query_labels, labels)
    count = near.shape[1]
    tall = _PANEL * asked.shape[1] / asked.shape[2]
    width = 2 * _MARGIN + (count + 1) * _PANEL + count * _GAP + _APART
    height = _TITLE + _HEADER + len(asked) * (tall + _LINES + _GAP) + _MARGIN
    figure, axes = sheet(max(width, _NARROW), height)
    if known:
        right = sum(row[0] == label for row, label in zip(labels, query_labels, strict=True))  # type: ignore
        title = f"{title} · nearest correct in {right} of {len(asked)}"
    axes.text(_MARGIN, 0.24, title, fontsize=12, fontweight="bold", va="center")
    first = _MARGIN + _PANEL + _APART
    for left, heading in ((_MARGIN, "query"), (first, "nearest first")):
        axes.text(left, _TITLE + 0.12, heading, fontsize=9, color=GREY, va="center")
    for row in range(len(asked)):
        top = _TITLE + _HEADER + row * (tall + _LINES + _GAP)
        name = "" if query_labels is None else str(query_labels[row])
        _draw_image(axes, (_MARGIN, top, tall), asked[row], None, [name])
        for rank in range(count):
            left = first + rank * (_PANEL + _GAP)
            own = "" if labels is None else str(labels[row][rank])
            verdict = bool(labels[row][rank] == query_labels[row]) if known else None  # type: ignore
            lines = [own, f"{far[row, rank]:.3g}"]
            _draw_image(axes, (left, top, tall), near[row, rank], verdict, lines)
    return figure


def _draw_image(
    axes: Axes,
    place: tuple[float, float, float],
    image: NDArray,
    verdict: bool | None,
    lines: list[str],
) -> None:
    """Draw an image, its frame and the lines of text below it."""
    left, top, tall = place
    mark, color, style = _MARKS[verdict]
    below = top + tall
    axes.imshow(
        to_rgb(image), extent=(left, left + _PANEL, below, top), interpolation="nearest", zorder=1
    )
    frame = Rectangle(
        (left, top), _PANEL, tall, facecolor="none", edgecolor=color, linestyle=style, zorder=2
    )
    frame.set_linewidth(1.0 if verdict is None else 2.2)
    axes.add_patch(frame)
    for number, line in enumerate(lines):
        text = mark + shorten(line, 14) if number == 0 else line
        if text.strip():
            tint = GREY if number else color if verdict is not None else "black"
            axes.text(left, below + 0.15 + 0.15 * number, text, fontsize=8, color=tint)


def _check(
    queries: NDArray,
    neighbours: NDArray,
    distances: NDArray,
    query_labels: Sequence[object] | None,
    labels: Sequence[Sequence[object]] | NDArray | None,
) -> None:
    if queries.ndim != 4 or queries.shape[-1] not in (1, 3) or not len(queries):
        raise ValueError(
            f"queries must have shape (n, height, width, 1 or 3), n > 0. Received: {queries.shape}"
        )
    expected = (len(queries), *neighbours.shape[1:2], *queries.shape[1:])
    if neighbours.shape != expected or neighbours.ndim != 5 or not neighbours.shape[1]:
        raise ValueError(
            f"neighbours must have shape (n, k, height, width, channels), k > 0, for queries of "
            f"shape {queries.shape}. Received: {neighbours.shape}"
        )
    if distances.shape != neighbours.shape[:2]:
        raise ValueError(
            f"distances must have shape {neighbours.shape[:2]}. Received: {distances.shape}"
        )
    if query_labels is not None and len(query_labels) != len(queries):
        raise ValueError(
            f"query_labels must have one label for each of {len(queries)} queries. "
            f"Received: {len(query_labels)}"
        )
    if labels is not None and [len(row) for row in labels] != [neighbours.shape[1]] * len(queries):
        raise ValueError(
            f"labels must have shape {neighbours.shape[:2]}, with one label per neighbor."
        )
