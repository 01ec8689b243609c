"""Replace activations without integer support by ones that have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_dlcourse.graph.flat import Node
from keras_dlcourse.graph.kernel_layers import open_layers
from keras_dlcourse.layers._remade import activation_name, remake_layer

_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
}


def replace_activations(model: keras.Model, replacements: Mapping[str, str]) -> keras.Model:
    """Return a copy with other activation functions and the same weights.

    The copy is a different network: train it briefly before exporting it.

    Args:
        model: A built functional or Sequential model. It is not modified.
        replacements: Maps the names of activations to their replacements, e.g.
            `{"elu": "relu", "silu": "hard_silu"}`; both as known to `keras.activations.get`.

    Returns:
        A flat functional model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model does not have an activation, or Keras does not know a replacement.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="elu")])
        >>> replace_activations(model, {"elu": "relu"}).layers[-1].activation.__name__
        'relu'
    """
    wanted = {name: keras.activations.get(new) for name, new in replacements.items()}
    graph = open_layers(model)
    present = {name for node in graph.nodes if (name := _name(node.operation)) is not None}
    if missing := sorted(set(wanted) - present):
        raise ValueError(
            f"model {model.name!r} has no activation {', '.join(map(repr, missing))}. Available: "
            f"{', '.join(sorted(present)) or 'none'}"
        )
    swapped: dict[int, Any] = {}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.operation
        name = _name(layer)
        if name not in wanted:
            return layer(*args, **kwargs)
        if id(layer) not in swapped:
            swapped[id(layer)] = _replace(layer, wanted[name])
        return swapped[id(layer)](*args)

    return graph.rebuild(call)


def _name(layer: Any) -> str | None:
    """Return the activation name of a layer or operation; None if it has none."""
    if type(layer) in _LAYERS:
        return _LAYERS[type(layer)]
    if not isinstance(layer, keras.layers.Layer):
        return _OPERATIONS.get(type(layer).__name__)
    activation = getattr(layer, "activation", None)
    return None if activation is None else activation_name(activation)


_OPERATIONS = {"Elu": "elu", "Silu": "silu", "HardSilu": "hard_silu", "Gelu": "gelu"}


def _replace(layer: Any, activation: Any) -> Any:
    if not isinstance(layer, keras.layers.Layer) or type(layer) in _LAYERS:
        return keras.layers.Activation(activation, name=layer.name)
    twin = remake_layer(layer, activation=activation)
    if layer.built:
        twin.build_from_config(layer.get_build_config())
        twin.set_weights(layer.get_weights())
    return twin
