"""Subsets of the examples of a data set, in the form that `fit` takes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from keras import tree

from keras_dlcourse.data import ImageFiles, Pipeline
from keras_dlcourse.data.pipeline import rebuild, rows_of


def convert_lists(data: Any) -> Any:
    """Return data with lists of numbers converted to arrays; arrays and pipelines are unchanged.

    Raises:
        ValueError: If a list contains rows of different lengths.
    """
    if not isinstance(data, tuple):
        return data
    return tuple(map(_convert_part, data))


def _convert_part(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _convert_part(inner) for name, inner in part.items()}
    if not isinstance(part, list | tuple) or any(map(np.ndim, tree.flatten(part))):
        return part
    try:
        return np.asarray(part)
    except ValueError as error:
        raise ValueError(
            "data must have rows of equal length in each list of numbers. "
            f"Received: {error}. Pad the rows, or pass arrays."
        ) from error


def check_data(name: str, data: Any) -> int:
    """Check the data and return the number of examples.

    Args:
        name: Name of the data in messages.
        data: A `kd.data.Pipeline`, or a tuple `(x, y)` or `(x, y, sample_weight)` of arrays, or of
            dictionaries or lists of arrays.

    Raises:
        TypeError: If `data` is something else.
        ValueError: If there are no labels, lengths differ or there are fewer than two examples.
    """
    if isinstance(data, Pipeline):
        if data.y is None:
            raise ValueError(f"{name} must have labels, which are needed to measure a model.")
        lengths = {data.examples}
    elif isinstance(data, tuple) and len(data) in (2, 3):
        lengths = {len(array) for part in data for array in tree.flatten(part)}
    else:
        raise TypeError(
            f"{name} must be a kd.data.Pipeline or a tuple (x, y) or (x, y, sample_weight) of "
            f"arrays, which can be cut into folds. Received: {type(data).__name__}"
        )
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            f"{name} must have at least 2 examples, the same number in each array. Received: "
            f"lengths {sorted(lengths)}. A list of arrays means several inputs; use numpy.stack to "
            "make one array."
        )
    return lengths.pop()


def part(data: Any, indices: np.ndarray) -> Any:
    """Return the examples with these indices, in this order, as the same kind of data."""
    if isinstance(data, Pipeline):
        lazy = isinstance(data.x, ImageFiles)
        return rebuild(
            data,
            x=data.x.subset(indices) if lazy else data.x[indices],
            y=rows_of(data.y, indices),
            sample_weight=None if data.sample_weight is None else data.sample_weight[indices],
        )
    return tree.map_structure(lambda array: np.asarray(array)[indices], data)


def labels(data: Any) -> Any:
    """Return the labels for stratification, or None if there are several per example."""
    y = data.y if isinstance(data, Pipeline) else data[1]
    if isinstance(y, dict | list | tuple):
        return None
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
        return y.argmax(axis=1) if one_hot else None
    return y.ravel() if y.ndim in (1, 2) else None


def fit_arguments(data: Any) -> dict[str, Any]:
    """Return the data as keyword arguments for `fit` and `evaluate`."""
    if isinstance(data, Pipeline):
        return {"x": data}
    weights = {"sample_weight": data[2]} if len(data) == 3 else {}
    return {"x": data[0], "y": data[1], **weights}


def digest(data: Any) -> str:
    """Return a SHA-256 of the examples; for image files, of their names and sizes."""
    found = hashlib.sha256()
    if isinstance(data, Pipeline):
        told = (data.batch_size, data.shuffle, data.seed, data.normalization, data.class_names)
        found.update(repr(told).encode())
        arrays = [data.x, data.y, data.sample_weight]
    else:
        arrays = list(data)
    for array in tree.flatten(arrays):
        if isinstance(array, ImageFiles):
            sizes = [(path.name, path.stat().st_size) for path in array.paths]
            found.update(repr((sizes, array.shape, array.crop, array.bits)).encode())
        elif array is not None:
            whole = np.ascontiguousarray(array)
            found.update(repr((whole.shape, str(whole.dtype))).encode())
            found.update(repr(whole.tolist()).encode() if whole.dtype == object else whole.data)
    return found.hexdigest()
