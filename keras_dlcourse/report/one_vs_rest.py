"""Convert the labels and scores of any classifier to one yes/no question per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Question = tuple[NDArray[np.bool_], NDArray[np.float64]]


def one_vs_rest(labels: ArrayLike, scores: ArrayLike) -> list[Question]:
    """Return, for each class, which examples belong to it and their scores, where known.

    Args:
        labels: Class indices `(n,)`; or `(n, classes)` of 1 and 0 for multi-label data, where NaN
            or values below 0 mean unknown.
        scores: `(n, classes)`; or `(n,)` or `(n, 1)` for a single class that is present (1) or not
            (0).

    Returns:
        `(is it, score)` for each class: bool and float arrays of the same length.

    Raises:
        ValueError: If the shapes do not match, a score is NaN, or a label is invalid.

    Example:
        >>> [(is_it.tolist(), score.tolist()) for is_it, score in one_vs_rest([1, 0], [0.9, 0.2])]
        [([True, False], [0.9, 0.2])]
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    values = values.reshape(len(values), -1) if values.ndim == 1 else values
    if not len(true) or values.ndim != 2 or true.shape not in ((len(values),), values.shape):
        raise ValueError(
            "labels and scores must have shapes (n,) and (n,) or (n, classes), or both (n, "
            f"classes), n > 0. Received: {true.shape} and {np.shape(scores)}"
        )
    if np.isnan(values).any():
        raise ValueError("scores must be numbers. Received: NaN")
    classes = values.shape[1]
    if true.ndim == 1 and classes > 1:
        _check(true, np.isin(true, np.arange(classes)), f"class indices from 0 to {classes - 1}")
        return [(true == number, values[:, number]) for number in range(classes)]
    true = true.reshape(values.shape)
    known = ~np.isnan(true) & (true >= 0) if true.dtype.kind == "f" else true >= 0
    _check(true, ~known | np.isin(true, (0, 1)), "0 and 1")
    columns = zip(true.T, values.T, known.T, strict=True)
    return [(is_it[sure] == 1, score[sure]) for is_it, score, sure in columns]


def check_names(class_names: Sequence[str] | None, classes: int) -> list[str]:
    """Return a name for each class; a single class needs no name."""
    if class_names is None:
        return [""] if classes == 1 else [f"class {number}" for number in range(classes)]
    if len(class_names) != classes:
        raise ValueError(
            f"class_names must have one name for each of {classes} columns of scores. Received: "
            f"{len(class_names)} names"
        )
    return list(map(str, class_names))


def _check(labels: NDArray, fits: NDArray[np.bool_], wanted: str) -> None:
    if not fits.all():
        raise ValueError(f"labels must be {wanted}. Received: {labels[~fits].flat[0]!r}")
