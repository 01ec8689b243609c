"""Labels of which any number may hold for one image."""

from __future__ import annotations

from typing import Any

import numpy as np


def positive_weights(y: Any) -> np.ndarray:
    """Return for each class how many images lack it for each that shows it.

    For `kd.losses.WeightedBinaryCrossentropy(positive_weight=...)`: positives and negatives of a
    class weigh the same then, however rare it is.

    Args:
        y: `(n, classes)`: 1 where a class is there, 0 where it is not, NaN or below 0 where that is
            not known.

    Returns:
        float64 `(classes,)`.

    Raises:
        ValueError: If the labels are of another kind, or a class is shown by all images or by none.

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
            f"class {wrong[0]} is shown by {shown} of the images whose label of it is known: there "
            "is nothing to learn about it. Leave it out, or add images."
        )
    return np.asarray(negative / positive, "float64")


def names_one_class(y: np.ndarray) -> bool:
    """Whether labels `(n, classes)` say of which one class each image is, or in which shares."""
    return bool((y >= 0).all() and np.allclose(y.sum(1), 1))


def classes_of(y: np.ndarray) -> np.ndarray:
    """Return the class of each image, `(n,)`, of labels `(n,)`, `(n, 1)` or one-hot."""
    return y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()


def class_numbers(labels: np.ndarray, n: int, classes: int) -> np.ndarray:
    """Return class numbers `(n,)` of labels that are these or one-hot, or raise ValueError."""
    one_hot = labels.ndim == 2 and labels.shape[1] == classes
    numbers: np.ndarray = labels.argmax(axis=1) if one_hot else labels.reshape(-1)
    if len(numbers) != n or not np.isin(numbers, np.arange(classes)).all():
        raise ValueError(
            f"labels must be class numbers 0..{classes - 1}, one an image, or one-hot. Received: "
            f"shape {labels.shape}"
        )
    return numbers.astype(int)


def multi_hot(y: Any, name: str = "y") -> np.ndarray:
    """Return labels as float32 `(n, classes)` of 1, 0 and NaN for unknown, or raise ValueError.

    Args:
        y: Labels.
        name: What they are called in messages.
    """
    values = np.asarray(y)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or 0 in values.shape:
        raise ValueError(
            f"{name} must be (n, classes) of 0 and 1, any number of classes an image. Received: "
            f"{values.dtype} of shape {values.shape}"
        )
    values = values.astype("float32")
    values[values < 0] = np.nan
    wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
    if wrong.any():
        raise ValueError(
            f"{name} must hold 0, 1, and NaN or a number below 0 where a label is not known. "
            f"Received: {values[wrong][0]:g}"
        )
    return values
