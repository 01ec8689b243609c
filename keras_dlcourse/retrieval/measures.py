"""Retrieval measures: how many of each image's nearest neighbors are of its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.edge.search.nearest import MEMORY, nearest
from keras_dlcourse.edge.search.vectors import Vectors, check_rows
from keras_dlcourse.retrieval.labels import class_numbers

_QUERIES = 1024  # searched at a time; bounds the memory for their neighbors


def recall_at_k(
    embeddings: Any,
    labels: Any,
    k: int | Sequence[int] = 1,
    *,
    metric: str = "cosine",
    memory: int = MEMORY,
) -> Any:
    """Compute the fraction of images with an image of their class among their k nearest neighbors.

    An image is not its own neighbor. Images that are the only one of their class are excluded.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot.
        k: One number, or several.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Memory limit of the search, in bytes.

    Returns:
        A float, or a dict from each k to a float.

    Raises:
        ValueError: If labels do not match the embeddings, embeddings are not finite, `k` is below
            1, or no class has two images.

    Example:
        >>> recall_at_k([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.2]], ["a", "a", "b", "c"])
        1.0

    Reference:
        Oh Song et al. (2016), Deep Metric Learning via Lifted Structured Feature Embedding,
        https://arxiv.org/abs/1511.06452
    """
    single = not isinstance(k, Sequence | np.ndarray)
    ks = [check_integer("k", each) for each in ([k] if single else k)]  # type: ignore
    if not ks:
        raise ValueError("k must hold at least one number. Received: none.")
    found = ranking_measures(embeddings, labels, ks, metric=metric, memory=memory, whole=False)
    return found[f"recall@{ks[0]}"] if single else {each: found[f"recall@{each}"] for each in ks}


def map_at_r(
    embeddings: Any, labels: Any, *, metric: str = "cosine", memory: int = MEMORY
) -> float:
    """Compute mean average precision at R, where R is the number of other images of the class.

    `1/R sum_{i=1..R} precision(i) [neighbor i is of the class]`, averaged over images. Unlike
    recall@1, it measures how well whole classes cluster.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot; images that are the only one of their class are
            excluded.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Memory limit of the search, in bytes.

    Raises:
        ValueError: As for `recall_at_k`.

    Example:
        >>> map_at_r([[0.0], [1.0], [3.0], [3.1]], [0, 0, 1, 0], metric="euclidean")
        0.4166666666666667

    Reference:
        Musgrave, Belongie, Lim (2020), A Metric Learning Reality Check,
        https://arxiv.org/abs/2003.08505
    """
    return ranking_measures(embeddings, labels, (), metric=metric, memory=memory)["map@r"]


def r_precision(
    embeddings: Any, labels: Any, *, metric: str = "cosine", memory: int = MEMORY
) -> float:
    """Compute the fraction of an image's R nearest neighbors that are of its class.

    R is the number of other images of the class; the result is the mean over images.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot; images that are the only one of their class are
            excluded.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Memory limit of the search, in bytes.

    Raises:
        ValueError: As for `recall_at_k`.

    Example:
        >>> r_precision([[0.0], [1.0], [3.0], [3.1]], [0, 0, 1, 0], metric="euclidean")
        0.5
    """
    return ranking_measures(embeddings, labels, (), metric=metric, memory=memory)["r_precision"]


def ranking_measures(
    embeddings: Any,
    labels: Any,
    k: Sequence[int] = (1, 5, 10),
    *,
    metric: str = "cosine",
    memory: int = MEMORY,
    whole: bool = True,
) -> dict[str, float]:
    """Compute recall at several k, mAP@R and R-precision with one search.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot; images that are the only one of their class are
            excluded.
        k: Values of k for the recall.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Memory limit of the search, in bytes.
        whole: Whether to compute mAP@R and R-precision, which need as many neighbors as the largest
            class has images.

    Returns:
        `{"recall@1": ..., "map@r": ..., "r_precision": ...}`.

    Raises:
        ValueError: As for `recall_at_k`.

    Example:
        >>> ranking_measures([[0.0], [1.0], [3.0], [3.1]], [0, 0, 1, 0], [1], metric="euclidean")
        {'recall@1': 0.6666666666666666, 'map@r': 0.4166666666666667, 'r_precision': 0.5}
    """
    ks = [check_integer("k", each) for each in k]
    rows = check_rows(embeddings, "embeddings")
    numbers = class_numbers(labels, len(rows))
    others = np.bincount(numbers)[numbers] - 1
    queries = np.flatnonzero(others > 0)
    if not queries.size:
        raise ValueError(
            f"no class has two images among the {len(rows)}, so there is nothing to retrieve. "
            "Pass several images of each class."
        )
    vectors = Vectors.over(rows)
    depth = min(max([*ks, int(others.max()) if whole else 0]), len(rows) - 1)
    sums: dict[str, float] = dict.fromkeys([f"recall@{each}" for each in ks], 0.0)
    if whole:
        sums |= {"map@r": 0.0, "r_precision": 0.0}
    step = max(1, min(_QUERIES, memory // (16 * (depth + 1))))
    for start in range(0, len(queries), step):
        chosen = queries[start : start + step]
        found = nearest(rows[chosen], vectors, depth + 1, metric=metric, memory=memory).indices
        right = numbers[drop_self(found, chosen)] == numbers[chosen, None]
        for each in ks:
            sums[f"recall@{each}"] += int(right[:, :each].any(axis=1).sum())
        if whole:
            _add_ranked(sums, right, others[chosen])
    return {name: value / len(queries) for name, value in sums.items()}


def drop_self(found: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Remove one neighbor of each query: the query itself, else the last one.

    Args:
        found: Neighbors `(n, k)`.
        queries: The row of each query in the gallery.
    """
    itself = found == queries[:, None]
    itself[~itself.any(axis=1), -1] = True  # with many duplicates, it may not be among the k
    return found[~itself].reshape(len(found), -1)


def _add_ranked(sums: dict[str, float], right: np.ndarray, others: np.ndarray) -> None:
    rank = np.arange(1, right.shape[1] + 1)
    counted = right & (rank <= others[:, None])
    precision = counted.cumsum(axis=1) / rank
    sums["map@r"] += float(((precision * counted).sum(axis=1) / others).sum())
    sums["r_precision"] += float((counted.sum(axis=1) / others).sum())
