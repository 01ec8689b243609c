"""A layer made again from its own arguments, with the functions that Keras cannot find by name.

Keras writes a function into a config by its name, and finds only its own and registered ones again.
Where nothing goes through a file, the function itself can go along.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import keras

# What tf.nn has under another name than keras.activations, and what it has under the same.
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


def remade(layer: Any, **changes: Any) -> Any:
    """Return a new layer with the arguments of another, some of them changed; not built.

    Functions stay the objects that they are, those of `tf.nn` become Keras's. A layer as an
    activation goes into the new layer as it is, with its weights.
    """
    return type(layer).from_config({**arguments(layer), **changes})


def own_weights(layer: Any) -> list[Any]:
    """Return the weights of a layer without those of a layer that is its activation."""
    activation = getattr(layer, "activation", None)
    inside = activation.weights if isinstance(activation, keras.layers.Layer) else []
    return [weight for weight in layer.weights if all(weight is not other for other in inside)]


def arguments(layer: Any) -> dict[str, Any]:
    """Return what `from_config` makes a layer of, functions as objects where Keras needs them."""
    with warnings.catch_warnings():
        # Nothing is saved here, of which Keras warns.
        warnings.filterwarnings("ignore", message=".*serialized includes a `lambda`")
        config = layer.get_config()
    return {name: _argument(layer, name, value) for name, value in config.items()}


def _argument(layer: Any, name: str, value: Any) -> Any:
    held = getattr(layer, name, None)
    if name.endswith("activation") and isinstance(held, keras.layers.Layer):
        return held
    if not _is_function(held, layer) or _found_again(value) is held:
        return value
    # A name in the config of a user's layer may be the user's own way to say which function.
    known = _package(type(layer)) in ("keras", "keras_dlcourse")
    return keras_function(held) if isinstance(value, dict) or known else value


def _is_function(held: Any, layer: Any) -> bool:
    return (
        callable(held)
        and not isinstance(held, type)
        and not hasattr(held, "get_config")
        and not (inspect.ismethod(held) and held.__self__ is layer)
    )


def _found_again(value: Any) -> Any:
    try:
        return keras.activations.get(value)
    except Exception:  # Keras says in many ways that it does not know a function
        return None


def keras_function(function: Any) -> Any:
    """Return Keras's own activation function for that of `tf.nn`, all others as they are."""
    name = _OF_TENSORFLOW.get(getattr(function, "__name__", ""))
    if name is None or _package(function) != "tensorflow":
        return function
    return keras.activations.get(name)


def activation_name(activation: Any) -> str:
    """Return the name of an activation, `"linear"` for None.

    It is that in `keras.activations` for functions of Keras and `tf.nn`, and for layers that
    compute the same. Other functions have their module in front, so that nobody's own `relu` is
    taken for Keras's; other layers have the name of their class.
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
