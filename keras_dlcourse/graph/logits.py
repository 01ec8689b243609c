"""Find the logits before a classifier's last softmax or sigmoid, and the layer that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_dlcourse.graph.head import PASSING
from keras_dlcourse.graph.running import Network, Place, call_in_inference
from keras_dlcourse.layers._remade import activation_name, remake_layer
from keras_dlcourse.layers.compression.fake_quantize import FakeQuantize

# Scaling by a positive factor commutes with these layers.
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
        layer: The linear layer with a kernel that computes the logits; None if there is none.
        place: Where the activation is applied: the place of `layer` if it has an activation.
        activation: `"softmax"`, `"sigmoid"`, `"linear"` or the name of another activation.
        calls: Number of calls of the layer in the model.
    """

    layer: Any
    place: Place | None
    activation: str
    calls: int


def find_logits(network: Network) -> Logits:
    """Walk back from the output of a network to the layer that computes its logits.

    Args:
        network: Network of a model with one output.

    Returns:
        The logits layer and activation that were found.
    """
    place, activation, at = network.maker(network.model.outputs[0]), "linear", None
    while place is not None:
        layer = place.node.operation
        own = _activation_of(layer)
        if own != "linear" and activation == "linear" and _can_end(layer):
            activation, at = own, place
        elif own != "linear":
            break  # another nonlinearity, with which scaling does not commute
        if _is_kernel(layer):
            calls = sum(other.node.operation is layer for other in network.places)
            return Logits(layer, at, activation, calls)
        single = len(place.node.inputs) == 1
        if not single or not (isinstance(layer, _SCALING) or _is_activation(layer)):
            break
        place = network.source(place)
    return Logits(None, at, activation, 0)


def logits_model(network: Network, found: Logits) -> keras.Model:
    """Return the model without its last activation, with its current weights.

    Args:
        network: The network.
        found: Result of `find_logits` for it, with a layer.
    """

    def call(place: Place, args: Any, kwargs: Any) -> Any:
        layer = place.node.operation
        if place != found.place:
            return layer(*args, **kwargs)
        return args[0] if _is_activation(layer) else _call_without_activation(layer, args[0])

    model = network.model
    inputs = [keras.Input(batch_shape=one.shape, dtype=one.dtype) for one in model.inputs]
    return keras.Model(inputs, network.run(inputs, call))


@dataclass(frozen=True)
class LastActivation:
    """The last activation of a model, possibly inside nested models.

    Attributes:
        place: The layer that applies it.
        activation: Its name: `"softmax"` over the last axis, `"sigmoid"`, `"linear"`, ...
        found: The same as text for messages, with the layer.
        rounding: The layers after it that only round its values to integers.
    """

    place: Place
    activation: str
    found: str
    rounding: tuple[Place, ...]

    @property
    def is_argmax(self) -> bool:
        """Whether it is no activation, but the number of the class with the largest value."""
        return type(self.place.node.operation).__name__ == "Argmax"


def find_last_activation(network: Network) -> LastActivation | None:
    """Return the last activation of a model with one output, None if it has no layer.

    Unlike `find_logits`, it is found behind any layer, such as a resizing one.
    """
    rounding = []
    place = network.maker(network.model.outputs[0])
    while place is not None:
        layer = place.node.operation
        name = _activation_of(layer)
        if isinstance(layer, FakeQuantize):
            rounding.append(place)
        elif not (isinstance(layer, PASSING) or (_is_activation(layer) and name == "linear")):
            axis = getattr(layer, "axis", -1)
            if isinstance(layer, keras.layers.Softmax) and axis not in (-1, len(place.shape) - 1):
                name = f"softmax over axis {axis}"
            found = f"{name} of {type(layer).__name__} {layer.name!r}"
            return LastActivation(place, name, found, tuple(rounding))
        place = network.source(place)
    return None


def cut_last_activation(model: keras.Model) -> keras.Model:
    """Return a model with one output without its last activation, with its current weights."""
    network = Network(model)
    end = find_last_activation(network)

    def call(place: Place, args: Any, kwargs: Any) -> Any:
        layer = place.node.operation
        if end is not None and (place == end.place or place in end.rounding):
            is_own = place == end.place and not _is_activation(layer)
            return _call_without_activation(layer, args[0]) if is_own else args[0]
        return call_in_inference(place, args, kwargs)

    inputs = [
        keras.Input(batch_shape=one.shape, dtype=one.dtype, name=one.name)
        for one in network.model.inputs
    ]
    return keras.Model(inputs, network.run(inputs, call), name=model.name)


def _call_without_activation(layer: Any, given: Any) -> Any:
    """Call a copy of a layer that has no activation."""
    twin = remake_layer(layer, activation="linear", name=f"{layer.name}_logits")
    outputs = twin(given)
    twin.set_weights(layer.get_weights())
    return outputs


def _is_kernel(layer: Any) -> bool:
    # Not subclasses: they may derive their kernel from other weights, so scaling it has no effect.
    return type(layer) in (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)


def _is_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation | keras.layers.Softmax)


def _can_end(layer: Any) -> bool:
    return _is_activation(layer) or _is_kernel(layer)


def _activation_of(layer: Any) -> str:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return activation_name(getattr(layer, "activation", None))
