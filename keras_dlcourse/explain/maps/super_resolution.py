"""Fusion of many coarse maps of moved copies of an image into one fine map."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

_SMOOTHING = 1e-3  # |x| is computed as sqrt(x^2 + s^2): L-BFGS needs a gradient at 0


def build_motion_matrix(
    size: tuple[int, int], angle: float, shift: tuple[float, float]
) -> sparse.csr_matrix:
    """Return the matrix that rotates and shifts an image with bilinear interpolation.

    Args:
        size: Height and width of the image.
        angle: Rotation around the center, in radians.
        shift: Shift in rows and columns, after the rotation.

    Returns:
        A matrix for images flattened row by row; pixels from outside the image are 0.
    """
    height, width = size
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    centre = (height - 1) / 2, (width - 1) / 2
    y, x = rows - centre[0] - shift[0], columns - centre[1] - shift[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    y, x = cosine * y - sine * x + centre[0], sine * y + cosine * x + centre[1]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    parts = []
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            row, column = top + down, left + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (weight > 0)
            pixel = np.flatnonzero(inside)
            parts.append((weight[inside], pixel, (row * width + column)[inside]))
    weights, to, source = (np.concatenate(column) for column in zip(*parts, strict=True))
    return sparse.csr_matrix((weights, (to, source)), (height * width,) * 2)


def build_averaging_matrix(size: tuple[int, int], low: tuple[int, int]) -> sparse.csr_matrix:
    """Return the matrix that averages the pixels under each cell of a coarse map.

    Args:
        size: Height and width of the image.
        low: Height and width of the map.
    """
    rows, columns = (_overlaps(fine, coarse) for fine, coarse in zip(size, low, strict=True))
    return sparse.csr_matrix(sparse.kron(rows, columns))


def super_resolve(
    operators: sparse.csr_matrix,
    maps: np.ndarray,
    size: tuple[int, int],
    *,
    variation: float,
    ridge: float,
    steps: int,
    start: np.ndarray,
) -> np.ndarray:
    """Return the h that minimizes `sum_i |D A_i h - g_i|^2 + variation TV(h) + ridge |h|^2`.

    TV is anisotropic: the sum of the absolute differences between neighbors. L-BFGS needs far fewer
    steps than Adam.

    Args:
        operators: All `D A_i`, stacked vertically.
        maps: All g_i, in the same order.
        size: Height and width of h.
        variation: Weight of the total variation.
        ridge: Weight of the squares.
        steps: Maximum number of iterations.
        start: Initial value, shape `size`.
    """
    given = maps.reshape(-1).astype("float64")
    turned = operators.T.tocsr()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        h = flat.reshape(size)
        error = operators @ flat - given
        value = error @ error + ridge * (flat @ flat)
        gradient = (2 * (turned @ error) + 2 * ridge * flat).reshape(size)
        for axis in (0, 1):
            step = np.diff(h, axis=axis)
            length = np.sqrt(step**2 + _SMOOTHING**2)
            value += variation * (length - _SMOOTHING).sum()
            slope = variation * step / length
            behind = [(1, 0) if number == axis else (0, 0) for number in (0, 1)]
            before = [(0, 1) if number == axis else (0, 0) for number in (0, 1)]
            gradient += np.pad(slope, behind) - np.pad(slope, before)
        return float(value), gradient.reshape(-1)

    found = minimize(
        objective, start.reshape(-1).astype("float64"), jac=True, method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps},
    )  # fmt: skip
    return np.asarray(found.x.reshape(size), "float32")


def _overlaps(fine: int, coarse: int) -> np.ndarray:
    """Return the fraction of each coarse cell that each fine cell covers, `(coarse, fine)`."""
    edges = np.arange(coarse + 1) * fine / coarse
    starts = np.maximum(edges[:-1, None], np.arange(fine))
    ends = np.minimum(edges[1:, None], np.arange(1, fine + 1))
    return np.asarray(np.maximum(ends - starts, 0) * coarse / fine)
