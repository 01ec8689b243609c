"""Name what is seen by the nearest template, or call it unknown: new classes need no training."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse.edge.search.nearest import MEMORY, checked_metric, nearest
from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors, checked_rows, lengths

UNKNOWN = "unknown"


class Identity(NamedTuple):
    """What an embedding was taken for.

    Attributes:
        label: Class of the nearest template, or `"unknown"` if that is further than the threshold.
        distance: Distance of the nearest template.
        nearest: Class of the nearest template, however far.
        row: Row of the nearest template.
    """

    label: Any
    distance: float
    nearest: Any
    row: int


def identify(
    queries: Any,
    templates: Any,
    labels: Sequence[Hashable],
    *,
    threshold: float | None = None,
    metric: str = "cosine",
    memory: int = MEMORY,
) -> list[Identity]:
    """Name each embedding by its nearest template: `argmin_j d(f(I), f(T_j))`.

    Pass what `class_means` returns as templates and labels to name it by the nearest class mean.

    Args:
        queries: Embeddings `(n, dimension)`.
        templates: Embeddings `(templates, dimension)`, or `Vectors`.
        labels: The class of each template.
        threshold: Largest distance at which a template is believed; None believes all.
        metric: `"cosine"`, `"euclidean"` or `"dot"`, as in `nearest`.
        memory: As in `nearest`.

    Raises:
        ValueError: If there are no templates, not one label for each, or numbers are not finite.

    Example:
        >>> templates, labels = [[1.0, 0.0], [0.0, 1.0]], ["cat", "dog"]
        >>> found = identify([[5.0, 1.0], [-1.0, -1.0]], templates, labels, threshold=0.5)
        >>> [identity.label for identity in found], found[1].nearest
        (['cat', 'unknown'], 'cat')
    """
    vectors = templates if isinstance(templates, Vectors) else Vectors.over(templates)
    labels = checked_labels(labels, len(vectors))
    limit = math.inf if threshold is None else checked_threshold(threshold)
    found = nearest(queries, vectors, 1, metric=metric, memory=memory)
    pairs = zip(found.indices[:, 0].tolist(), found.distances[:, 0].tolist(), strict=True)
    return [
        Identity(labels[index] if distance <= limit else UNKNOWN, distance, labels[index], index)
        for index, distance in pairs
    ]


def class_means(
    templates: Any, labels: Sequence[Hashable], *, metric: str = "cosine"
) -> tuple[np.ndarray, list[Any]]:
    """Return one template a class: the mean of its templates, of their directions for the cosine.

    Args:
        templates: Embeddings `(templates, dimension)`, or `Vectors`.
        labels: The class of each template.
        metric: What they will be searched by.

    Returns:
        Means `(classes, dimension)` as float32, and the classes as they first appear.

    Raises:
        ValueError: If there are no templates, not one label for each, or numbers are not finite.

    Example:
        >>> class_means([[2.0, 0.0], [0.0, 2.0], [0.0, 3.0]], ["a", "b", "a"], metric="euclidean")
        (array([[1. , 1.5],
               [0. , 2. ]], dtype=float32), ['a', 'b'])
    """
    checked_metric(metric)
    rows = templates.rows() if isinstance(templates, Vectors) else templates
    rows = checked_rows(rows, "templates")
    norms = lengths(rows, "templates")
    labels = checked_labels(labels, len(rows))
    if not len(rows):
        raise ValueError("there are no templates, so there is no class mean")
    if metric == "cosine":
        rows = rows / np.where(norms < SHORTEST, np.inf, norms)[:, None]
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    classes = np.array([number[label] for label in labels])
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, classes, rows)
    return (sums / np.bincount(classes)[:, None]).astype(np.float32), list(number)


def checked_labels(labels: Any, rows: int) -> list[Any]:
    """Return labels as a list with one for each row.

    Args:
        labels: Any sequence of strings, numbers or the like; NumPy's numbers become Python's.
        rows: How many there must be.

    Raises:
        ValueError: If there are more or fewer.
        TypeError: If one cannot be compared with others by its hash, or all are one string.
    """
    if isinstance(labels, str):
        raise TypeError(f"labels must be a list with one label a row, got the string {labels!r}")
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    if len(values) != rows:
        raise ValueError(f"labels must be one for each of the {rows} rows, got {len(values)}")
    for value in values:
        if not isinstance(value, Hashable):
            raise TypeError(f"labels must be strings, numbers or the like, got {value!r}")
    return values


def checked_threshold(threshold: Any) -> float:
    """Return a distance as a float.

    Raises:
        ValueError: If it is no number, or NaN.
    """
    try:
        number = float(threshold)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"threshold must be a distance or None, got {threshold!r}")
    return number
