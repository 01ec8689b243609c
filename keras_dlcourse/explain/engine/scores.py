"""The value of a model to explain: a class score before softmax, or any other number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse.graph.head import PASSING
from keras_dlcourse.graph.running import Network, Place, call_in_inference
from keras_dlcourse.layers._remade import activation_name

# Takes the model's outputs; returns one number per image, shape (n,).
Target = Callable[[Any], Any]

_SQUASHING = ("softmax", "sigmoid", "log_softmax", "tanh")


class Scores:
    """The class scores of a model, before softmax or sigmoid.

    With softmax, the probability of each class depends on all others, and its gradient vanishes
    when it is near 1. So the last layer is computed without its activation.

    Args:
        network: The model.
        output: Index or name of the output that holds the scores.

    Attributes:
        activation: The omitted activation: `"softmax"`, `"sigmoid"`, ..., or `"linear"`.
        head: The graph places from the output back to the layer that computes the scores.
        classes: Number of classes. A single output is a binary classifier: class 1 is the output
            itself, class 0 its negative.

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
                "without classes. Pass target=, a function from the outputs to one number per "
                "image."
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
        """Call a layer, without its activation if it belongs to the head."""
        operation = place.node.operation
        if place not in self.head or _activation(operation) is None:
            return call_in_inference(place, args, kwargs)
        if not hasattr(operation, "kernel"):
            return args[0]
        return replace_activation(operation, keras.activations.linear)(*args, **kwargs)

    def of(self, outputs: Any) -> Any:
        """Return scores `(n, classes)`; for output maps (segmentation), their spatial mean."""
        scores = ops.cast(tree.flatten(outputs)[self.number], "float32")
        if len(scores.shape) > 2:
            scores = ops.mean(scores, axis=tuple(range(1, len(scores.shape) - 1)))
        return scores if self._width > 1 else ops.concatenate([-scores, scores], axis=-1)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Convert scores to probabilities: by sigmoid if the model ends in one, else by softmax."""
        if self._width == 1 or self.activation == "sigmoid":
            return np.asarray(np.exp(-np.logaddexp(0, -scores)))
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))


def replace_activation(layer: Any, activation: Any) -> Any:
    """Return a layer that shares its state with `layer` but has another activation."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    twin.__dict__["activation"] = activation
    return twin


def _activation(operation: Any) -> str | None:
    """Return the name of the squashing function that an operation ends in, or None."""
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
        f"output must be an index below {len(names)} or one of {', '.join(names)}. "
        f"Received: {output!r}."
    )
