"""Which number of a model is explained: a class's score before softmax, or any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse.graph.head import PASSING
from keras_dlcourse.graph.running import Network, Place, call_in_inference
from keras_dlcourse.layers._remade import activation_name

# From the model's outputs to one number for each image, shape (n,).
Target = Callable[[Any], Any]

_SQUASHING = ("softmax", "sigmoid", "log_softmax", "tanh")


class Scores:
    """The scores of a model's classes, before the softmax or sigmoid behind them.

    A softmax makes each class's probability depend on all others, and where it is near 1 no
    gradient comes through. So the last layer is computed without its activation.

    Args:
        network: The model.
        output: Number or name of the output that holds the scores.

    Attributes:
        activation: What was left out: `"softmax"`, `"sigmoid"`, ..., or `"linear"`.
        head: The places from the output back to the layer that makes the scores.
        classes: How many there are. One output answers yes or no: class 1 is the output itself,
            class 0 the same with the other sign.

    Raises:
        ValueError: If there is no such output, or it has no classes.
    """

    def __init__(self, network: Network, output: int | str = 0) -> None:
        outputs = network.model.outputs
        self.number = _output_number(network.model, output)
        tensor = outputs[self.number]
        if len(tensor.shape) < 2 or tensor.shape[-1] is None:
            raise ValueError(
                f"output {output!r} of model {network.model.name!r} has the shape {tensor.shape}, "
                "without classes; pass target=, a function from the outputs to one number an image"
            )
        self._width = int(tensor.shape[-1])
        self.activation = "linear"
        self.head: list[Place] = []
        place = network.maker(tensor)
        while place is not None:
            self.head.append(place)
            name = _activation(place.node.operation)
            if name is not None:
                self.activation = name
            if name is None and not isinstance(place.node.operation, PASSING):
                break
            if hasattr(place.node.operation, "kernel"):
                break
            place = network.source(place)

    @property
    def classes(self) -> int:
        """Number of classes, at least 2."""
        return max(2, self._width)

    def call(self, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a layer, without its activation if it is the one at the end."""
        operation = place.node.operation
        if place not in self.head or _activation(operation) is None:
            return call_in_inference(place, args, kwargs)
        if not hasattr(operation, "kernel"):
            return args[0]
        return with_activation(operation, keras.activations.linear)(*args, **kwargs)

    def of(self, outputs: Any) -> Any:
        """Return the scores `(n, classes)`; of maps (segmentation) the mean over all places."""
        scores = ops.cast(tree.flatten(outputs)[self.number], "float32")
        if len(scores.shape) > 2:
            scores = ops.mean(scores, axis=tuple(range(1, len(scores.shape) - 1)))
        return scores if self._width > 1 else ops.concatenate([-scores, scores], axis=-1)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores into 0 to 1: by sigmoid where the model ends in one, else by softmax."""
        if self._width == 1 or self.activation == "sigmoid":
            return np.asarray(np.exp(-np.logaddexp(0, -scores)))
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))


def with_activation(layer: Any, activation: Any) -> Any:
    """Return a layer that shares all with another, but has another activation."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    twin.__dict__["activation"] = activation
    return twin


def _activation(operation: Any) -> str | None:
    """Return the name of the squashing that an operation ends in, None if it has none."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    if isinstance(operation, keras.layers.Layer):
        name = activation_name(getattr(operation, "activation", None))
    else:
        name = type(operation).__name__.lower()
    if isinstance(operation, keras.layers.Activation) and name == "linear":
        return "linear"
    return name if name in _SQUASHING else None


def _output_number(model: keras.Model, output: int | str) -> int:
    names = list(model.output_names)
    if isinstance(output, str) and output in names:
        return names.index(output)
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < len(names):
        return output
    raise ValueError(
        f"output must be a number below {len(names)} or one of {', '.join(names)}. "
        f"Received: {output!r}"
    )
