"""Stratified, seeded splits: all parts have the same class proportions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.data.multilabel import classes_of

_ORDERS = 20  # random orders of the groups that are tried; the best result is used


def split(
    x: Any, y: Any, fraction: float, seed: int = 0, *, groups: Any = None
) -> tuple[tuple[Any, np.ndarray], tuple[Any, np.ndarray]]:
    """Hold out a fraction of the examples of each class.

    `round(fraction * examples)` examples of each class are held out, but at least one and never
    all. With groups, such as the frames of a video or the photos of a person, whole groups are held
    out, such that each class gets close to `fraction`.

    Args:
        x: Examples `(n, ...)`, any type that supports indexing with an array of indices.
        y: Labels, `(n,)` of any type or `(n, classes)` one-hot.
        fraction: Fraction to hold out, above 0 and below 1.
        seed: Seed of the choice, 0 or more.
        groups: Group of each example, `(n,)` of any type. Examples of a group stay together.

    Returns:
        `(x_rest, y_rest), (x_held_out, y_held_out)`, each in the order of `x`.

    Raises:
        ValueError: If lengths differ, `fraction` is out of range, or a class has only one example
            or only one group.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> x, y = np.arange(20), np.arange(20) % 2
        >>> (x_train, y_train), (x_test, y_test) = kd.data.split(x, y, 0.2, seed=0)
        >>> len(x_train), np.bincount(y_test).tolist()
        (16, [2, 2])
        >>> (x_train, _), (x_test, _) = kd.data.split(x, y, 0.2, groups=x // 4)
        >>> sorted(set(x_train // 4) & set(x_test // 4))
        []
    """
    x = x if hasattr(x, "shape") else np.asarray(x)
    y = np.asarray(y)
    if y.ndim == 0 or len(x) != len(y):
        raise ValueError(
            f"y must have one label for each of the {len(x)} examples. Received: shape {y.shape}"
        )
    check_fractions(fraction=fraction)
    if groups is None:
        rest, held_out = split_indices(y, (fraction,), seed)
    else:
        rest, held_out = _split_groups(y, np.asarray(groups), fraction, seed)
    return (x[rest], y[rest]), (x[held_out], y[held_out])


def split_indices(y: Any, fractions: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """Split the examples into one part for each fraction and the rest, stratified by class.

    Args:
        y: Labels, `(n,)` of any type or `(n, classes)` one-hot.
        fractions: Fractions of all examples that satisfy `check_fractions`.
        seed: Seed of the choice, 0 or more.

    Returns:
        Sorted indices of the rest, then of each part. The parts are disjoint, cover all examples,
        and contain at least one example of each class.

    Raises:
        ValueError: If a class has fewer examples than there are parts.
    """
    from sklearn.model_selection import train_test_split  # takes a second to import

    y = classes_of(np.asarray(y))
    random = np.random.RandomState(check_integer("seed", seed, least=0))
    parts: list[list[np.ndarray]] = [[] for _ in range(1 + len(fractions))]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        for number, size in enumerate(_sizes(label, len(members), fractions), start=1):
            members, held_out = train_test_split(members, test_size=size, random_state=random)
            parts[number].append(held_out)
        parts[0].append(members)
    return [np.sort(np.concatenate(part)) for part in parts]


def _split_groups(
    y: np.ndarray, groups: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices of the rest and of the held-out examples, with groups kept together."""
    random = np.random.RandomState(check_integer("seed", seed, least=0))
    if groups.shape != (len(y),):
        raise ValueError(
            f"groups must have one entry for each of the {len(y)} examples. Received: shape "
            f"{groups.shape}"
        )
    names, group = np.unique(groups, return_inverse=True)
    labels, label = np.unique(classes_of(y), return_inverse=True)
    counts = np.zeros((len(names), len(labels)), "int32")
    np.add.at(counts, (group, label), 1)
    alone = labels[(counts > 0).sum(axis=0) < 2]
    if len(alone):
        raise ValueError(
            f"Class {alone[0]} is in only one group, but each of the 2 parts needs one. Add groups "
            "with this class or remove the class."
        )
    is_held = _choose_groups(counts, fraction, random)[group]
    held_out = np.flatnonzero(is_held)
    for part in (label[held_out], label[~is_held]):
        missing = np.setdiff1d(np.arange(len(labels)), part)
        if len(missing):
            raise ValueError(
                f"Found no split of the groups with class {labels[missing[0]]} in both parts. "
                "Divide that class, or its groups, into more groups."
            )
    return np.flatnonzero(~is_held), held_out


def _choose_groups(
    counts: np.ndarray, fraction: float, random: np.random.RandomState
) -> np.ndarray:
    """Return which groups to hold out, `(groups,)` bool.

    scikit-learn's StratifiedGroupKFold only makes folds of equal size, and its GroupShuffleSplit
    ignores classes. Here each group, in random order, is held out if that brings the class
    fractions closer to `fraction`.

    Args:
        counts: Number of examples of each class in each group, `(groups, classes)`.
        fraction: The fraction of each class to hold out.
        random: Draws the orders, of which the one with the smallest error is used.
    """
    totals = counts.sum(axis=0)

    def errors(held: np.ndarray) -> np.ndarray:
        is_missing = (held == 0) | (held == totals)
        return (np.abs(held / totals - fraction) + is_missing).sum(axis=1)

    orders = np.stack([random.permutation(len(counts)) for _ in range(_ORDERS)])
    held = np.zeros((_ORDERS, len(totals)), int)
    error = errors(held)
    is_chosen = np.zeros(orders.shape, bool)
    for group in orders.T:  # one for each order
        more = held + counts[group]
        error_of_more = errors(more)
        is_nearer = error_of_more < error
        held[is_nearer], error[is_nearer] = more[is_nearer], error_of_more[is_nearer]
        is_chosen[np.arange(_ORDERS), group] = is_nearer
    return is_chosen[error.argmin()]


def check_fractions(**fractions: float) -> None:
    """Raise an error unless the fractions to hold out are above 0 and leave a rest."""
    for name, fraction in fractions.items():
        check_number(name, fraction, above=0, below=1)
    if sum(fractions.values()) >= 1:
        got = ", ".join(f"{name}={fraction!r}" for name, fraction in fractions.items())
        raise ValueError(f"Fractions must be above 0 and together below 1. Received: {got}")


def _sizes(label: Any, examples: int, fractions: Sequence[float]) -> list[int]:
    """Return the number of examples of a class in each part, leaving at least one for the rest."""
    if examples <= len(fractions):
        raise ValueError(
            f"Class {label} has {examples} example{'s'[: examples != 1]}, but each of the "
            f"{1 + len(fractions)} parts needs one. Add examples or remove the class."
        )
    sizes: list[int] = []
    for position, fraction in enumerate(fractions):
        most = examples - sum(sizes) - (len(fractions) - position)
        sizes.append(min(max(1, round(fraction * examples)), most))
    return sizes
