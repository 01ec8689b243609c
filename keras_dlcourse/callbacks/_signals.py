"""What passes through a network forwards and backwards, measured at each of its layers."""

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
    """What one measurement found, a number a layer; None where it does not apply.

    Attributes:
        activations: Variance of the outputs over the examples, mean over all units.
        gradients: Variance of the gradients of an example's own loss by these outputs.
        dead: Share of ReLU units that answer 0 to all examples.
    """

    activations: list[float | None]
    gradients: list[float | None]
    dead: list[float | None]


class Probe:
    """A compiled function from a batch to the signals at the layers of a compiled model.

    Layers with kernels and layers that are activations are looked at, in nested models too; of the
    last layer neither outputs nor gradients are, because those of a softmax cannot be compared with
    what is before it.

    Args:
        model: A functional or Sequential model that has been compiled.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it has no graph, nothing to be looked at, or takes inputs of any size.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.network = Network(model)
        outputs = {self.network.maker(tensor) for tensor in self.network.model.outputs}
        self.places = [place for place in self.network.places if _is_watched(place)]
        self._inner = [place for place in self.places if place not in outputs]
        if not self.places:
            raise ValueError(f"{model.name!r} has no layer with a kernel to be looked at.")
        self._sizes = [math.prod(size or 0 for size in place.shape[1:]) for place in self._inner]
        if 0 in self._sizes:
            raise ValueError(f"{model.name!r} must take inputs of one size for this.")
        self._numbers = {place: number for number, place in enumerate(self._inner)}
        self.kernels = [_kernels(place) for place in self.places]
        # A layer's own call changes the statistics of batch normalization and the seeds of dropout.
        self._variables = [*model.variables, *model.metrics_variables]
        self._run: Callable[..., Any] | None = None

    @property
    def names(self) -> list[str]:
        """The layers, each with the nested models around it."""
        return [place.name for place in self.places]

    def measure(self, inputs: Any, labels: np.ndarray) -> Signals:
        """Send examples through the model as in training, and back, without changing anything.

        Raises:
            ValueError: If the model takes other inputs.
        """
        if not self._inner:  # one layer has none before it
            nothing: list[float | None] = [None] * len(self.places)
            return Signals(nothing, nothing, nothing)
        if self._run is None:
            self._run = backend.compiled(self._pass, self._variables)
        arrays = _in_order(self.network.model, inputs)
        found = [np.asarray(ops.convert_to_numpy(part)) for part in self._run(labels, *arrays)]

        def row(numbers: np.ndarray) -> list[float | None]:
            known = {place: float(numbers[number]) for place, number in self._numbers.items()}
            return [known.get(place) for place in self.places]

        dead = [
            share if _is_cut_at_zero(place) else None
            for place, share in zip(self.places, row(found[2]), strict=True)
        ]
        return Signals(row(_squared(found[0])), row(_squared(found[1])), dead)

    def _pass(self, labels: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        # Zeros that are added to each output: the gradient by them is that by the output. They are
        # one vector, because that is what every backend takes a gradient by.
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
            dead.append(_dead(given, _channel_axis(place)))
            nudge = ops.cast(ops.reshape(nudges[number], outputs.shape), outputs.dtype)
            return outputs + nudge

        outputs = self.network.run(list(inputs), call_in_training, after)
        seen = inputs[0] if len(inputs) == 1 else list(inputs)
        value = self.model.compute_loss(seen, labels, outputs, training=True)
        return ops.cast(value, "float32"), (ops.stack(spread), ops.stack(dead))


def _in_order(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Return the arrays of inputs in the order in which a model has them."""
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
    """Return the variance over examples, mean over what belongs to one, as a and b: it is a^2 b.

    The square of 1e-20 would be 0 in float32.
    """
    apart = rows - ops.mean(rows, axis=0, keepdims=True)
    largest = ops.max(ops.abs(apart))
    scale = ops.where(largest > 0, largest, 1.0)
    return ops.stack([largest, ops.mean(ops.square(apart / scale))])


def _squared(pairs: np.ndarray) -> np.ndarray:
    """Return the variances that `_variance` has taken apart."""
    return pairs[:, 0].astype("float64") ** 2 * pairs[:, 1]


def _dead(outputs: Any, axis: int) -> Any:
    """Return the share of units that answer 0 everywhere."""
    others = [number for number in range(len(outputs.shape)) if number != axis]
    largest = ops.max(ops.abs(outputs), axis=others)
    return ops.mean(ops.cast(largest == 0, "float32"))


def _is_watched(place: Place) -> bool:
    operation = place.node.operation
    if isinstance(operation, keras.Model) or len(place.node.outputs) != 1:
        return False
    return isinstance(operation, _ACTIVATIONS) or bool(_kernels(place))


def _kernels(place: Place) -> list[Any]:
    """Return the weights of a layer that are matrices or more."""
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
