"""Which examples each fold trains on, and which it is measured on."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import checks
from keras_dlcourse.training.search import parts

Split = tuple[np.ndarray, np.ndarray]


def make_splits(data: Any, k: Any, groups: Any, seed: int) -> list[Split]:
    """Cut the data into folds.

    Args:
        data: As `parts.check_data` takes it.
        k: A number of folds, stratified by whole-number labels; a scikit-learn splitter; or pairs
            of indices.
        groups: `(n,)`: what belongs together, and stays in one fold; None if nothing does.
        seed: Seed of the cuts that a number of folds means.

    Returns:
        Pairs of indices: to train on, and to measure on.

    Raises:
        TypeError: If `k` is none of these.
        ValueError: If there are too few examples, or a pair shares one.
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
        k = checks.whole_number("k", k, least=2)
        pairs = list(_splitter(k, y, groups, n, seed).split(np.zeros(n), y, groups))
    if not pairs:
        raise ValueError("k must give one split or more. Received: none")
    return [_checked(number, pair, n) for number, pair in enumerate(pairs)]


def _splitter(k: int, y: Any, groups: Any, n: int, seed: int) -> Any:
    """Return scikit-learn's splitter: stratified for classes, whole groups where there are some."""
    from sklearn import model_selection  # takes a second to import

    if k > n:
        raise ValueError(f"k={k} folds need as many examples; there are {n}.")
    classes = y is not None and y.dtype.kind in "biuSU"
    if groups is not None:
        found = len(np.unique(groups))
        if found < k:
            raise ValueError(f"k={k} folds need as many groups; there are {found}.")
        kind = model_selection.StratifiedGroupKFold if classes else model_selection.GroupKFold
        return kind(k, shuffle=True, random_state=seed)
    if not classes:
        return model_selection.KFold(k, shuffle=True, random_state=seed)
    names, counts = np.unique(y, return_counts=True)
    if counts.min() < k:
        raise ValueError(
            f"k={k} folds need as many examples of each class; class {names[counts.argmin()]} has "
            f"{counts.min()}. Take fewer folds, or pass k=sklearn.model_selection.KFold({k}, "
            "shuffle=True), which looks at no classes."
        )
    return model_selection.StratifiedKFold(k, shuffle=True, random_state=seed)


def _checked(number: int, pair: Any, n: int) -> Split:
    train, validation = (np.asarray(indices, int) for indices in pair)
    for indices in (train, validation):
        if not len(indices) or indices.min() < 0 or indices.max() >= n:
            raise ValueError(f"split {number} must hold indices from 0 to {n - 1} on both sides.")
    shared = np.intersect1d(train, validation)
    if len(shared):
        raise ValueError(
            f"split {number} measures on {len(shared)} of the examples that it trains on, the "
            f"first is {shared[0]}."
        )
    return train, validation
