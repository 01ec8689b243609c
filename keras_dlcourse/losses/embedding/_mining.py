"""Triplet selection in a batch, and the hinge over all triplets without an `(n, m, m)` tensor.

`distances` is `(n, m)`, anchors by rows; `positive` and `negative` mark the pairs of each kind. The
selection has no gradient; gradients flow through the distances that were selected.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_dlcourse import backend


def mine_hardest(distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    """Return the distances of each anchor's farthest positive and nearest negative, `(n, 1)`."""
    fixed = ops.stop_gradient(distances)
    farthest = ops.argmax(ops.where(positive, fixed, -float("inf")), axis=1, keepdims=True)
    nearest = ops.argmin(ops.where(negative, fixed, float("inf")), axis=1, keepdims=True)
    return backend.take_by_row(distances, farthest), backend.take_by_row(distances, nearest)


def mine_semi_hard(distances: Any, negative: Any) -> Any:
    """Return for each pair the distance of the anchor's semi-hard negative, `(n, m)`.

    That is the nearest negative farther away than the pair, or the farthest one if none is. An
    anchor's negatives are sorted once, and each pair looks up its place among them. This takes
    O(m^2 log m) time and O(m^2) memory; comparing all pairs with all negatives takes m^3 of both.
    """
    order, ascending = _sort_negatives(distances, negative)
    last = ops.sum(ops.cast(negative, "int32"), axis=1, keepdims=True) - 1
    place = backend.search_by_row(ascending, ops.stop_gradient(distances), "right")
    place = ops.maximum(ops.minimum(place, last), 0)
    return backend.take_by_row(distances, backend.take_by_row(order, place))


def sum_hinge_over_negatives(distances: Any, negative: Any, margin: float) -> tuple[Any, Any]:
    """Sum max(0, margin + d - d_n) over each anchor's negatives n, for each of its distances d.

    In sorted order the negatives nearer than `margin + d` come first. Their number and the sum of
    their distances give the result, with the margin counted once per negative.

    Returns:
        The sums, and the number of terms above 0 in each, both `(n, m)`.
    """
    order, ascending = _sort_negatives(distances, negative)
    reach = distances + margin
    number = backend.search_by_row(ascending, ops.stop_gradient(reach), "left")
    ascending = backend.take_by_row(distances, order)
    # The entries after an anchor's negatives are other rows; `number` never reaches them.
    sums = ops.cumsum(ascending, axis=1)
    sums = ops.concatenate([ops.zeros_like(sums[:, :1]), sums], axis=1)
    counts = ops.cast(number, distances.dtype)
    return counts * reach - backend.take_by_row(sums, number), counts


def _sort_negatives(distances: Any, negative: Any) -> tuple[Any, Any]:
    """Return the order of each anchor's negatives, nearest first, and their distances.

    All other rows come last, at infinite distance.
    """
    far = ops.where(negative, ops.stop_gradient(distances), float("inf"))
    order = ops.argsort(far, axis=1)
    return order, backend.take_by_row(far, order)
