"""Verification: does the distance separate same-class pairs from different-class pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from keras_dlcourse.edge.search.nearest import pair_distances
from keras_dlcourse.retrieval.pairs import PAIRS, check_classes, check_embeddings, pair_sample

_STEP = 8192  # pairs measured at a time


def verification_auc(
    embeddings: Any, labels: Any, *, metric: str = "cosine", pairs: int = PAIRS, seed: int = 0
) -> float:
    """Compute the probability that a same-class pair is nearer than a different-class pair.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        pairs: Maximum number of pairs; see `pair_sample`.
        seed: Seed of the draw.

    Returns:
        Area under the ROC curve: 1 if a threshold separates all pairs, 0.5 by chance.

    Raises:
        ValueError: If labels do not match the embeddings, embeddings are not finite, or there are
            no pairs of one kind.

    Example:
        >>> verification_auc([[0.0], [0.1], [1.0], [1.2]], [0, 0, 1, 1], metric="euclidean")
        1.0
    """
    distances, same = _pair_distances(embeddings, labels, metric, pairs, seed)
    return float(roc_auc_score(same, -distances))


def equal_error_rate(
    embeddings: Any, labels: Any, *, metric: str = "cosine", pairs: int = PAIRS, seed: int = 0
) -> float:
    """Compute the equal error rate: where the false accept and false reject rates are equal.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        pairs: Maximum number of pairs; see `pair_sample`.
        seed: Seed of the draw.

    Returns:
        The rate where both error rates, interpolated linearly over the threshold, cross: 0 if a
        threshold separates all pairs, 0.5 by chance.

    Raises:
        ValueError: As for `verification_auc`.

    Example:
        >>> equal_error_rate([[0.0], [0.1], [1.0], [1.2]], [0, 0, 1, 1], metric="euclidean")
        0.0
    """
    distances, same = _pair_distances(embeddings, labels, metric, pairs, seed)
    return error_where_equal(distances[same], distances[~same])


def error_where_equal(same: np.ndarray, different: np.ndarray) -> float:
    """Return the equal error rate of two sets of distances.

    Args:
        same: Distances of same-class pairs, which should be accepted.
        different: Distances of different-class pairs.
    """
    thresholds = np.unique(np.concatenate([same, different]))
    accepted, refused = (  # at each threshold, and before the first
        np.concatenate([[0], np.searchsorted(np.sort(values), thresholds, "right")]) / len(values)
        for values in (different, same)
    )
    refused = 1 - refused
    gap = accepted - refused  # from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    span = gap[after] - gap[before]
    share = -gap[before] / span if span else 0.0
    return float(accepted[before] + share * (accepted[after] - accepted[before]))


def _pair_distances(
    embeddings: Any, labels: Any, metric: str, pairs: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = check_embeddings(embeddings, metric)
    check_classes(labels, len(rows))
    chosen, same = pair_sample(labels, pairs, seed)
    distances = np.empty(len(chosen))
    for start in range(0, len(chosen), _STEP):
        part = chosen[start : start + _STEP]
        one, other = (rows[part[:, side]].astype("float64") for side in (0, 1))
        distances[start : start + _STEP] = pair_distances(one, other, metric)
    return distances, same
