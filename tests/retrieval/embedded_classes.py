"""Embeddings of classes that overlap, for the tests of retrieval."""

from __future__ import annotations

import numpy as np


def embedded_classes(rows=60, classes=5, dimension=6, noise=0.7, seed=0):
    """Return embeddings around a centre for each class, and the class of each, in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = rng.standard_normal((classes, dimension))
    embeddings = centres[labels] + noise * rng.standard_normal((rows, dimension))
    return embeddings.astype("float32"), labels


def distance(one, other, metric):
    """Measure one pair in float64."""
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    if metric == "euclidean":
        return np.sqrt(((one - other) ** 2).sum())
    if metric == "dot":
        return -(one @ other)
    return 1 - one @ other / np.sqrt((one @ one) * (other @ other))
