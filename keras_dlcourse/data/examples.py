"""Take some examples out of anything that `fit` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import checks
from keras_dlcourse.data.pipeline import Pipeline, rows_of
from keras_dlcourse.edge.normalization import Normalization


@dataclass(frozen=True)
class Examples:
    """Some examples, as `take` returns them.

    Attributes:
        inputs: What the network sees, `(n, ...)` float32; normalised where the data says how.
        labels: As the data has them: integers `(n,)` or one-hot `(n, classes)`, or a dictionary of
            those of several tasks; None if there are none.
        pixels: The images before normalisation, `(n, height, width, channels)` uint8, where the
            data has such; else None.
        normalization: What lies between `pixels` and `inputs`, where the data says so.
        class_names: What the classes are called, where the data says so.
    """

    inputs: np.ndarray
    labels: Any = None
    pixels: np.ndarray | None = None
    normalization: Normalization | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.inputs)


def take(data: Any, n: int | None = None, seed: int | None = None) -> Examples:
    """Take examples out of anything that `fit` takes, in the order in which they are stored.

    A choice by `seed` depends on the seed, `n` and the number of examples only: the same examples
    come out of an array and of a `tf.data.Dataset` of it.

    Args:
        data: A `Pipeline` (its stored order, not the shuffled one), an array of inputs, a tuple
            `(x, y)` or `(x, y, sample_weight)` of arrays, a `keras.utils.PyDataset`, or an iterable
            of batches such as a `tf.data.Dataset`, a PyTorch `DataLoader` or a list; a batch is
            an array or such a tuple. Iterables are read as far as needed: to their end if `n` is
            None or a seed is given, so they must have one.
        n: How many; fewer come if the data has no more. All if None.
        seed: None takes the first `n`; a number makes a random choice.

    Returns:
        An `Examples`.

    Raises:
        TypeError: If `data` is nothing of that kind.
        ValueError: If there are no examples, or `n` is below 1.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> images = np.arange(10, dtype="uint8").reshape(10, 1, 1, 1)
        >>> kd.data.take((images, np.arange(10)), 3).labels
        array([0, 1, 2])
        >>> kd.data.take(images, 3, seed=1).pixels.ravel().tolist()
        [2, 4, 9]
    """
    n = None if n is None else checks.whole_number("n", n, least=1)
    if isinstance(data, Pipeline):
        return _from_pipeline(data, n, seed)
    columns = _chosen(_batches(data), n, seed)
    x, y = columns[0], columns[1] if len(columns) > 1 else None
    return Examples(
        inputs=np.asarray(x, "float32"), labels=y, pixels=x if x.dtype == np.uint8 else None
    )


def _from_pipeline(data: Pipeline, n: int | None, seed: int | None) -> Examples:
    keys = np.random.default_rng(seed).random(data.examples) if seed is not None else None
    indices = np.arange(data.examples)[:n] if keys is None else _smallest(keys, n)
    pixels = np.asarray(data.x[indices])
    return Examples(
        inputs=data.prepare(pixels),
        labels=None if data.y is None else rows_of(data.y, indices),
        pixels=pixels if pixels.dtype == np.uint8 else None,
        normalization=data.normalization,
        class_names=data.class_names,
    )


def _smallest(keys: np.ndarray, n: int | None) -> np.ndarray:
    """Return the sorted indices of the `n` smallest keys: a choice that can be made piecewise."""
    return np.sort(np.argsort(keys, kind="stable")[:n])


def _chosen(
    batches: Iterable[tuple[np.ndarray, ...]], n: int | None, seed: int | None
) -> tuple[np.ndarray, ...]:
    """Return the chosen examples of a stream of batches, holding no more than needed."""
    rng = None if seed is None else np.random.default_rng(seed)
    kept: list[tuple[np.ndarray, ...]] = []
    count = 0
    for batch in batches:
        size = len(batch[0])
        if any(len(part) != size for part in batch):
            raise ValueError(
                f"data has {size} inputs but {[len(part) for part in batch[1:]]} labels or weights "
                "beside them; each input needs one."
            )
        # The first column decides which examples stay; without a seed, it counts upwards.
        keys = np.arange(count, count + size) if rng is None else rng.random(size)
        count += size
        kept.append((keys, *batch))
        if rng is not None and n is not None:
            kept = [_kept(kept, n)]
        elif n is not None and count >= n:
            break
    if not count:
        raise ValueError("data holds no examples.")
    return _kept(kept, n)[1:]


def _kept(batches: list[tuple[np.ndarray, ...]], n: int | None) -> tuple[np.ndarray, ...]:
    columns = [np.concatenate(column) for column in zip(*batches, strict=True)]
    indices = _smallest(columns[0], n)
    return tuple(column[indices] for column in columns)


def _batches(data: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield `data` as tuples of arrays: inputs, labels if any."""
    if isinstance(data, tuple) and data and _is_array(data[0]):
        yield _as_arrays(data)
    elif _is_array(data):
        yield _as_arrays((data,))
    elif isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("data is an endless PyDataset; take examples from one with an end.")
        for index in range(data.num_batches):
            yield _as_arrays(data[index])
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict):
        for batch in data:
            yield _as_arrays(batch)
    else:
        raise TypeError(
            "data must be a pipeline, an array, a tuple (x, y), a PyDataset or an iterable of "
            f"batches such as a tf.data.Dataset, got {type(data).__name__}. Of a Dataset, give "
            "one part, e.g. data.train."
        )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (hasattr(value, "__array__") or checks.is_lazy(value))


def _as_arrays(batch: Any) -> tuple[np.ndarray, ...]:
    """Return inputs and labels of a batch as NumPy arrays; weights are left out."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if not parts or not all(part is None or _is_array(part) for part in parts[:2]):
        raise TypeError(
            "a batch must be an array or a tuple (x, y) of arrays, got "
            f"{type(batch).__name__} of {', '.join(type(part).__name__ for part in parts)}."
        )
    arrays = tuple(
        part[:] if checks.is_lazy(part) else _to_numpy(part)
        for part in parts[:2]
        if part is not None
    )
    if arrays[0].ndim < 2 or any(array.ndim == 0 for array in arrays):
        shapes = " and a label of shape ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"data must come in batches, got an input of shape {shapes}; batch it first, "
            "e.g. dataset.batch(32)."
        )
    return arrays


def _to_numpy(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value) if not isinstance(value, np.ndarray) else value
