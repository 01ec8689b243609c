"""Measure the ranges of activations on data, without training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse import layers
from keras_dlcourse._checks import check_number, check_one_of
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data import take
from keras_dlcourse.graph.flat import Graph, Node

METHODS = ("min_max", "moving_average", "percentile")
EXAMPLES = 200
SAMPLES = 2048  # per activation and example, for percentiles


@renamed_arguments(examples="limit")
def calibrate(
    model: keras.Model,
    data: Any,
    *,
    method: str = "min_max",
    percentile: float = 99.99,
    momentum: float = 0.9,
    limit: int = EXAMPLES,
    batch_size: int = 32,
) -> keras.Model:
    """Measure the ranges of a quantization-aware model on data, instead of training it.

    Values flow as in inference, with rounded weights but unrounded activations. Afterwards the
    model can be exported (this is quantization after training) or trained further.

    Args:
        model: A model returned by `quantization_aware`. Its ranges are set in place.
        data: Same as for `fit`, normalized as in training; for a model with several inputs, a dict
            (or list) of arrays.
        method: `"min_max"`: the overall smallest and largest value. `"moving_average"`: the same
            per batch, averaged. `"percentile"`: excludes the most extreme values, trading a few
            outliers for a finer step. (For large activations, it samples a few thousand values per
            example.)
        percentile: For `"percentile"`, the percentage of values that the range covers on each side.
        momentum: For `"moving_average"`, the weight of the past.
        limit: Maximum number of examples: the first ones of a dict or list of arrays, otherwise
            chosen with a fixed seed.
        batch_size: Number of examples per batch.

    Returns:
        `model`.

    Raises:
        ValueError: If the model is not quantization-aware, an argument is invalid, or the data has
            the wrong inputs, wrong shapes or values that are not finite.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> from keras_dlcourse.quantize import quantization_aware
        >>> qat = calibrate(quantization_aware(model), {model.inputs[0].name: np.eye(4)})
        >>> [layer.is_observed for layer in qat.layers if isinstance(layer, layers.FakeQuantize)]
        [True, True]
    """
    check_one_of("method", method, tuple(METHODS))
    check_number("percentile", percentile, above=50, most=100)
    observers = _observers(model)
    if not observers:
        raise ValueError(
            f"model {model.name!r} has no ranges to measure. Make it quantization-aware first: "
            "kd.quantize.quantization_aware(model)."
        )
    inputs = _check_inputs(model, data, limit)
    probe = _probe(model, observers, samples=method == "percentile")
    batches = [
        [ops.convert_to_numpy(values) for values in tree.flatten(outputs)]
        for outputs in _outputs(probe, inputs, batch_size)
    ]
    for layer, values in zip(observers, zip(*batches, strict=True), strict=True):
        layer.set_range(*_RANGES[method](values, percentile / 100, momentum))
    return model


def _observers(model: keras.Model) -> list[Any]:
    """Return the layers whose ranges are observed, in the order of the graph."""
    nodes = Graph(model).nodes if hasattr(model, "_nodes_by_depth") else []
    found = [node.operation for node in nodes if _observes(node)]
    return list(dict.fromkeys(found))


def _observes(node: Node) -> bool:
    layer = node.operation
    rounds = isinstance(layer, layers.FakeQuantize) and not layer.is_fixed
    return rounds and node.kwargs.get("training") is not False


def _probe(model: keras.Model, observers: list[Any], samples: bool) -> keras.Model:
    """Return a model that outputs the required statistics of each observer's input.

    These are the minimum and maximum of each example, or else a sample of its values, as an array
    with one row per example.
    """
    seen: dict[int, list[Any]] = {id(layer): [] for layer in observers}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        if not isinstance(node.operation, layers.FakeQuantize):
            return node.operation(*args, **kwargs)
        if _observes(node):
            seen[id(node.operation)].append(args[0])
        return args[0]

    def on_input(number: int, tensor: Any) -> Any:
        inputs.append(tensor)
        return tensor

    inputs: list[Any] = []
    Graph(model).rebuild(call, on_input)
    outputs = []
    for tensors in seen.values():
        rows = [ops.reshape(tensor, (-1, math.prod(tensor.shape[1:]))) for tensor in tensors]
        numbers = ops.cast(ops.concatenate(rows), "float32")
        if samples:
            outputs.append(numbers[:, :: _stride(numbers.shape[1])])
        else:
            ends = [ops.min(numbers, axis=1), ops.max(numbers, axis=1)]
            outputs.append(ops.stack(ends, axis=1))
    return keras.Model(inputs, outputs)


def _stride(numbers: int) -> int:
    """Return a stride that reaches all channels of an activation: a prime number."""
    step = max(1, numbers // SAMPLES)
    while any(step % factor == 0 for factor in range(2, math.isqrt(step) + 1)):
        step += 1
    return step


def _outputs(probe: keras.Model, inputs: list[np.ndarray], batch_size: int) -> Iterator[Any]:
    for start in range(0, len(inputs[0]), batch_size):
        yield probe([x[start : start + batch_size] for x in inputs], training=False)


def _min_max(values: Sequence[np.ndarray], share: float, momentum: float) -> tuple[float, float]:
    return min(v[:, 0].min() for v in values), max(v[:, 1].max() for v in values)


def _moving_average(
    values: Sequence[np.ndarray], share: float, momentum: float
) -> tuple[float, float]:
    low, high = values[0][:, 0].min(), values[0][:, 1].max()
    for value in values[1:]:
        low = momentum * low + (1 - momentum) * value[:, 0].min()
        high = momentum * high + (1 - momentum) * value[:, 1].max()
    return low, high


def _percentile(values: Sequence[np.ndarray], share: float, momentum: float) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate([v.ravel() for v in values]), [1 - share, share])
    return low, high


_RANGES = {"min_max": _min_max, "moving_average": _moving_average, "percentile": _percentile}


def _check_inputs(model: keras.Model, data: Any, limit: int) -> list[np.ndarray]:
    """Validate the data and return one array per input of the model."""
    names = [tensor.name for tensor in model.inputs]
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise ValueError(
                f"data must have the inputs {sorted(names)} of model {model.name!r}. Received: "
                f"{sorted(data)}"
            )
        arrays = [np.asarray(data[name]) for name in names]
    elif len(names) > 1:
        arrays = [np.asarray(x) for x in data]
        if len(arrays) != len(names):
            raise ValueError(
                f"data must have one array for each of the {len(names)} inputs of model "
                f"{model.name!r} ({', '.join(names)}). Received: {len(arrays)} arrays"
            )
    else:
        arrays = [take(data, limit, seed=0).inputs]
    for name, tensor, array in zip(names, model.inputs, arrays, strict=True):
        if not _fits(array.shape[1:], tensor.shape[1:]):
            raise ValueError(
                f"data must have examples of shape {tensor.shape[1:]} for input {name!r}. "
                f"Received: {array.shape[1:]}"
            )
        if not len(array) or not np.isfinite(array).all():
            what = "NaN or infinite values" if len(array) else "no examples"
            raise ValueError(f"data must have finite values for input {name!r}. Received: {what}")
    return [array[:limit].astype("float32") for array in arrays]


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want in (None, size) for size, want in zip(shape, expected, strict=True)
    )
