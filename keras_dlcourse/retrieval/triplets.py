"""Triplet accuracy: whether images of the same class are nearer than those of other classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.edge.search.nearest import pair_distances
from keras_dlcourse.retrieval.pairs import (
    PAIRS,
    check_classes,
    check_embeddings,
    draw_alike,
    draw_of_another_class,
)

_STEP = 8192  # triplets measured at a time


def triplet_accuracy(
    embeddings: Any,
    labels: Any,
    *,
    metric: str = "euclidean",
    triplets: int | None = PAIRS,
    seed: int = 0,
) -> float:
    """Compute the fraction of triplets where the image of the same class is nearer.

    A triplet `(I, T_i, T_j)`, with T_i of the class of I, is correct if `d(I, T_i) < d(I, T_j)`.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        triplets: Number of triplets to draw, with all images equally likely; None uses all
            triplets, one image at a time.
        seed: Seed of the draw.

    Returns:
        A fraction, 0.5 by chance; ties do not count as correct.

    Raises:
        ValueError: If labels do not match the embeddings, embeddings are not finite, or there are
            no triplets.

    Example:
        >>> triplet_accuracy([[0.0], [1.0], [3.0], [3.1]], [0, 0, 1, 1], triplets=None)
        1.0
    """
    rows = check_embeddings(embeddings, metric)
    numbers = check_classes(labels, len(rows))
    if triplets is None:
        return _all_triplets(rows, numbers, metric)
    triplets = check_integer("triplets", triplets)
    rng = np.random.default_rng(seed)
    pairs = draw_alike(numbers, triplets, rng)
    third = draw_of_another_class(numbers, pairs[:, 0], rng)
    right = 0
    for start in range(0, triplets, _STEP):
        part = slice(start, start + _STEP)
        anchor = rows[pairs[part, 0]].astype("float64")
        like = pair_distances(anchor, rows[pairs[part, 1]].astype("float64"), metric)
        unlike = pair_distances(anchor, rows[third[part]].astype("float64"), metric)
        right += int((like < unlike).sum())
    return right / triplets


def _all_triplets(rows: np.ndarray, numbers: np.ndarray, metric: str) -> float:
    """Count over all triplets, by sorting the distances from one image at a time."""
    right = total = 0
    exact = rows.astype("float64")
    for image in range(len(rows)):
        distances = pair_distances(np.broadcast_to(exact[image], exact.shape), exact, metric)
        same = numbers == numbers[image]
        unlike = np.sort(distances[~same])
        same[image] = False
        like = distances[same]
        right += int((len(unlike) - np.searchsorted(unlike, like, "right")).sum())
        total += len(like) * len(unlike)
    return right / total
