"""Measure the forward and backward signal of a network at each layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops, tree

from keras_dlcourse import backend
from keras_dlcourse.graph.running import Network, Place, call_in_training

_ACTIVATIONS = (L.Activation, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax)
_CUT_AT_ZERO = (keras.activations.relu, keras.activations.relu6)


@dataclass(frozen=True)
class Signals:
    """The result of one measurement: one value per layer, None where it does not apply.

    Attributes:
        activations: Variance of the outputs over the examples, averaged over all units.
        gradients: Variance of the gradients of each example's loss w.r.t. these outputs.
        dead: Fraction of ReLU units that output 0 for all examples.
    """

    activations: list[float | None]
    gradients: list[float | None]
    dead: list[float | None]


class Probe:
    """A compiled function that maps a batch to the signals at the layers of a compiled model.

    Layers with kernels and activation layers are measured, in nested models too. Outputs and
    gradients of the last layer are not, because those of a softmax cannot be compared with earlier
    ones.

    Args:
        model: A compiled functional or Sequential model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no graph, no layer to measure, or inputs of variable size.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.network = Network(model)
        outputs = {self.network.maker(tensor) for tensor in self.network.model.outputs}
        self.places = [place for place in self.network.places if _is_watched(place)]
        self._inner = [place for place in self.places if place not in outputs]
        if not self.places:
            raise ValueError(f"model {model.name!r} has no layer with a kernel to measure.")
        self._sizes = [math.prod(size or 0 for size in place.shape[1:]) for place in self._inner]
        if 0 in self._sizes:
            raise ValueError(f"model {model.name!r} must take inputs of one fixed size.")
        self._numbers = {place: number for number, place in enumerate(self._inner)}
        self.kernels = [_kernels(place) for place in self.places]
        # Calling a layer changes batch normalization statistics and dropout seeds.
        self._variables = [*model.variables, *model.metrics_variables]
        self._run: Callable[..., Any] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the layers, each with the nested models around it."""
        return [place.name for place in self.places]

    def measure(self, inputs: Any, labels: np.ndarray) -> Signals:
        """Run a forward and backward pass in training mode, without changing the model.

        Raises:
            ValueError: If `inputs` do not match the inputs of the model.
        """
        if not self._inner:  # a single layer has no layer before it
            nothing: list[float | None] = [None] * len(self.places)
            return Signals(nothing, nothing, nothing)
        if self._run is None:
            self._run = backend.compiled(self._pass, self._variables)
        arrays = _order_inputs(self.network.model, inputs)
        found = [np.asarray(ops.convert_to_numpy(part)) for part in self._run(labels, *arrays)]

        def row(numbers: np.ndarray) -> list[float | None]:
            known = {place: float(numbers[number]) for place, number in self._numbers.items()}
            return [known.get(place) for place in self.places]

        dead = [
            share if _is_cut_at_zero(place) else None
            for place, share in zip(self.places, row(found[2]), strict=True)
        ]
        return Signals(row(_compute_variances(found[0])), row(_compute_variances(found[1])), dead)

    def _pass(self, labels: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        # Zeros are added to each output: their gradient is the gradient of the output. They form
        # one vector, because every backend can differentiate w.r.t. a vector.
        examples = inputs[0].shape[0]
        sizes = [size * examples for size in self._sizes]
        cuts = np.cumsum(sizes)[:-1].tolist()
        zeros = ops.zeros((sum(sizes),), "float32")

        def loss(nudges: Any) -> tuple[Any, tuple[Any, Any]]:
            with keras.StatelessScope([(variable, variable.value) for variable in self._variables]):
                return self._loss(_cut(nudges, cuts), inputs, labels)

        gradient, (spread, dead) = backend.gradient(loss)(zeros)
        parts = [ops.reshape(part, (examples, -1)) * examples for part in _cut(gradient, cuts)]
        return spread, ops.stack([_variance(part) for part in parts]), dead

    def _loss(
        self, nudges: list[Any], inputs: tuple[Any, ...], labels: Any
    ) -> tuple[Any, tuple[Any, Any]]:
        spread, dead = [], []

        def after(place: Place, outputs: Any) -> Any:
            number = self._numbers.get(place)
            if number is None:
                return outputs
            given = ops.cast(outputs, "float32")
            spread.append(_variance(ops.reshape(given, (inputs[0].shape[0], -1))))
            dead.append(_measure_dead(given, _channel_axis(place)))
            nudge = ops.cast(ops.reshape(nudges[number], outputs.shape), outputs.dtype)
            return outputs + nudge

        outputs = self.network.run(list(inputs), call_in_training, after)
        seen = inputs[0] if len(inputs) == 1 else list(inputs)
        value = self.model.compute_loss(seen, labels, outputs, training=True)
        return ops.cast(value, "float32"), (ops.stack(spread), ops.stack(dead))


def _order_inputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Return the input arrays in the order of the model's inputs."""
    names = [tensor.name for tensor in model.inputs]
    if isinstance(inputs, dict) and set(inputs) == set(names):
        return [inputs[name] for name in names]
    arrays: list[np.ndarray] = tree.flatten(inputs)
    if len(arrays) != len(names):
        raise ValueError(
            f"data must have the {len(names)} inputs of the model, {', '.join(names)}. Received: "
            f"{len(arrays)}"
        )
    return arrays


def _cut(vector: Any, cuts: list[int]) -> list[Any]:
    return list(ops.split(vector, cuts)) if cuts else [vector]


def _variance(rows: Any) -> Any:
    """Return the variance over examples, averaged over units, as a pair (a, b) meaning a^2 b.

    A plain square would underflow: that of 1e-20 is 0 in float32.
    """
    apart = rows - ops.mean(rows, axis=0, keepdims=True)
    largest = ops.max(ops.abs(apart))
    scale = ops.where(largest > 0, largest, 1.0)
    return ops.stack([largest, ops.mean(ops.square(apart / scale))])


def _compute_variances(pairs: np.ndarray) -> np.ndarray:
    """Return the variances from the pairs of `_variance`."""
    return pairs[:, 0].astype("float64") ** 2 * pairs[:, 1]


def _measure_dead(outputs: Any, axis: int) -> Any:
    """Return the fraction of units that output 0 everywhere."""
    others = [number for number in range(len(outputs.shape)) if number != axis]
    largest = ops.max(ops.abs(outputs), axis=others)
    return ops.mean(ops.cast(largest == 0, "float32"))


def _is_watched(place: Place) -> bool:
    operation = place.node.operation
    if isinstance(operation, keras.Model) or len(place.node.outputs) != 1:
        return False
    return isinstance(operation, _ACTIVATIONS) or bool(_kernels(place))


def _kernels(place: Place) -> list[Any]:
    """Return the weights of a layer that have two or more dimensions."""
    weights = getattr(place.node.operation, "trainable_weights", [])
    return [weight for weight in weights if len(weight.shape) > 1]


def _is_cut_at_zero(place: Place) -> bool:
    operation = place.node.operation
    if isinstance(operation, L.ReLU):
        return not operation.negative_slope and not operation.threshold
    return getattr(operation, "activation", None) in _CUT_AT_ZERO


def _channel_axis(place: Place) -> int:
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    return 1 if first else len(place.shape) - 1
