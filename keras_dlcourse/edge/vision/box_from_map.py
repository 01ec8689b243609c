"""A bounding box from a class map, in pure NumPy: localization learned from labels only."""

from __future__ import annotations

import numpy as np

from keras_dlcourse._checks import check_number


def box_from_map(class_map: np.ndarray, threshold: float = 0.15) -> tuple[int, int, int, int]:
    """Return the bounding box of the strongest region in a map.

    The box encloses the largest connected region of pixels that are at least `threshold` times the
    maximum (diagonal neighbors are connected). `kd.explain.boxes_from_map` is the equivalent on
    the desktop.

    Args:
        class_map: Array of shape (height, width), as returned by `ImageClassifier.class_map`. NaN,
            where the network did not look, belongs to no region.
        threshold: Fraction of the map's maximum, above 0 and at most 1.

    Returns:
        Left, top, right and bottom in pixels, right and bottom exclusive; (0, 0, 0, 0) for a map
        without positive values.

    Raises:
        TypeError: If `threshold` is not a number.
        ValueError: If the map is not two-dimensional or is empty, or `threshold` is out of range.

    Example:
        >>> plane = np.zeros((6, 8))
        >>> plane[1:4, 2:5], plane[5, 7] = 0.5, 1.0
        >>> box_from_map(plane)
        (2, 1, 5, 4)
    """
    threshold = check_number("threshold", threshold, above=0, most=1)
    plane = np.asarray(class_map)
    if plane.ndim != 2 or not plane.size:
        raise ValueError(f"class_map must have the shape (height, width). Received: {plane.shape}")
    plane = np.where(np.isfinite(plane), plane, -np.inf)
    top = plane.max()
    if not top > 0:
        return 0, 0, 0, 0
    rows, starts, ends = _runs(plane >= threshold * top)
    parts = _join_runs(rows, starts, ends)
    sizes = np.bincount(parts, weights=ends - starts)
    own = parts == sizes.argmax()
    edges = starts[own].min(), rows[own].min(), ends[own].max(), rows[own].max() + 1
    return tuple(int(edge) for edge in edges)  # type: ignore[return-value]


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row, first column and end of each run of True values within a row."""
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]


def _join_runs(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the region number of each run; runs that touch in adjacent rows share a region."""
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first = np.searchsorted(rows, rows - 1).tolist()  # runs in the row above
    last = np.searchsorted(rows, rows).tolist()
    for number, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        for above in range(first[number], last[number]):
            if starts[above] <= end and ends[above] >= begin:
                parent[root(above)] = root(number)
    return np.array([root(number) for number in range(len(rows))])
