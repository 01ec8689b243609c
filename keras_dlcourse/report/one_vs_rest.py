"""Labels and scores of any classifier as a question for each class: is it this one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Question = tuple[NDArray[np.bool_], NDArray[np.float64]]


def one_vs_rest(labels: ArrayLike, scores: ArrayLike) -> list[Question]:
    """Return for each class whether each example is of it, and its score, where that is known.

    Args:
        labels: Class numbers `(n,)`; or `(n, classes)` of 1 and 0 for any number of classes an
            example, NaN or below 0 where not known.
        scores: `(n, classes)`; or `(n,)` or `(n, 1)` of a thing that is there (1) or not (0).

    Returns:
        `(is it, score)` for each class: bool and float arrays of one length.

    Raises:
        ValueError: If the shapes do not fit, a score is NaN, or a label is none of these.

    Example:
        >>> [(is_it.tolist(), score.tolist()) for is_it, score in one_vs_rest([1, 0], [0.9, 0.2])]
        [([True, False], [0.9, 0.2])]
    """
    true, values = np.asarray(labels), np.asarray(scores, float)
    values = values.reshape(len(values), -1) if values.ndim == 1 else values
    if not len(true) or values.ndim != 2 or true.shape not in ((len(values),), values.shape):
        raise ValueError(
            "labels and scores must have shapes (n,) and (n,) or (n, classes), or both (n, "
            f"classes), n > 0; received {true.shape} and {np.shape(scores)}"
        )
    if np.isnan(values).any():
        raise ValueError("scores must be numbers; received NaN")
    classes = values.shape[1]
    if true.ndim == 1 and classes > 1:
        _check(true, np.isin(true, np.arange(classes)), f"class numbers from 0 to {classes - 1}")
        return [(true == number, values[:, number]) for number in range(classes)]
    true = true.reshape(values.shape)
    known = ~np.isnan(true) & (true >= 0) if true.dtype.kind == "f" else true >= 0
    _check(true, ~known | np.isin(true, (0, 1)), "0 and 1")
    columns = zip(true.T, values.T, known.T, strict=True)
    return [(is_it[sure] == 1, score[sure]) for is_it, score, sure in columns]


def checked_names(class_names: Sequence[str] | None, classes: int) -> list[str]:
    """Return a name for each class; of one that is there or not, none need be given."""
    if class_names is None:
        return [""] if classes == 1 else [f"class {number}" for number in range(classes)]
    if len(class_names) != classes:
        raise ValueError(
            f"class_names must hold one name for each of {classes} columns of scores; received "
            f"{len(class_names)}"
        )
    return list(map(str, class_names))


def _check(labels: NDArray, fits: NDArray[np.bool_], wanted: str) -> None:
    if not fits.all():
        raise ValueError(f"labels must be {wanted}; received {labels[~fits].flat[0]!r}")
