"""Go through any data once, a batch at a time, as the network sees it and as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dlcourse.data import checks
from keras_dlcourse.data.examples import _batches, _is_array
from keras_dlcourse.data.pipeline import Pipeline, rows_of


def stream(data: Any, batch_size: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all images in the order in which they are stored, holding one batch at a time.

    Args:
        data: What `kd.data.take` takes: a `Pipeline`, an array or lazily read images, a tuple of
            arrays, a `keras.utils.PyDataset`, or an iterable of batches.
        batch_size: Images in a batch, at most.

    Yields:
        Inputs `(n, ...)` float32, normalised where the data says how; and the same images as they
        are stored.

    Raises:
        TypeError: If `data` is nothing of that kind.
        ValueError: If there are no examples.

    Example:
        >>> [len(inputs) for inputs, _ in stream(np.zeros((5, 8, 8, 1)), batch_size=2)]
        [2, 2, 1]
    """
    for inputs, images, _ in stream_labelled(data, batch_size):
        yield inputs, images


def stream_labelled(
    data: Any, batch_size: int = 32
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield all examples as `stream` does, and their labels as the data has them.

    Args:
        data: As for `stream`.
        batch_size: As for `stream`.

    Yields:
        Inputs, the images as they are stored, and labels `(n, ...)`, None if there are none.

    Raises:
        TypeError: If `data` is nothing of that kind.
        ValueError: If there are no examples.

    Example:
        >>> x, y = np.zeros((3, 8, 8, 1)), np.arange(3)
        >>> [labels.tolist() for _, _, labels in stream_labelled((x, y), batch_size=2)]
        [[0, 1], [2]]
    """
    batch_size = checks.whole_number("batch_size", batch_size, least=1)
    empty = True
    for stored, labels in _stored(data, batch_size):
        for start in range(0, len(stored), batch_size):
            part = slice(start, start + batch_size)
            images = np.asarray(stored[part])
            prepared = data.prepare(images) if isinstance(data, Pipeline) else images
            empty = False
            beside = None if labels is None else rows_of(labels, part)
            yield np.asarray(prepared, "float32"), images, beside
    if empty:
        raise ValueError("data holds no examples.")


def count_batches(data: Any, batch_size: int = 32) -> int | None:
    """Return how many batches `stream` yields; None where the data does not say how long it is.

    Args:
        data: As for `stream`.
        batch_size: As for `stream`.
    """
    whole = _whole(data)
    if hasattr(whole, "shape"):
        return -(-len(whole) // batch_size)
    return len(whole) if hasattr(whole, "__len__") else None


def _whole(data: Any) -> Any:
    """Return the images alone where the data is labels beside them."""
    whole = data.x if isinstance(data, Pipeline) else data
    if isinstance(whole, tuple) and whole and _is_array(whole[0]):
        return whole[0]
    return whole


def _labels(data: Any) -> Any:
    """Return the labels beside whole images, None if there are none."""
    if isinstance(data, Pipeline):
        return data.y
    if isinstance(data, tuple) and len(data) > 1 and data[1] is not None:
        if len(data[1]) != len(data[0]):
            raise ValueError(
                f"data has {len(data[0])} inputs but {len(data[1])} labels beside them; each input "
                "needs one."
            )
        return np.asarray(data[1])
    return None


def _stored(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield images and labels in pieces; what is read on use is cut before it is read."""
    whole = _whole(data)
    if checks.is_lazy(whole):
        labels = _labels(data)
        for start in range(0, len(whole), batch_size):
            part = slice(start, start + batch_size)
            yield whole[part], None if labels is None else rows_of(labels, part)
    elif isinstance(whole, np.ndarray):
        yield whole, _labels(data)
    else:
        for batch in _batches(data if isinstance(data, tuple) else whole):
            yield batch[0], batch[1] if len(batch) > 1 else None
