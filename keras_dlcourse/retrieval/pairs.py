"""Draw pairs of images of the same class and of different classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.edge.search.nearest import check_metric
from keras_dlcourse.edge.search.vectors import check_rows, lengths
from keras_dlcourse.retrieval.labels import class_numbers

PAIRS = 200_000


def check_embeddings(embeddings: Any, metric: str) -> np.ndarray:
    """Return finite float32 embeddings `(n, dimension)`.

    Raises:
        ValueError: If they have another shape or are not finite, or the metric is unknown.
    """
    check_metric(metric)
    rows = check_rows(embeddings, "embeddings")
    lengths(rows, "embeddings")
    return rows


def check_classes(labels: Any, rows: int) -> np.ndarray:
    """Return class numbers after checking that there are pairs of both kinds.

    Raises:
        ValueError: If there are fewer than two classes, no class has two images, or there is not
            one label per row.
    """
    numbers = class_numbers(labels, rows)
    counts = np.bincount(numbers)
    if len(counts) < 2 or counts.max() < 2:
        raise ValueError(
            "labels must have two classes, one of them with two images, so that there are pairs of "
            f"both kinds. Received: {len(counts)} classes of up to {counts.max(initial=0)} images."
        )
    return numbers


def pair_sample(labels: Any, pairs: int = PAIRS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of different images, half of them of one class; all pairs if they are few.

    Args:
        labels: `(n,)` of any type, or one-hot.
        pairs: Maximum number of pairs.
        seed: Seed of the draw.

    Returns:
        Rows of the images, `(pairs, 2)`, and whether both are of the same class, `(pairs,)`.

    Raises:
        ValueError: If no class has two images, or there is only one class.

    Example:
        >>> rows, same = pair_sample(["a", "a", "b"])
        >>> rows.tolist(), same.tolist()
        ([[0, 1], [0, 2], [1, 2]], [True, False, False])
    """
    pairs = check_integer("pairs", pairs, 2)
    numbers = check_classes(labels, len(labels))
    n = len(numbers)
    if n * (n - 1) // 2 <= pairs:
        rows = np.stack(np.triu_indices(n, 1), axis=1)
    else:
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [draw_alike(numbers, pairs // 2, rng), _draw_unlike(numbers, pairs, rng)]
        )
    return rows, numbers[rows[:, 0]] == numbers[rows[:, 1]]


def draw_alike(numbers: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw pairs `(count, 2)` of different images of one class, all images equally likely.

    Args:
        numbers: Class numbers `(n,)`; images that are the only one of their class are excluded.
        count: Number of pairs.
        rng: Random generator.
    """
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers)
    first = np.cumsum(counts) - counts
    one = rng.choice(np.flatnonzero(counts[numbers] > 1), count)
    place = np.empty(len(numbers), np.int64)  # position of each image within its class
    place[order] = np.arange(len(numbers)) - first[numbers[order]]
    size = counts[numbers[one]]
    step = 1 + (rng.random(count) * (size - 1)).astype(np.int64)
    other = order[first[numbers[one]] + (place[one] + step) % size]
    return np.stack([one, other], axis=1)


def _draw_unlike(numbers: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    one = rng.integers(len(numbers), size=pairs - pairs // 2)
    return np.stack([one, draw_of_another_class(numbers, one, rng)], axis=1)


def draw_of_another_class(
    numbers: np.ndarray, one: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one image of another class for each image, uniformly.

    Args:
        numbers: Class numbers `(n,)`.
        one: Rows of the images.
        rng: Random generator.
    """
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers)
    last = np.cumsum(counts)[numbers[one]]
    others = len(numbers) - counts[numbers[one]]
    return order[(last + (rng.random(len(one)) * others).astype(np.int64)) % len(numbers)]
