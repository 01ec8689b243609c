"""Stratified, seeded splits: every part has the classes in the same proportions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse.data import checks


def split(
    x: Any, y: Any, fraction: float, seed: int = 0
) -> tuple[tuple[Any, np.ndarray], tuple[Any, np.ndarray]]:
    """Hold out a part of the examples, each class in proportion.

    Of each class, `round(fraction * examples)` are held out, but at least one and never all.

    Args:
        x: Examples `(n, ...)`, anything that takes an array of indices.
        y: Labels, `(n,)` of any kind or `(n, classes)` one-hot.
        fraction: Part to hold out, above 0 and below 1.
        seed: Seed of the choice, 0 or more.

    Returns:
        `(x_rest, y_rest), (x_held_out, y_held_out)`, each in the order of `x`.

    Raises:
        ValueError: If lengths differ, `fraction` is out of range or a class has one example only.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> x, y = np.arange(20), np.arange(20) % 2
        >>> (x_train, y_train), (x_test, y_test) = kd.data.split(x, y, 0.2, seed=0)
        >>> len(x_train), np.bincount(y_test).tolist()
        (16, [2, 2])
    """
    x = x if hasattr(x, "shape") else np.asarray(x)
    y = np.asarray(y)
    if y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"y must have one label for each of the {len(x)} examples, got {y.shape}.")
    check_fractions(fraction=fraction)
    rest, held_out = split_indices(y, (fraction,), seed)
    return (x[rest], y[rest]), (x[held_out], y[held_out])


def split_indices(y: Any, fractions: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """Cut the examples into the rest and one part for each fraction, each class in proportion.

    Args:
        y: Labels, `(n,)` of any kind or `(n, classes)` one-hot.
        fractions: Parts of the whole, as `check_fractions` has them.
        seed: Seed of the choice, 0 or more.

    Returns:
        Sorted indices of the rest, then of each part: disjoint, together all, and each with at
        least one example of each class.

    Raises:
        ValueError: If a class has fewer examples than there are parts.
    """
    from sklearn.model_selection import train_test_split  # takes a second to import

    y = np.asarray(y)
    y = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()
    random = np.random.RandomState(checks.whole_number("seed", seed, least=0))
    parts: list[list[np.ndarray]] = [[] for _ in range(1 + len(fractions))]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        for number, size in enumerate(_sizes(label, len(members), fractions), start=1):
            members, held_out = train_test_split(members, test_size=size, random_state=random)
            parts[number].append(held_out)
        parts[0].append(members)
    return [np.sort(np.concatenate(part)) for part in parts]


def check_fractions(**fractions: float) -> None:
    """Raise unless the parts to hold out are above 0 and leave something."""
    if not all(fraction > 0 for fraction in fractions.values()) or sum(fractions.values()) >= 1:
        got = ", ".join(f"{name}={fraction!r}" for name, fraction in fractions.items())
        raise ValueError(f"Parts to hold out must be above 0 and together below 1, got {got}.")


def _sizes(label: Any, examples: int, fractions: Sequence[float]) -> list[int]:
    """Return how many of a class each part gets; something is left for those after it."""
    if examples <= len(fractions):
        raise ValueError(
            f"class {label} has {examples} example{'s'[: examples != 1]}, but each of the "
            f"{1 + len(fractions)} parts needs one; add examples or leave the class out."
        )
    sizes: list[int] = []
    for position, fraction in enumerate(fractions):
        most = examples - sum(sizes) - (len(fractions) - position)
        sizes.append(min(max(1, round(fraction * examples)), most))
    return sizes
