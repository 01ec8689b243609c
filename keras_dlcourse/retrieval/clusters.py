"""Do the clusters of embeddings agree with the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import normalized_mutual_info_score

from keras_dlcourse.data import checks
from keras_dlcourse.retrieval.labels import class_numbers
from keras_dlcourse.retrieval.pairs import checked_embeddings

_LARGE = 20_000  # embeddings from which on k-means goes by batches


def normalized_mutual_information(
    embeddings: Any, labels: Any, *, clusters: int | None = None, seed: int = 0
) -> float:
    """Agreement of k-means clusters with the classes: normalized mutual information.

    Args:
        embeddings: `(n, dimension)`, clustered by Euclidean distance; normalise them first for the
            cosine.
        labels: `(n,)` of any kind, or one-hot.
        clusters: How many to make; None for as many as there are classes.
        seed: Starts k-means.

    Returns:
        `2 I(clusters; classes) / (H(clusters) + H(classes))`, 0 to 1.

    Raises:
        ValueError: If labels do not fit, or embeddings are not finite.

    Example:
        >>> normalized_mutual_information([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1])
        1.0
    """
    rows = checked_embeddings(embeddings, "euclidean")
    numbers = class_numbers(labels, len(rows))
    if not len(rows):
        raise ValueError("embeddings must hold at least one row")
    clusters = len(np.unique(numbers)) if clusters is None else clusters
    clusters = checks.whole_number("clusters", clusters, 1)
    if clusters > len(rows):
        raise ValueError(f"clusters must be at most the {len(rows)} embeddings, got {clusters}")
    kind = KMeans if len(rows) <= _LARGE else MiniBatchKMeans
    found = kind(clusters, n_init=1 if len(rows) > _LARGE else 3, random_state=seed)
    return float(normalized_mutual_info_score(numbers, found.fit_predict(rows)))
