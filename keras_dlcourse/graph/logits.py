"""What stands before a classifier's last softmax or sigmoid, and the layer that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_dlcourse.graph.head import PASSING
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers._remade import activation_name, remade
from keras_dlcourse.layers.compression.fake_quantize import FakeQuantize

# A positive factor goes through these, forwards and backwards.
_SCALING = (
    *(layer for layer in PASSING if layer is not FakeQuantize),
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
)


@dataclass(frozen=True)
class Logits:
    """The end of a classifier.

    Attributes:
        layer: The linear layer with a kernel that the logits come from; None if there is none to
            be found.
        place: Where the activation is applied: that layer's own place where it has an activation.
        activation: `"softmax"`, `"sigmoid"`, `"linear"` or the name of another one.
        calls: How often the layer is called in the model.
    """

    layer: Any
    place: Place | None
    activation: str
    calls: int


def find_logits(network: Network) -> Logits:
    """Walk from the output of a network back to the layer that its logits come from.

    Args:
        network: Of a model with one output.

    Returns:
        What was found.
    """
    place, activation, at = network.maker(network.model.outputs[0]), "linear", None
    while place is not None:
        layer = place.node.operation
        own = _activation_of(layer)
        if own != "linear" and activation == "linear" and _can_end(layer):
            activation, at = own, place
        elif own != "linear":
            break  # a nonlinearity behind or between: no factor goes through
        if _is_kernel(layer):
            calls = sum(other.node.operation is layer for other in network.places)
            return Logits(layer, at, activation, calls)
        single = len(place.node.inputs) == 1
        if not single or not (isinstance(layer, _SCALING) or _is_activation(layer)):
            break
        place = network.source(place)
    return Logits(None, at, activation, 0)


def logits_model(network: Network, found: Logits) -> keras.Model:
    """Return the model without its last activation; it shares the weights as they are now.

    Args:
        network: The network.
        found: What `find_logits` found in it, with a layer.
    """

    def call(place: Place, args: Any, kwargs: Any) -> Any:
        layer = place.node.operation
        if place != found.place:
            return layer(*args, **kwargs)
        return args[0] if _is_activation(layer) else _linear(layer, args[0])

    model = network.model
    inputs = [keras.Input(batch_shape=one.shape, dtype=one.dtype) for one in model.inputs]
    return keras.Model(inputs, network.run(inputs, call))


def _linear(layer: Any, given: Any) -> Any:
    """Call a copy of a layer that has no activation."""
    twin = remade(layer, activation="linear", name=f"{layer.name}_logits")
    outputs = twin(given)
    twin.set_weights(layer.get_weights())
    return outputs


def _is_kernel(layer: Any) -> bool:
    # Not subclasses: those that make their kernel from others would not be scaled by it.
    return type(layer) in (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)


def _is_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation | keras.layers.Softmax)


def _can_end(layer: Any) -> bool:
    return _is_activation(layer) or _is_kernel(layer)


def _activation_of(layer: Any) -> str:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return activation_name(getattr(layer, "activation", None))
