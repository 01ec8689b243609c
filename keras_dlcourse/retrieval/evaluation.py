"""Compute several measures of embeddings at once, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from keras_dlcourse.edge.search.nearest import MEMORY
from keras_dlcourse.retrieval.clusters import normalized_mutual_information
from keras_dlcourse.retrieval.measures import ranking_measures
from keras_dlcourse.retrieval.triplets import triplet_accuracy
from keras_dlcourse.retrieval.verification import equal_error_rate, verification_auc

DEFAULT = ("recall@1", "recall@5", "map@r")
_RANKED = ("map@r", "r_precision")
_OTHERS: dict[str, Callable[..., float]] = {
    "verification_auc": verification_auc,
    "equal_error_rate": equal_error_rate,
    "triplet_accuracy": triplet_accuracy,
}
_NMI = "nmi"


def evaluate(
    embeddings: Any,
    labels: Any,
    measures: Sequence[str] = DEFAULT,
    *,
    metric: str = "cosine",
    memory: int = MEMORY,
    seed: int = 0,
) -> dict[str, float]:
    """Compute measures of retrieval and verification; all rankings share one search.

    Args:
        embeddings: `(n, dimension)`.
        labels: `(n,)` of any type, or one-hot.
        measures: Names of measures: `"recall@1"` or any other k, `"map@r"`, `"r_precision"`,
            `"nmi"`, `"verification_auc"`, `"equal_error_rate"`, `"triplet_accuracy"`. See the
            functions with these names.
        metric: `"cosine"`, `"euclidean"` or `"dot"`; `nmi` always uses Euclidean k-means.
        memory: Memory limit of the search, in bytes.
        seed: Seed of the pairs, triplets and k-means.

    Returns:
        A dict from each measure to a float.

    Raises:
        ValueError: If a measure is unknown, labels do not match the embeddings, or embeddings are
            not finite.

    Example:
        >>> embeddings, labels = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.2]], [0, 0, 1, 1]
        >>> evaluate(embeddings, labels, ["recall@1", "triplet_accuracy"])
        {'recall@1': 1.0, 'triplet_accuracy': 1.0}
    """
    names = check_measures(measures)
    ks = [int(name.removeprefix("recall@")) for name in names if name.startswith("recall@")]
    whole = any(name in _RANKED for name in names)
    found: dict[str, float] = {}
    if ks or whole:
        found = ranking_measures(embeddings, labels, ks, metric=metric, memory=memory, whole=whole)
    for name in names:
        if name in _OTHERS:
            found[name] = _OTHERS[name](embeddings, labels, metric=metric, seed=seed)
    if _NMI in names:
        found[_NMI] = normalized_mutual_information(embeddings, labels, seed=seed)
    return {name: found[name] for name in names}


def check_measures(measures: Any) -> tuple[str, ...]:
    """Return the validated names of measures.

    Raises:
        ValueError: If the list is empty or a measure is unknown.
    """
    known = (*_RANKED, *_OTHERS, _NMI)
    is_list = isinstance(measures, Sequence) and not isinstance(measures, str)
    if not is_list or not measures:
        error = ValueError if is_list else TypeError
        raise error(f"measures must be a list of names. Received: {measures!r}.")
    for name in measures:
        recall = isinstance(name, str) and re.fullmatch(r"recall@[1-9]\d*", name)
        if not recall and name not in known:
            raise ValueError(
                f"measures must be among 'recall@1' (or another number), "
                f"{', '.join(map(repr, known))}. Received: {name!r}."
            )
    return tuple(dict.fromkeys(measures))
