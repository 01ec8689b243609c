"""Take examples from any data that `fit` accepts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_dlcourse._checks import check_integer
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data import checks
from keras_dlcourse.data.pipeline import Pipeline, rows_of
from keras_dlcourse.edge.description.normalization import Normalization

# Limits for data of unknown length, such as generators.
CHOICE_LIMIT = 10_000  # examples, for a random choice; beyond it, the first ones are taken
WHOLE_LIMIT = 100_000  # examples, if all are needed; beyond it, an error is raised


@dataclass(frozen=True)
class Examples:
    """Some examples, as `take` returns them.

    Attributes:
        inputs: Network inputs, `(n, ...)` float32, normalized if the data has a normalization. A
            dictionary or list of arrays if the data has several inputs and they were allowed.
        labels: Labels as stored in the data: integers `(n,)`, one-hot `(n, classes)`, or a
            dictionary with the labels of several tasks. None if there are none.
        pixels: The images before normalization, `(n, height, width, channels)` uint8, or None if
            the data has no uint8 images.
        normalization: The normalization from `pixels` to `inputs`, or None if the data has none.
        class_names: Names of the classes, or None if the data has none.
    """

    inputs: Any
    labels: Any = None
    pixels: np.ndarray | None = None
    normalization: Normalization | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return length(self.inputs)


@renamed_arguments(n="limit")
def take(
    data: Any, limit: int | None = None, seed: int | None = None, *, several_inputs: bool = False
) -> Examples:
    """Take examples from any data that `fit` accepts, in stored order.

    A random choice depends only on `seed`, `limit` and the number of examples, so an array and a
    `tf.data.Dataset` made from it give the same examples.

    For endless data, such as `dataset.repeat()`, `seed` is ignored and the first `limit` examples
    are taken. Data of unknown length, such as a generator, is treated as endless if it has not
    ended after 10,000 examples.

    Args:
        data: A `Pipeline` (in stored order, not shuffled), an array of inputs, a tuple `(x, y)` or
            `(x, y, sample_weight)` of arrays, a `keras.utils.PyDataset`, or an iterable of batches
            such as a `tf.data.Dataset`, a PyTorch `DataLoader` or a list, where each batch is an
            array or a tuple as above. Iterables are read only as far as needed.
        limit: Maximum number of examples; fewer are returned if the data has fewer. None takes all
            examples, which requires data that ends, within 100,000 examples if its length is
            unknown.
        seed: None takes the first `limit` examples; an integer makes a random choice.
        several_inputs: Whether `x` may be a dictionary or a list of several arrays. A dictionary or
            list with a single array is always treated as that array.

    Returns:
        An `Examples`.

    Raises:
        TypeError: If `data` has an unsupported type, or several inputs that are not allowed.
        ValueError: If there are no examples, `limit` is below 1, or all of endless data is
            requested.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> images = np.arange(10, dtype="uint8").reshape(10, 1, 1, 1)
        >>> kd.data.take((images, np.arange(10)), 3).labels
        array([0, 1, 2])
        >>> kd.data.take(images, 3, seed=1).pixels.ravel().tolist()
        [2, 4, 9]
    """
    limit = None if limit is None else check_integer("limit", limit)
    if isinstance(data, Pipeline):
        return _from_pipeline(data, limit, seed)
    x, y = _choose(data, limit, seed)
    if not several_inputs:
        x = one_input(x)
    pixels = x if isinstance(x, np.ndarray) and x.dtype == np.uint8 else None
    inputs = tree.map_structure(lambda array: np.asarray(array, "float32"), x)
    return Examples(inputs=inputs, labels=y, pixels=pixels)


def _from_pipeline(data: Pipeline, n: int | None, seed: int | None) -> Examples:
    keys = np.random.default_rng(seed).random(data.examples) if seed is not None else None
    indices = np.arange(data.examples)[:n] if keys is None else _find_smallest(keys, n)
    pixels = np.asarray(data.x[indices])
    return Examples(
        inputs=data.prepare(pixels),
        labels=None if data.y is None else rows_of(data.y, indices),
        pixels=pixels if pixels.dtype == np.uint8 else None,
        normalization=data.normalization,
        class_names=data.class_names,
    )


def _find_smallest(keys: np.ndarray, n: int | None) -> np.ndarray:
    """Return the sorted indices of the `n` smallest keys: a choice that can be made in pieces."""
    return np.sort(np.argsort(keys, kind="stable")[:n])


def _choose(data: Any, n: int | None, seed: int | None) -> tuple[Any, Any]:
    """Return inputs and labels of the chosen examples, keeping no more in memory than needed."""
    if n is None:
        return _join(list(all_batches(data)))
    if seed is None or is_endless(data):
        return _take_first(_batches(data), n)
    return _take_by_seed(data, n, seed)


def _take_first(batches: Iterable[tuple[Any, Any]], n: int) -> tuple[Any, Any]:
    kept, count = [], 0
    for batch in batches:
        kept.append(rows(batch, slice(n - count)))
        count += length(batch)
        if count >= n:
            break
    return _join(kept)


def _take_by_seed(data: Any, n: int, seed: int) -> tuple[Any, Any]:
    """Return the examples with the `n` smallest random keys, or the first `n` of endless data."""
    rng = np.random.default_rng(seed)
    bounded = is_endless(data) is False
    first: list[Any] = []
    kept: list[Any] = []
    keys, count = np.empty(0), 0
    for batch in _batches(data):
        if count >= max(n, CHOICE_LIMIT) and not bounded:
            return _join(first)
        if count < n and not bounded:
            first.append(rows(batch, slice(n - count)))
        size = length(batch)
        count += size
        keys = np.concatenate([keys, rng.random(size)])
        best = _find_smallest(keys, n)
        keys, kept = keys[best], [rows(_join([*kept, batch]), best)]
    return _join(kept)


def _join(batches: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    if not sum(map(length, batches)):
        raise ValueError("data contains no examples.")
    return _map(lambda *arrays: np.concatenate(arrays), *batches)


def rows(batch: Any, which: Any) -> Any:
    """Return some rows of each array in a nested structure. None stays None."""
    return _map(lambda array: array[which], batch)


def _map(function: Callable[..., Any], *batches: Any) -> Any:
    return tree.map_structure(function, *batches, none_is_leaf=False)


def length(batch: Any) -> int:
    """Return the number of rows of the arrays in a nested structure."""
    return len(tree.flatten(batch)[0])


def is_endless(data: Any) -> bool | None:
    """Return whether data is endless, or None if its length is unknown."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    if callable(cardinality := getattr(data, "cardinality", None)):  # a tf.data.Dataset
        return {-1: True, -2: None}.get(int(cardinality()), False)
    try:
        return len(data) >= sys.maxsize  # the length of a repeated Grain dataset
    except TypeError:
        return None


def check_end(data: Any, name: str = "data") -> None:
    """Raise ValueError if data is known to be endless."""
    if is_endless(data):
        raise ValueError(
            f"{name} is endless ({type(data).__name__}), and all of it is needed here. Pass finite "
            "data: omit .repeat(), or take a number of batches, e.g. dataset.take(100)."
        )


def all_batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all batches of finite `data` as inputs and labels.

    Raises:
        TypeError: If `data` has a type that `take` does not support.
        ValueError: If it is endless, or its length is unknown and it has not ended after 100,000
            examples.
    """
    check_end(data)
    bounded = is_endless(data) is False
    count = 0
    for batch in _batches(data):
        if count >= WHOLE_LIMIT and not bounded:
            raise ValueError(
                f"data ({type(data).__name__}) has unknown length and has not ended after {count:,}"
                " examples, and all of it is needed here. Pass data with a known length: a "
                "list of batches, e.g. list(itertools.islice(generator, 100)), a PyDataset, or "
                "dataset.apply(tf.data.experimental.assert_cardinality(batches))."
            )
        yield batch
        count += length(batch)


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield batches of `data` as inputs and labels. Labels are None if there are none."""
    if _is_array(data):
        yield _as_arrays((data,))
    elif isinstance(data, tuple) and _is_whole(data):
        yield _as_arrays(data)
    elif isinstance(data, keras.utils.PyDataset):
        numbers = itertools.count() if data.num_batches is None else range(data.num_batches)
        yield from (_as_arrays(data[index]) for index in numbers)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        yield from map(_as_arrays, data)
    else:
        raise TypeError(
            "data must be a pipeline, an array, a tuple (x, y), a PyDataset or an iterable of "
            f"batches such as a tf.data.Dataset. Received: {type(data).__name__}. Instead of a "
            "kd.data.Dataset, pass one of its parts, e.g. data.train."
        )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (hasattr(value, "__array__") or checks.is_lazy(value))


def _is_tree(value: Any) -> bool:
    """Return whether `value` is a dictionary, list or tuple of arrays: several inputs or tasks."""
    if not isinstance(value, Mapping | list | tuple) or not value:
        return False
    return all(map(_is_array, value.values() if isinstance(value, Mapping) else value))


def _is_whole(data: tuple[Any, ...]) -> bool:
    """Return whether a tuple is inputs and labels rather than a sequence of batches."""
    if not data:
        return False
    if _is_array(data[0]) or isinstance(data[0], Mapping):
        return True
    return _is_tree(data[0]) and len(data) > 1 and (_is_array(data[1]) or data[1] is None)


def _as_arrays(batch: Any) -> tuple[Any, Any]:
    """Return inputs and labels of a batch as NumPy arrays, without sample weights."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    x, y = (*parts, None, None)[:2]
    if not (_is_array(x) or _is_tree(x)) or not (y is None or _is_array(y) or _is_tree(y)):
        raise TypeError(
            "A batch must be an array, or a tuple (x, y) of arrays or of dictionaries or lists of "
            f"arrays. Received: {type(batch).__name__} of "
            f"{', '.join(type(p).__name__ for p in parts)}"
        )
    found = _map(_to_numpy, (unwrap_single(x), y))
    arrays = [array for array in tree.flatten(found) if array is not None]
    inputs = tree.flatten(found[0])
    if any(array.ndim < 2 for array in inputs) or any(array.ndim == 0 for array in arrays):
        first = [inputs[0], *arrays[len(inputs) :][:1]]
        shapes = " and a label of shape ".join(str(array.shape) for array in first)
        raise ValueError(
            f"data must be batched. Received: an input of shape {shapes}. Batch it first, e.g. "
            "dataset.batch(32)."
        )
    sizes = [len(array) for array in arrays]
    if len(set(sizes)) > 1:
        raise ValueError(
            "data must have as many labels, and examples of further inputs, as examples of the "
            f"first input. Received: {sizes[0]} and {sizes[1:]}. If these are single examples, "
            "batch them first, e.g. dataset.batch(32)."
        )
    return found[0], found[1]


def unwrap_single(x: Any) -> Any:
    """Return the only array of a dictionary or list; anything else is returned unchanged."""
    if isinstance(x, Mapping | list | tuple) and len(x) == 1:
        return next(iter(x.values() if isinstance(x, Mapping) else x))
    return x


def one_input(x: Any) -> np.ndarray:
    """Return `x` if it is a single array.

    Raises:
        TypeError: If there are several inputs.
    """
    if isinstance(x, np.ndarray):
        return x
    names = [f"x[{name!r}]" for name in (x if isinstance(x, Mapping) else range(len(x)))]
    raise TypeError(
        f"data must have one input. Received: {len(names)} inputs, {', '.join(names)}. Select one, "
        f"e.g. dataset.map(lambda x, y: ({names[0]}, y)). For a model with several inputs, create "
        "a keras.Model of the branch to examine."
    )


def _to_numpy(value: Any) -> np.ndarray:
    if checks.is_lazy(value):
        return np.asarray(value[:])
    return keras.ops.convert_to_numpy(value) if not isinstance(value, np.ndarray) else value
