"""Ranges of activations, measured on data without training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse import layers
from keras_dlcourse.data import take
from keras_dlcourse.graph.flat import Graph, Node

METHODS = ("min_max", "moving_average", "percentile")
EXAMPLES = 200
SAMPLES = 2048  # of one activation of one example, for percentiles


def calibrate(
    model: keras.Model,
    data: Any,
    *,
    method: str = "min_max",
    percentile: float = 99.99,
    momentum: float = 0.9,
    examples: int = EXAMPLES,
    batch_size: int = 32,
) -> keras.Model:
    """Measure the ranges of a quantization-aware model on data, instead of training it.

    Numbers flow as in inference, through rounded weights and unrounded activations. Afterwards the
    model can be exported: this is quantization after training. It can be trained on from there too.

    Args:
        model: What `quantization_aware` returned; its ranges are set in place.
        data: What `fit` takes, normalised as in training; for a model with several inputs a dict
            (or list) of arrays.
        method: `"min_max"`: the smallest and largest number of all. `"moving_average"`: of each
            batch, averaged. `"percentile"`: without the most extreme numbers; it gives up a few
            outliers for a finer step. (Of large activations it looks at some thousand numbers an
            example.)
        percentile: For `"percentile"`, the share of numbers on each side that the range holds, in
            percent.
        momentum: For `"moving_average"`, the weight of the past.
        examples: How many examples to look at, chosen with a fixed seed where `data` is what `fit`
            takes.
        batch_size: Examples computed at once.

    Returns:
        `model`.

    Raises:
        ValueError: If the model is not quantization-aware, an argument does not fit, or the data
            has the wrong inputs, wrong shapes or numbers that are not finite.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> from keras_dlcourse.quantize import quantization_aware
        >>> qat = calibrate(quantization_aware(model), {model.inputs[0].name: np.eye(4)})
        >>> [layer.is_observed for layer in qat.layers if isinstance(layer, layers.FakeQuantize)]
        [True, True]
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {method!r}")
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be above 50 and at most 100. Received: {percentile!r}")
    observers = _observers(model)
    if not observers:
        raise ValueError(
            f"model {model.name!r} has no ranges to measure; make it quantization-aware first: "
            "kd.quantize.quantization_aware(model)"
        )
    inputs = _inputs(model, data, examples)
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
    """Return a model from inputs to what is needed of each observer's input.

    That is the two ends for each example, or else a sample of its numbers: an array with a row for
    each example.
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
    """Return a step through an activation that meets all of its channels: a prime number."""
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


def _inputs(model: keras.Model, data: Any, examples: int) -> list[np.ndarray]:
    """Return an array for each input of the model, after checks."""
    names = [tensor.name for tensor in model.inputs]
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise ValueError(
                f"data has the inputs {sorted(data)}, but model {model.name!r} takes "
                f"{sorted(names)}"
            )
        arrays = [np.asarray(data[name]) for name in names]
    elif len(names) > 1:
        arrays = [np.asarray(x) for x in data]
        if len(arrays) != len(names):
            raise ValueError(
                f"data has {len(arrays)} arrays, but model {model.name!r} takes {len(names)} "
                f"inputs: {', '.join(names)}"
            )
    else:
        arrays = [take(data, examples, seed=0).inputs]
    for name, tensor, array in zip(names, model.inputs, arrays, strict=True):
        if not _fits(array.shape[1:], tensor.shape[1:]):
            raise ValueError(
                f"data has examples of shape {array.shape[1:]} for input {name!r}, but the model "
                f"takes {tensor.shape[1:]}"
            )
        if not len(array) or not np.isfinite(array).all():
            what = "has NaN or infinite numbers" if len(array) else "has no examples"
            raise ValueError(f"data {what} for input {name!r}: ranges measured on it are useless")
    return [array[:examples].astype("float32") for array in arrays]


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want in (None, size) for size, want in zip(shape, expected, strict=True)
    )
