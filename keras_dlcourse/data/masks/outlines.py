"""Masks of single objects as COCO stores them: polygons and run-length encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer, is_whole

_BITS = 5  # of a run's length in each character
_MORE, _SIGN, _FIRST = 0x20, 0x10, 48  # further characters follow; the number is below 0; "0"


def draw_polygons(polygons: Sequence[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of an object whose outline consists of polygons.

    A pixel belongs to a polygon if its center is inside: crossing the outline from there to the
    left, an odd number of edges is met. It belongs to the object if it belongs to any of the
    polygons. Unlike Pillow's, the area is then not enlarged by the outline.

    Args:
        polygons: Polygons, each with three points or more: `(points, 2)`, or the same numbers in
            one list as in COCO, x and y in pixels from the image's upper left corner, so that the
            center of the first pixel is at (0.5, 0.5).
        size: Height and width of the image.

    Returns:
        bool `(height, width)`.

    Raises:
        ValueError: If a polygon has fewer than three points or is not of finite numbers.

    Example:
        >>> draw_polygons([[1, 0, 3, 0, 3, 2, 1, 2]], (2, 4)).astype(int).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    height, width = (check_integer("size", side) for side in size)
    shown = np.zeros((height, width), bool)
    for polygon in polygons:
        shown |= _fill(_points(polygon), height, width)
    return shown


def _points(polygon: Any) -> np.ndarray:
    """Return the points of a polygon, `(points, 2)`."""
    try:
        points = np.asarray(polygon, "float64").reshape(-1, 2)
    except (TypeError, ValueError):
        points = np.empty((0, 2))
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(
            "polygons must have three points or more, x and y of each, all finite. Received: "
            f"{str(polygon)[:80]}"
        )
    return points


def _fill(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels have their center in a polygon."""
    ends = np.roll(points, -1, axis=0)
    middles = np.arange(height) + 0.5
    crosses = (points[:, 1, None] <= middles) != (ends[:, 1, None] <= middles)
    edge, row = np.nonzero(crosses)
    slope = (ends[edge, 0] - points[edge, 0]) / (ends[edge, 1] - points[edge, 1])
    x = points[edge, 0] + (middles[row] - points[edge, 1]) * slope
    first = np.ceil(x - 0.5).clip(0, width).astype(int)  # pixel whose center is at x or after it
    changes = np.zeros((height, width + 1), int)
    np.add.at(changes, (row, first), 1)
    return np.asarray(changes.cumsum(axis=1)[:, :width] % 2 == 1)


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the mask that COCO stores as run lengths.

    Args:
        rle: `"size"`, height and width, and `"counts"`: lengths of runs of pixels that do not and
            do belong to the object, in turn, by column from the upper left corner; or these numbers
            as COCO's text, or bytes.

    Returns:
        bool `(height, width)`.

    Raises:
        ValueError: If the run lengths are damaged or do not add up to the size.

    Example:
        >>> decode_rle({"size": [2, 3], "counts": [1, 2, 3]}).astype(int).tolist()
        [[0, 1, 0], [1, 0, 0]]
    """
    size = rle.get("size") if isinstance(rle, Mapping) else None
    if not isinstance(size, Sequence) or len(size) != 2 or not all(map(is_whole, size)):
        raise ValueError(
            f"rle must have size, height and width, and counts. Received: {str(rle)[:80]}"
        )
    height, width = size
    counts = rle.get("counts")
    runs = _read_text(counts) if isinstance(counts, str | bytes) else counts
    if (
        not isinstance(runs, Sequence)
        or not all(is_whole(run) and run >= 0 for run in runs)
        or sum(runs) != height * width
    ):
        raise ValueError(
            f"rle must have counts of 0 or more that add up to {height} x {width} pixels. "
            f"Received: {str(counts)[:80]}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape(width, height).T)


def encode_rle(mask: Any, *, text: bool = True) -> dict[str, Any]:
    """Return a mask as COCO stores it.

    Args:
        mask: `(height, width)` bool.
        text: Whether to write the run lengths as COCO's text instead of a list.

    Returns:
        A dictionary as for `decode_rle`, which can be written as JSON.

    Raises:
        ValueError: If `mask` is not a matrix of True and False.

    Example:
        >>> encode_rle(np.array([[0, 1, 0], [1, 0, 0]], bool), text=False)
        {'size': [2, 3], 'counts': [1, 2, 3]}
        >>> encode_rle(np.ones((100, 100), bool))
        {'size': [100, 100], 'counts': '0`h9'}
    """
    shown = np.asarray(mask)
    if shown.ndim != 2 or shown.dtype != bool:
        raise ValueError(
            "mask must be (height, width) of True and False. Received: "
            f"{shown.dtype} of shape {shown.shape}"
        )
    column = np.concatenate([[False], shown.T.ravel(), [not shown.T.ravel()[-1:].any()]])
    ends = np.flatnonzero(column[1:] != column[:-1])
    runs = np.diff(ends, prepend=0).tolist()
    return {"size": list(shown.shape), "counts": _write_text(runs) if text else runs}


def _read_text(text: str | bytes) -> list[int]:
    """Return the run lengths in COCO's text: five bits a character, the lowest first.

    From the fourth number on, the number before the last one has been subtracted.

    Reference:
        https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c, rleFrString
    """
    codes = text.encode() if isinstance(text, str) else text
    runs: list[int] = []
    number = shift = 0
    for code in codes:
        part = code - _FIRST
        number |= (part & (_MORE - 1)) << shift
        shift += _BITS
        if part & _MORE:
            continue
        if part & _SIGN:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number = shift = 0
    return runs if shift == 0 else [-1]


def _write_text(runs: Sequence[int]) -> str:
    """Return run lengths as COCO's text, see `_read_text`."""
    codes = []
    for position, run in enumerate(runs):
        number = run - runs[position - 2] if position > 2 else run
        more = True
        while more:
            part = number & (_MORE - 1)
            number >>= _BITS
            more = number != (-1 if part & _SIGN else 0)
            codes.append(part + _FIRST + more * _MORE)
    return bytes(codes).decode()
