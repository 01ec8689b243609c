"""Take some examples out of anything that `fit` takes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_dlcourse.data import checks
from keras_dlcourse.data.pipeline import Pipeline, rows_of
from keras_dlcourse.edge.description.normalization import Normalization

# How far data is read that does not say how long it is, such as a generator.
CHOICE_LIMIT = 10_000  # examples, for a choice by a seed: then the first ones are taken
WHOLE_LIMIT = 100_000  # examples, where all are needed: then it is an error


@dataclass(frozen=True)
class Examples:
    """Some examples, as `take` returns them.

    Attributes:
        inputs: What the network sees, `(n, ...)` float32; normalised where the data says how. A
            dictionary or a list of such where several inputs were allowed and the data has them.
        labels: As the data has them: integers `(n,)` or one-hot `(n, classes)`, or a dictionary of
            those of several tasks; None if there are none.
        pixels: The images before normalisation, `(n, height, width, channels)` uint8, where the
            data has such; else None.
        normalization: What lies between `pixels` and `inputs`, where the data says so.
        class_names: What the classes are called, where the data says so.
    """

    inputs: Any
    labels: Any = None
    pixels: np.ndarray | None = None
    normalization: Normalization | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return length(self.inputs)


def take(
    data: Any, n: int | None = None, seed: int | None = None, *, several_inputs: bool = False
) -> Examples:
    """Take examples out of anything that `fit` takes, in the order in which they are stored.

    A choice by `seed` depends on the seed, `n` and the number of examples only: the same examples
    come out of an array and of a `tf.data.Dataset` of it.

    Endless data, such as `dataset.repeat()`, has no number of examples to choose from, so a seed is
    not looked at and the first `n` examples come. Data that does not say how long it is, such as a
    generator, is taken for endless if it has not ended after 10,000 examples of such a choice.

    Args:
        data: A `Pipeline` (its stored order, not the shuffled one), an array of inputs, a tuple
            `(x, y)` or `(x, y, sample_weight)` of arrays, a `keras.utils.PyDataset`, or an iterable
            of batches such as a `tf.data.Dataset`, a PyTorch `DataLoader` or a list; a batch is
            an array or such a tuple. Iterables are read as far as needed.
        n: How many; fewer come if the data has no more. None takes all: of data that has an end,
            and at most 100,000 examples of data that does not say how long it is.
        seed: None takes the first `n`; a number makes a random choice.
        several_inputs: Whether `x` may be a dictionary or a list of several arrays. A dictionary or
            list of one array is always taken for that array.

    Returns:
        An `Examples`.

    Raises:
        TypeError: If `data` is nothing of that kind, or has several inputs that are not allowed.
        ValueError: If there are no examples, `n` is below 1, or all of endless data is asked for.

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
    x, y = _chosen(data, n, seed)
    if not several_inputs:
        x = one_input(x)
    pixels = x if isinstance(x, np.ndarray) and x.dtype == np.uint8 else None
    inputs = tree.map_structure(lambda array: np.asarray(array, "float32"), x)
    return Examples(inputs=inputs, labels=y, pixels=pixels)


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


def _chosen(data: Any, n: int | None, seed: int | None) -> tuple[Any, Any]:
    """Return inputs and labels of the chosen examples, holding no more than needed."""
    if n is None:
        return _joined(list(all_batches(data)))
    if seed is None or is_endless(data):
        return _first(_batches(data), n)
    return _by_seed(data, n, seed)


def _first(batches: Iterable[tuple[Any, Any]], n: int) -> tuple[Any, Any]:
    kept, count = [], 0
    for batch in batches:
        kept.append(rows(batch, slice(n - count)))
        count += length(batch)
        if count >= n:
            break
    return _joined(kept)


def _by_seed(data: Any, n: int, seed: int) -> tuple[Any, Any]:
    """Return the examples of the `n` smallest random keys, or the first if there is no end."""
    rng = np.random.default_rng(seed)
    bounded = is_endless(data) is False
    first: list[Any] = []
    kept: list[Any] = []
    keys, count = np.empty(0), 0
    for batch in _batches(data):
        if count >= max(n, CHOICE_LIMIT) and not bounded:
            return _joined(first)
        if count < n and not bounded:
            first.append(rows(batch, slice(n - count)))
        size = length(batch)
        count += size
        keys = np.concatenate([keys, rng.random(size)])
        best = _smallest(keys, n)
        keys, kept = keys[best], [rows(_joined([*kept, batch]), best)]
    return _joined(kept)


def _joined(batches: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    if not sum(map(length, batches)):
        raise ValueError("data holds no examples.")
    return _mapped(lambda *arrays: np.concatenate(arrays), *batches)


def rows(batch: Any, which: Any) -> Any:
    """Return some rows of each array of a dictionary, list or tuple of such; None stays."""
    return _mapped(lambda array: array[which], batch)


def _mapped(function: Callable[..., Any], *batches: Any) -> Any:
    return tree.map_structure(function, *batches, none_is_leaf=False)


def length(batch: Any) -> int:
    """Return the number of rows of the arrays of a dictionary, list or tuple of such."""
    return len(tree.flatten(batch)[0])


def is_endless(data: Any) -> bool | None:
    """Say whether data has no end; None where it does not say how long it is."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    if callable(cardinality := getattr(data, "cardinality", None)):  # of a tf.data.Dataset
        return {-1: True, -2: None}.get(int(cardinality()), False)
    try:
        return len(data) >= sys.maxsize  # the length of what Grain repeats
    except TypeError:
        return None


def check_end(data: Any, name: str = "data") -> None:
    """Raise ValueError if data is known to be endless."""
    if is_endless(data):
        raise ValueError(
            f"{name} is endless ({type(data).__name__}), and all of it is needed here. Give data "
            "that has an end: omit .repeat(), or take a number of batches, e.g. "
            "dataset.take(100)."
        )


def all_batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all of `data` as inputs and labels, where it has an end.

    Raises:
        TypeError: If `data` is nothing that `take` takes.
        ValueError: If it is endless, or has not ended after 100,000 examples and does not say how
            long it is.
    """
    check_end(data)
    bounded = is_endless(data) is False
    count = 0
    for batch in _batches(data):
        if count >= WHOLE_LIMIT and not bounded:
            raise ValueError(
                f"data ({type(data).__name__}) has not ended after {count:,} examples, does not "
                "say how long it is, and all of it is needed here. Give data that has a length: a "
                "list of batches, e.g. list(itertools.islice(generator, 100)), a PyDataset, or "
                "dataset.apply(tf.data.experimental.assert_cardinality(batches))."
            )
        yield batch
        count += length(batch)


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield `data` as inputs and labels, which are None if there are none."""
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
            f"batches such as a tf.data.Dataset, got {type(data).__name__}. Of a Dataset, give "
            "one part, e.g. data.train."
        )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (hasattr(value, "__array__") or checks.is_lazy(value))


def _is_tree(value: Any) -> bool:
    """Say whether it is a dictionary, list or tuple of arrays: several inputs, or tasks."""
    if not isinstance(value, Mapping | list | tuple) or not value:
        return False
    return all(map(_is_array, value.values() if isinstance(value, Mapping) else value))


def _is_whole(data: tuple[Any, ...]) -> bool:
    """Say whether a tuple is inputs and labels, and no sequence of batches."""
    if not data:
        return False
    if _is_array(data[0]) or isinstance(data[0], Mapping):
        return True
    return _is_tree(data[0]) and len(data) > 1 and (_is_array(data[1]) or data[1] is None)


def _as_arrays(batch: Any) -> tuple[Any, Any]:
    """Return inputs and labels of a batch as NumPy arrays; weights are left out."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    x, y = (*parts, None, None)[:2]
    if not (_is_array(x) or _is_tree(x)) or not (y is None or _is_array(y) or _is_tree(y)):
        raise TypeError(
            "a batch must be an array, or a tuple (x, y) of arrays or of dictionaries or lists of "
            f"arrays, got {type(batch).__name__} of {', '.join(type(p).__name__ for p in parts)}."
        )
    found = _mapped(_to_numpy, (_single(x), y))
    arrays = [array for array in tree.flatten(found) if array is not None]
    inputs = tree.flatten(found[0])
    if any(array.ndim < 2 for array in inputs) or any(array.ndim == 0 for array in arrays):
        first = [inputs[0], *arrays[len(inputs) :][:1]]
        shapes = " and a label of shape ".join(str(array.shape) for array in first)
        raise ValueError(
            f"data must come in batches, got an input of shape {shapes}; batch it first, "
            "e.g. dataset.batch(32)."
        )
    sizes = [len(array) for array in arrays]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"data has {sizes[0]} inputs but {sizes[1:]} labels or further inputs beside them; "
            "each input needs one. Single examples look like this, too: batch them, e.g. "
            "dataset.batch(32)."
        )
    return found[0], found[1]


def _single(x: Any) -> Any:
    """Return the array where a dictionary or list holds one alone."""
    if isinstance(x, Mapping | list | tuple) and len(x) == 1:
        return next(iter(x.values() if isinstance(x, Mapping) else x))
    return x


def one_input(x: Any) -> np.ndarray:
    """Return inputs that are one array.

    Raises:
        TypeError: If there are several.
    """
    if isinstance(x, np.ndarray):
        return x
    names = [f"x[{name!r}]" for name in (x if isinstance(x, Mapping) else range(len(x)))]
    raise TypeError(
        f"data has {len(names)} inputs, {', '.join(names)}, where one is needed. Give that one and "
        f"the labels, e.g. dataset.map(lambda x, y: ({names[0]}, y)); of a model of several inputs "
        "make a keras.Model of the branch to look at."
    )


def _to_numpy(value: Any) -> np.ndarray:
    if checks.is_lazy(value):
        return np.asarray(value[:])
    return keras.ops.convert_to_numpy(value) if not isinstance(value, np.ndarray) else value
