"""Labels of any type as class numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.edge.search.identification import check_labels


def class_numbers(labels: Any, rows: int) -> np.ndarray:
    """Return a class number for each label; equal labels get equal numbers.

    Args:
        labels: One per row: numbers or strings `(n,)` or `(n, 1)`, or one-hot `(n, classes)`.
        rows: Expected number of labels.

    Raises:
        ValueError: If there is not one label per row, or a label is NaN.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2:
        if not ((array == 1).sum(1) == 1).all() or not ((array == 0) | (array == 1)).all():
            raise ValueError(
                "labels with two dimensions must be one-hot (n, classes), one 1 per row."
            )
        array = array.argmax(1)
    if array.ndim != 1:
        raise ValueError(
            f"labels must have the shape (n,) or (n, classes). Received: {array.shape}."
        )
    values = check_labels(array, rows)
    if any(value != value for value in values):
        raise ValueError("labels must not hold NaN.")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
