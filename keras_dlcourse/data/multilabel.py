"""Multi-label data: any number of classes per image."""

from __future__ import annotations

from typing import Any

import numpy as np


def positive_weights(y: Any) -> np.ndarray:
    """Return the ratio of negative to positive images for each class.

    For `kd.losses.WeightedBinaryCrossentropy(positive_weight=...)`: it gives positives and
    negatives of a class the same total weight, however rare the class is.

    Args:
        y: `(n, classes)`: 1 where a class is present, 0 where it is absent, NaN or below 0 where
            the label is unknown.

    Returns:
        float64 `(classes,)`.

    Raises:
        ValueError: If `y` has other values or another shape, or a class is present in all images or
            in none.

    Example:
        >>> positive_weights([[1, 0], [0, 1], [0, 1], [0, -1]]).tolist()
        [3.0, 0.5]
    """
    y = multi_hot(y)
    positive, negative = (y == 1).sum(0), (y == 0).sum(0)
    wrong = np.flatnonzero((positive == 0) | (negative == 0))
    if wrong.size:
        shown = "all" if positive[wrong[0]] else "none"
        raise ValueError(
            f"Class {wrong[0]} is present in {shown} of the images for which its label is known, "
            "so it cannot be learned. Remove the class, or add images."
        )
    return np.asarray(negative / positive, "float64")


def names_one_class(y: np.ndarray) -> bool:
    """Return whether labels `(n, classes)` are one-hot, or class probabilities that sum to 1."""
    return bool((y >= 0).all() and np.allclose(y.sum(1), 1))


def classes_of(y: np.ndarray) -> np.ndarray:
    """Return the class of each image, `(n,)`, from labels `(n,)`, `(n, 1)` or one-hot."""
    return y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()


def class_numbers(labels: np.ndarray, n: int, classes: int) -> np.ndarray:
    """Return class numbers `(n,)` from class numbers or one-hot labels, else raise ValueError."""
    one_hot = labels.ndim == 2 and labels.shape[1] == classes
    numbers: np.ndarray = labels.argmax(axis=1) if one_hot else labels.reshape(-1)
    if len(numbers) != n or not np.isin(numbers, np.arange(classes)).all():
        raise ValueError(
            f"labels must be class numbers 0..{classes - 1}, one per image, or one-hot. Received: "
            f"shape {labels.shape}"
        )
    return numbers.astype(int)


def multi_hot(y: Any, name: str = "y") -> np.ndarray:
    """Return labels as float32 `(n, classes)` of 1, 0 and NaN for unknown, else raise ValueError.

    Args:
        y: Labels.
        name: Name of the labels in messages.
    """
    values = np.asarray(y)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or 0 in values.shape:
        raise ValueError(
            f"{name} must be (n, classes) of 0 and 1, any number of classes per image. Received: "
            f"{values.dtype} of shape {values.shape}"
        )
    values = values.astype("float32")
    values[values < 0] = np.nan
    wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
    if wrong.any():
        raise ValueError(
            f"{name} must contain 0, 1, and NaN or a number below 0 where a label is unknown. "
            f"Received: {values[wrong][0]:g}"
        )
    return values
