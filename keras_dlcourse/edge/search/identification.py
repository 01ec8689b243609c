"""Identify embeddings by the nearest template, or as unknown; new classes need no training."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse._checks import is_real
from keras_dlcourse.edge.search.nearest import MEMORY, check_metric, nearest
from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors, check_rows, lengths

UNKNOWN = "unknown"


class Identity(NamedTuple):
    """The identity assigned to an embedding.

    Attributes:
        label: Class of the nearest template, or `"unknown"` if it is beyond the threshold.
        distance: Distance to the nearest template.
        nearest: Class of the nearest template, regardless of distance.
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
    """Identify each embedding by its nearest template: `argmin_j d(f(I), f(T_j))`.

    To identify by the nearest class mean, pass the templates and labels from `class_means`.

    Args:
        queries: Embeddings `(n, dimension)`.
        templates: Embeddings `(templates, dimension)`, or `Vectors`.
        labels: The class of each template.
        threshold: Largest distance at which an embedding is identified; None has no limit.
        metric: `"cosine"`, `"euclidean"` or `"dot"`, see `nearest`.
        memory: See `nearest`.

    Raises:
        ValueError: If there are no templates, the number of labels differs from that of templates,
            or values are not finite.

    Example:
        >>> templates, labels = [[1.0, 0.0], [0.0, 1.0]], ["cat", "dog"]
        >>> found = identify([[5.0, 1.0], [-1.0, -1.0]], templates, labels, threshold=0.5)
        >>> [identity.label for identity in found], found[1].nearest
        (['cat', 'unknown'], 'cat')
    """
    vectors = templates if isinstance(templates, Vectors) else Vectors.over(templates)
    labels = check_labels(labels, len(vectors))
    limit = math.inf if threshold is None else check_threshold(threshold)
    found = nearest(queries, vectors, 1, metric=metric, memory=memory)
    pairs = zip(found.indices[:, 0].tolist(), found.distances[:, 0].tolist(), strict=True)
    return [
        Identity(labels[index] if distance <= limit else UNKNOWN, distance, labels[index], index)
        for index, distance in pairs
    ]


def class_means(
    templates: Any, labels: Sequence[Hashable], *, metric: str = "cosine"
) -> tuple[np.ndarray, list[Any]]:
    """Return one template per class: the mean of its templates, normalized first for the cosine.

    Args:
        templates: Embeddings `(templates, dimension)`, or `Vectors`.
        labels: The class of each template.
        metric: The metric of later searches.

    Returns:
        Means `(classes, dimension)` as float32, and the classes in order of first appearance.

    Raises:
        ValueError: If there are no templates, the number of labels differs from that of templates,
            or values are not finite.

    Example:
        >>> class_means([[2.0, 0.0], [0.0, 2.0], [0.0, 3.0]], ["a", "b", "a"], metric="euclidean")
        (array([[1. , 1.5],
               [0. , 2. ]], dtype=float32), ['a', 'b'])
    """
    check_metric(metric)
    rows = templates.rows() if isinstance(templates, Vectors) else templates
    rows = check_rows(rows, "templates")
    norms = lengths(rows, "templates")
    labels = check_labels(labels, len(rows))
    if not len(rows):
        raise ValueError("there are no templates to average. Pass at least one.")
    if metric == "cosine":
        rows = rows / np.where(norms < SHORTEST, np.inf, norms)[:, None]
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    classes = np.array([number[label] for label in labels])
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, classes, rows)
    return (sums / np.bincount(classes)[:, None]).astype(np.float32), list(number)


def check_labels(labels: Any, rows: int) -> list[Any]:
    """Return labels as a list with one label per row.

    Args:
        labels: Sequence of hashable labels; NumPy scalars are converted to Python types.
        rows: Required number of labels.

    Raises:
        ValueError: If the number of labels differs from `rows`.
        TypeError: If a label is not hashable, or `labels` is a single string.
    """
    if isinstance(labels, str):
        raise TypeError(
            f"labels must be a list with one label per row. Received: the string {labels!r}"
        )
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    if len(values) != rows:
        raise ValueError(
            f"labels must have one entry for each of the {rows} rows. Received: {len(values)}"
        )
    for value in values:
        if not isinstance(value, Hashable):
            raise TypeError(
                f"labels must be hashable, such as strings or numbers. Received: {value!r}"
            )
    return values


def check_threshold(threshold: Any) -> float:
    """Return a distance as a float.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is NaN. Infinity is allowed: it is above every distance.
    """
    if is_real(threshold) and not math.isnan(threshold):
        return float(threshold)
    error = ValueError if is_real(threshold) else TypeError
    raise error(f"threshold must be a distance or None. Received: {threshold!r}")
