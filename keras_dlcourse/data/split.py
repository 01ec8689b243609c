"""Stratified, seeded splits: all parts have the same class proportions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.data.mask_labels import IGNORE, count_pixels, is_masks
from keras_dlcourse.data.multilabel import classes_of, names_one_class

_ORDERS = 20  # random orders of the groups that are tried; the best result is used


def split(
    x: Any, y: Any, fraction: float, seed: int = 0, *, groups: Any = None
) -> tuple[tuple[Any, np.ndarray], tuple[Any, np.ndarray]]:
    """Hold out a fraction of the examples of each class.

    `round(fraction * examples)` examples of each class are held out, but at least one and never
    all. With groups, such as the frames of a video or the photos of a person, whole groups are held
    out, such that each class gets close to `fraction`. With several classes per example, each class
    gets close to `fraction`, too; with masks, that is the fraction of its pixels.

    Args:
        x: Examples `(n, ...)`, any type that supports indexing with an array of indices.
        y: Labels, `(n,)` of any type, or `(n, classes)`: 1 where a class is present, 0 or below
            elsewhere. Or masks `(n, height, width)`.
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
    rest, held_out = split_indices(y, (fraction,), seed, groups)
    return (x[rest], y[rest]), (x[held_out], y[held_out])


def split_indices(
    y: Any, fractions: Sequence[float], seed: int = 0, groups: Any = None
) -> list[np.ndarray]:
    """Split the examples into one part for each fraction and the rest, stratified by class.

    Args:
        y: Labels as in `split`. Integers `(n, classes)` may also be above 1: how much of each class
            an example shows.
        fractions: Fractions of all examples that satisfy `check_fractions`.
        seed: Seed of the choice, 0 or more.
        groups: Group of each example as in `split`, or None.

    Returns:
        Sorted indices of the rest, then of each part. The parts are disjoint, cover all examples,
        and contain at least one example of each class.

    Raises:
        ValueError: If a class has fewer examples, or groups, than there are parts.
    """
    y = np.asarray(y)
    random = np.random.RandomState(check_integer("seed", seed, least=0))
    if groups is not None or _has_several_classes(y):
        return _split_groups(y, groups, fractions, random)
    from sklearn.model_selection import train_test_split  # takes a second to import

    y = classes_of(y)
    parts: list[list[np.ndarray]] = [[] for _ in range(1 + len(fractions))]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        for number, size in enumerate(_sizes(label, len(members), fractions), start=1):
            members, held_out = train_test_split(members, test_size=size, random_state=random)
            parts[number].append(held_out)
        parts[0].append(members)
    return [np.sort(np.concatenate(part)) for part in parts]


def _has_several_classes(y: np.ndarray) -> bool:
    """Return whether examples may have any number of classes."""
    return is_masks(y) or (y.ndim == 2 and y.shape[1] > 1 and not names_one_class(y))


def _split_groups(
    y: np.ndarray, groups: Any, fractions: Sequence[float], random: np.random.RandomState
) -> list[np.ndarray]:
    """Split like `split_indices`, with groups kept together. None: each example is a group."""
    noun = "example" if groups is None else "group"
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    if groups.shape != (len(y),):
        raise ValueError(
            f"groups must have one entry for each of the {len(y)} examples. Received: shape "
            f"{groups.shape}"
        )
    names, group = np.unique(groups, return_inverse=True)
    labels, counts = _count_classes(y, group, len(names))
    _check_groups((counts[:, : len(labels)] > 0).sum(axis=0), labels, 1 + len(fractions), noun)
    left = np.arange(len(names))
    parts = []
    for number, fraction in enumerate(fractions):
        chosen = _choose_groups(counts, left, fraction, len(fractions) - number, random)
        parts.append(left[chosen])
        left = left[~chosen]
    parts.insert(0, left)
    for part in parts:
        missing = np.flatnonzero(~(counts[part, : len(labels)] > 0).any(axis=0))
        if len(missing):
            raise ValueError(
                f"Found no split of the {noun}s with class {labels[missing[0]]} in "
                f"{'both' if len(parts) == 2 else f'all {len(parts)}'} parts. Divide that class, "
                f"or its {noun}s, into more {noun}s."
            )
    return [np.flatnonzero(np.isin(group, part)) for part in parts]


def _count_classes(y: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, and how much of each is in each group, `(groups, columns)`.

    If there are examples without any class, a further column counts them, so that they are
    distributed among the parts like those of a class.
    """
    if not _has_several_classes(y):
        labels, label = np.unique(classes_of(y), return_inverse=True)
        counts = np.zeros((groups, len(labels)), "int32")
        np.add.at(counts, (group, label), 1)
        return labels, counts
    labels, amounts = _measure_classes(y)
    none = ~amounts.any(axis=1, keepdims=True)
    columns = np.hstack([amounts, none]) if none.any() else amounts
    counts = np.zeros((groups, columns.shape[1]), "int64")
    np.add.at(counts, group, columns)
    return labels, counts


def _measure_classes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, and how much of each is in each example, `(n, classes)` int."""
    if is_masks(y):
        pixels = count_pixels(y)[:, :IGNORE]
        labels = np.flatnonzero(pixels.any(axis=0))
        return labels, pixels[:, labels]
    amounts = np.maximum(y, 0) if y.dtype.kind in "iu" else y > 0
    return np.arange(y.shape[1]), amounts.astype("int64")


def _check_groups(groups_of: np.ndarray, labels: np.ndarray, parts: int, noun: str) -> None:
    """Raise ValueError unless each class is in as many groups as there are parts."""
    few = np.flatnonzero(groups_of < parts)
    if len(few):
        count = groups_of[few[0]]
        found = f"one {noun}" if count == 1 else f"{count} {noun}s"
        raise ValueError(
            f"Class {labels[few[0]]} is in only {found}, but each of the {parts} parts needs one. "
            f"Add {noun}s with this class or remove the class."
        )


def _choose_groups(
    counts: np.ndarray,
    left: np.ndarray,
    fraction: float,
    later: int,
    random: np.random.RandomState,
) -> np.ndarray:
    """Return which of the groups that are left to hold out, `(left,)` bool.

    scikit-learn's StratifiedGroupKFold only makes folds of equal size, and its GroupShuffleSplit
    ignores classes. Here each group, in random order, is held out if that brings the class
    fractions closer to `fraction`.

    Args:
        counts: Number of examples of each class in each group, `(groups, classes)`.
        left: The groups to choose from.
        fraction: The fraction of each class to hold out, of all its examples.
        later: Number of parts for which groups of each class must remain.
        random: Draws the orders, of which the one with the smallest error is used.
    """
    totals = counts.sum(axis=0)
    counts = counts[left]
    most = (counts > 0).sum(axis=0) - later  # groups of each class

    def errors(held: np.ndarray, groups: np.ndarray) -> np.ndarray:
        is_missing = (held == 0) | (groups > most)
        return (np.abs(held / totals - fraction) + is_missing).sum(axis=1)

    orders = np.stack([random.permutation(len(counts)) for _ in range(_ORDERS)])
    held = np.zeros((_ORDERS, len(totals)), int)
    groups = np.zeros_like(held)
    error = errors(held, groups)
    is_chosen = np.zeros(orders.shape, bool)
    for group in orders.T:  # one for each order
        more, more_groups = held + counts[group], groups + (counts[group] > 0)
        error_of_more = errors(more, more_groups)
        is_nearer = error_of_more < error
        held[is_nearer], error[is_nearer] = more[is_nearer], error_of_more[is_nearer]
        groups[is_nearer] = more_groups[is_nearer]
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
