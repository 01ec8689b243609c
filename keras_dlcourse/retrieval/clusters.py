"""Agreement between clusters of embeddings and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import normalized_mutual_info_score

from keras_dlcourse._checks import check_integer
from keras_dlcourse.retrieval.labels import class_numbers
from keras_dlcourse.retrieval.pairs import check_embeddings

_LARGE = 20_000  # above this number of embeddings, k-means runs in mini-batches


def normalized_mutual_information(
    embeddings: Any, labels: Any, *, clusters: int | None = None, seed: int = 0
) -> float:
    """Compute the normalized mutual information between k-means clusters and classes.

    Args:
        embeddings: `(n, dimension)`, clustered by Euclidean distance; normalize them first to
            cluster by cosine.
        labels: `(n,)` of any type, or one-hot.
        clusters: Number of clusters; None uses the number of classes.
        seed: Seed of k-means.

    Returns:
        `2 I(clusters; classes) / (H(clusters) + H(classes))`, 0 to 1.

    Raises:
        ValueError: If labels do not match the embeddings, or embeddings are not finite.

    Example:
        >>> normalized_mutual_information([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1])
        1.0
    """
    rows = check_embeddings(embeddings, "euclidean")
    numbers = class_numbers(labels, len(rows))
    if not len(rows):
        raise ValueError("embeddings must hold at least one row.")
    clusters = len(np.unique(numbers)) if clusters is None else clusters
    clusters = check_integer("clusters", clusters)
    if clusters > len(rows):
        raise ValueError(
            f"clusters must be at most {len(rows)}, the number of embeddings. Received: {clusters}."
        )
    kind = KMeans if len(rows) <= _LARGE else MiniBatchKMeans
    found = kind(clusters, n_init=1 if len(rows) > _LARGE else 3, random_state=seed)
    return float(normalized_mutual_info_score(numbers, found.fit_predict(rows)))
