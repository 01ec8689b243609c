"""Re-create a layer from its own arguments, including functions that Keras cannot find by name.

Keras writes a function into a config by name, and can only look up its own and registered ones.
If no file is involved, the function object itself can be passed on.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import keras

# Functions of tf.nn: first those with another name in keras.activations, then those with the same.
_OF_TENSORFLOW = {
    "softmax_v2": "softmax",
    "log_softmax_v2": "log_softmax",
    "swish": "silu",
    **{
        name: name
        for name in ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "sigmoid", "tanh")
        + ("softplus", "softsign", "softmax", "log_softmax", "silu")
    },
}


def remake_layer(layer: Any, **changes: Any) -> Any:
    """Return a new, unbuilt layer with the arguments of another layer, some of them changed.

    Functions are kept as objects; those of `tf.nn` become Keras's. A layer used as an activation
    is passed to the new layer unchanged, with its weights.
    """
    return type(layer).from_config({**arguments(layer), **changes})


def own_weights(layer: Any) -> list[Any]:
    """Return the weights of a layer, except those of an activation that is itself a layer."""
    activation = getattr(layer, "activation", None)
    inside = activation.weights if isinstance(activation, keras.layers.Layer) else []
    return [weight for weight in layer.weights if all(weight is not other for other in inside)]


def arguments(layer: Any) -> dict[str, Any]:
    """Return the arguments for `from_config`, with functions as objects where Keras needs them."""
    with warnings.catch_warnings():
        # Keras warns about saving, but nothing is saved here.
        warnings.filterwarnings("ignore", message=".*serialized includes a `lambda`")
        config = layer.get_config()
    return {name: _argument(layer, name, value) for name, value in config.items()}


def _argument(layer: Any, name: str, value: Any) -> Any:
    held = getattr(layer, name, None)
    if name.endswith("activation") and isinstance(held, keras.layers.Layer):
        return held
    if not _is_function(held, layer) or _find_again(value) is held:
        return value
    # In a user's layer, a name in the config may be the user's own way to identify the function.
    known = _package(type(layer)) in ("keras", "keras_dlcourse")
    return keras_function(held) if isinstance(value, dict) or known else value


def _is_function(held: Any, layer: Any) -> bool:
    return (
        callable(held)
        and not isinstance(held, type)
        and not hasattr(held, "get_config")
        and not (inspect.ismethod(held) and held.__self__ is layer)
    )


def _find_again(value: Any) -> Any:
    try:
        return keras.activations.get(value)
    except Exception:  # Keras raises various errors for unknown functions
        return None


def keras_function(function: Any) -> Any:
    """Return Keras's version of an activation function of `tf.nn`, and others unchanged."""
    name = _OF_TENSORFLOW.get(getattr(function, "__name__", ""))
    if name is None or _package(function) != "tensorflow":
        return function
    return keras.activations.get(name)


def activation_name(activation: Any) -> str:
    """Return the name of an activation, `"linear"` for None.

    For functions of Keras and `tf.nn`, and for layers that compute the same, it is the name in
    `keras.activations`. Other functions are prefixed with their module, so that a user's own `relu`
    is not mistaken for Keras's; other layers are named by their class.
    """
    if activation is None:
        return "linear"
    if isinstance(activation, keras.layers.Layer):
        return _layer_name(activation)
    function = keras_function(activation)
    name = getattr(function, "__name__", None) or type(function).__name__
    if _package(function) == "keras":
        return str(name)
    return f"{getattr(function, '__module__', None) or 'unknown'}.{name}"


def _layer_name(layer: keras.layers.Layer) -> str:
    if type(layer) is keras.layers.Activation:
        return activation_name(layer.activation)
    if type(layer) is keras.layers.ReLU and not (layer.threshold or layer.negative_slope):
        return {None: "relu", 6.0: "relu6"}.get(layer.max_value, "ReLU")
    return {
        keras.layers.Softmax: "softmax",
        keras.layers.LeakyReLU: "leaky_relu",
        keras.layers.ELU: "elu",
    }.get(type(layer), type(layer).__name__)


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]
