"""The training and validation examples of each fold."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.training.search import parts

Split = tuple[np.ndarray, np.ndarray]


def make_splits(data: Any, k: Any, groups: Any, seed: int) -> list[Split]:
    """Split the data into folds.

    Args:
        data: Data as in `parts.check_data`.
        k: Number of folds, stratified by integer labels; a scikit-learn splitter; or pairs of
            indices.
        groups: `(n,)`: examples of the same group stay in the same fold; None for no groups.
        seed: Seed of the splits if `k` is a number.

    Returns:
        Pairs of indices: the training and the validation examples.

    Raises:
        TypeError: If `k` has the wrong type.
        ValueError: If there are too few examples, or the two sides of a pair overlap.
    """
    n = parts.check_data("data", data)
    y = parts.labels(data)
    if groups is not None and len(groups) != n:
        raise ValueError(f"groups must have one entry for each of the {n} examples.")
    if hasattr(k, "get_n_splits"):
        pairs = list(k.split(np.zeros(n), y, groups))
    elif isinstance(k, list | tuple):
        pairs = list(k)
    else:
        k = check_integer("k", k, least=2)
        pairs = list(_splitter(k, y, groups, n, seed).split(np.zeros(n), y, groups))
    if not pairs:
        raise ValueError("k must yield at least one split. Received: none")
    return [_check_split(number, pair, n) for number, pair in enumerate(pairs)]


def _splitter(k: int, y: Any, groups: Any, n: int, seed: int) -> Any:
    """Return a scikit-learn splitter: stratified for class labels, by group if there are groups."""
    from sklearn import model_selection  # takes a second to import

    if k > n:
        raise ValueError(f"k must be at most the number of examples, {n}. Received: {k}")
    classes = y is not None and y.dtype.kind in "biuSU"
    if groups is not None:
        found = len(np.unique(groups))
        if found < k:
            raise ValueError(f"k must be at most the number of groups, {found}. Received: {k}")
        kind = model_selection.StratifiedGroupKFold if classes else model_selection.GroupKFold
        return kind(k, shuffle=True, random_state=seed)
    if not classes:
        return model_selection.KFold(k, shuffle=True, random_state=seed)
    names, counts = np.unique(y, return_counts=True)
    if counts.min() < k:
        raise ValueError(
            f"k={k} folds need at least as many examples of each class; class "
            f"{names[counts.argmin()]} has {counts.min()}. Use fewer folds, or pass "
            f"k=sklearn.model_selection.KFold({k}, shuffle=True), which ignores classes."
        )
    return model_selection.StratifiedKFold(k, shuffle=True, random_state=seed)


def _check_split(number: int, pair: Any, n: int) -> Split:
    train, validation = (np.asarray(indices, int) for indices in pair)
    for indices in (train, validation):
        if not len(indices) or indices.min() < 0 or indices.max() >= n:
            raise ValueError(
                f"split {number} must have indices from 0 to {n - 1} on both sides, and neither "
                "side may be empty."
            )
    shared = np.intersect1d(train, validation)
    if len(shared):
        raise ValueError(
            f"split {number} validates on {len(shared)} of its training examples, e.g. "
            f"{shared[0]}. The two sides must not overlap."
        )
    return train, validation
