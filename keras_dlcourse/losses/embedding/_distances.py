"""Distances and cosines between all rows of two matrices, by one product of matrices each."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

DISTANCES = ("euclidean", "squared", "cosine")

_SPACING = {"float32": 1.2e-7, "float64": 2.2e-16}
_TINY = 1e-24


def pairwise(distance: str, anchors: Any, others: Any) -> Any:
    """Return the distance of every anchor from every other row.

    Args:
        distance: One of `DISTANCES`: Euclidean, its square, or 1 - cosine.
        anchors: `(n, dimensions)`, float32 or float64.
        others: `(m, dimensions)`.

    Returns:
        `(n, m)`. Where rows are equal, as far as the type of number can tell, the distance and its
        gradient are 0.
    """
    if distance == "cosine":
        return 1.0 - cosines(anchors, others)
    squares = _squared(anchors, others)
    if distance == "squared":
        return ops.maximum(squares, 0.0)
    # The root has no gradient at 0; where the maximum takes the constant, none flows.
    return ops.sqrt(ops.maximum(squares, _TINY))


def of_pairs(squared: bool, one: Any, other: Any) -> Any:
    """Return the distance of each row of one matrix from that row of the other, `(n,)`."""
    squares = ops.sum(ops.square(one - other), axis=-1)
    return squares if squared else ops.sqrt(ops.maximum(squares, _TINY))


def cosines(anchors: Any, others: Any) -> Any:
    """Return the cosine of the angle between every anchor and every other row, `(n, m)`."""
    return ops.matmul(unit(anchors), ops.transpose(unit(others)))


def unit(x: Any) -> Any:
    """Return rows of length 1; a row of zeros stays, and has no gradient."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    empty = squares <= 0  # so that NaN stays NaN
    return ops.where(empty, 0.0, x * ops.rsqrt(ops.where(empty, 1.0, squares)))


def _squared(anchors: Any, others: Any) -> Any:
    """Return squared distances, below 0 where nothing but rounding is left of them.

    |a - b|^2 = |a|^2 + |b|^2 - 2ab loses digits where rows lie close together and far from the
    origin. Distances do not change when the origin moves, so it is put amid the rows. The sum is
    made inside of the product, by two more columns, and in passing it is lowered by as much as
    rounding leaves between equal rows (measured: up to 5 spacings of numbers at 128 dimensions, 14
    at 1000), so that those come out below 0.
    """
    centre = ops.stop_gradient(ops.mean(others, axis=0, keepdims=True))
    anchors, others = anchors - centre, others - centre
    kept = 1.0 - _SPACING[keras.backend.standardize_dtype(anchors.dtype)] * (
        4 + anchors.shape[1] / 64
    )
    lengths = [kept * ops.sum(ops.square(x), axis=1, keepdims=True) for x in (anchors, others)]
    left = ops.concatenate([-2.0 * anchors, lengths[0], ops.ones_like(lengths[0])], axis=1)
    right = ops.concatenate([others, ops.ones_like(lengths[1]), lengths[1]], axis=1)
    return ops.matmul(left, ops.transpose(right))
