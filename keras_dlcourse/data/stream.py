"""Iterate once over any data in batches, both as network inputs and as stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import tree

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data import checks
from keras_dlcourse.data.examples import all_batches, is_endless, length, one_input, rows
from keras_dlcourse.data.pipeline import Pipeline


def stream(data: Any, batch_size: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all images in stored order, with one batch in memory at a time.

    Args:
        data: Data as in `kd.data.take`: a `Pipeline`, an array or lazily read images, a tuple of
            arrays, a `keras.utils.PyDataset`, or an iterable of batches.
        batch_size: Maximum number of images per batch.

    Yields:
        Inputs `(n, ...)` float32, normalized if the data has a normalization, and the same images
        as stored.

    Raises:
        TypeError: If `data` has an unsupported type, or several inputs.
        ValueError: If there are no examples, or the data is endless, as in `kd.data.take(data)`.

    Example:
        >>> [len(inputs) for inputs, _ in stream(np.zeros((5, 8, 8, 1)), batch_size=2)]
        [2, 2, 1]
    """
    for inputs, images, _ in stream_with_labels(data, batch_size):
        yield inputs, images


def stream_with_labels(
    data: Any, batch_size: int = 32, *, several_inputs: bool = False
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield all examples like `stream`, with their labels as stored.

    Args:
        data: As for `stream`.
        batch_size: As for `stream`.
        several_inputs: Whether inputs may be a dictionary or a list of several arrays.

    Yields:
        Inputs, the images as stored, and labels `(n, ...)`, or None if there are none.

    Raises:
        TypeError: As for `stream`, unless several inputs are allowed.
        ValueError: As for `stream`.

    Example:
        >>> x, y = np.zeros((3, 8, 8, 1)), np.arange(3)
        >>> [labels.tolist() for _, _, labels in stream_with_labels((x, y), batch_size=2)]
        [[0, 1], [2]]
    """
    batch_size = check_integer("batch_size", batch_size)
    empty = True
    for stored, labels in _stream_stored(data, batch_size):
        if not several_inputs:
            stored = one_input(stored)
        for start in range(0, length(stored), batch_size):
            part = slice(start, start + batch_size)
            images = tree.map_structure(np.asarray, rows(stored, part))
            prepared = data.prepare(images) if isinstance(data, Pipeline) else images
            empty = False
            inputs = tree.map_structure(lambda array: np.asarray(array, "float32"), prepared)
            yield inputs, images, rows(labels, part)
    if empty:
        raise ValueError("data contains no examples.")


def count_batches(data: Any, batch_size: int = 32) -> int | None:
    """Return the number of batches that `stream` yields, or None if the length is unknown.

    Args:
        data: As for `stream`.
        batch_size: As for `stream`.
    """
    images = _images(data)
    if images is not None:
        return -(-len(images) // batch_size)
    return len(data) if is_endless(data) is False else None


def _images(data: Any) -> Any:
    """Return the images if they are one array or read on access, else None."""
    whole = data.x if isinstance(data, Pipeline) else data
    if isinstance(whole, tuple) and whole:
        whole = whole[0]
    return whole if hasattr(whole, "shape") else None


def _stream_stored(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield images and labels in pieces. Lazily read images are sliced before they are read."""
    images = _images(data)
    if isinstance(data, Pipeline) and not checks.is_lazy(images):
        yield images, data.y
    elif checks.is_lazy(images):
        labels = _labels(data)
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            yield images[part], rows(labels, part)
    else:
        yield from all_batches(data)


def _labels(data: Any) -> Any:
    """Return the labels of lazily read images, or None if there are none."""
    if isinstance(data, Pipeline):
        return data.y
    if not isinstance(data, tuple) or len(data) < 2 or data[1] is None:
        return None
    if len(data[1]) != len(data[0]):
        raise ValueError(
            "data must have one label per input. Received: "
            f"{len(data[0])} inputs and {len(data[1])} labels"
        )
    return np.asarray(data[1])
