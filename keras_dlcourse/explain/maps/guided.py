"""A copy of a model whose ReLUs pass only positive gradients."""

from __future__ import annotations

import warnings
from typing import Any

import keras
from keras import ops

from keras_dlcourse.explain.engine.scores import replace_activation
from keras_dlcourse.graph.flat import Graph, Node, flat_copy, open_block
from keras_dlcourse.layers._remade import activation_name

_RELUS = ("relu", "relu6")


def guided_copy(model: keras.Model) -> keras.Model:
    """Return a flat copy of a model with the same outputs and guided ReLUs.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model has no graph.

    Warns:
        UserWarning: If there are ReLUs inside layers that cannot be opened.
    """
    copy = flat_copy(model, open_block)
    made: dict[int, Any] = {}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        guided = made.setdefault(id(node.operation), _make_guided(node.operation))
        return guided(*args, **kwargs)

    return Graph(copy).rebuild(call)


def _make_guided(operation: Any) -> Any:
    """Return an equivalent of a layer or operation with a guided ReLU."""
    name = _activation_name(operation)
    if type(operation) is keras.layers.ReLU and not operation.negative_slope:
        return _GuidedReLU(operation.max_value, operation.threshold, name=operation.name)
    if name in _RELUS:
        relu = _GuidedReLU(6.0 if name == "relu6" else None, name=f"{operation.name}_guided")
        if isinstance(operation, keras.layers.Layer) and hasattr(operation, "kernel"):
            linear = replace_activation(operation, keras.activations.linear)
            return lambda *args, **kwargs: relu(linear(*args, **kwargs))
        return relu
    hidden = [layer.name for layer in getattr(operation, "_layers", []) if _has_relu(layer)]
    if hidden:
        warnings.warn(
            f"Layer {operation.name!r} has ReLUs inside ({', '.join(hidden)}), which are not "
            "guided. Rewrite it as a functional model to have them guided.",
            stacklevel=4,
        )
    return operation


def _has_relu(layer: Any) -> bool:
    return isinstance(layer, keras.layers.ReLU) or _activation_name(layer) in _RELUS


def _activation_name(operation: Any) -> str:
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__.lower()
    return activation_name(getattr(operation, "activation", None))


class _GuidedReLU(keras.layers.Layer):
    """ReLU that passes the gradient only where both the gradient and the input are positive."""

    def __init__(
        self, max_value: float | None = None, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value, self.threshold = max_value, threshold

    def call(self, inputs: Any) -> Any:
        @ops.custom_gradient
        def relu(x: Any) -> Any:
            passes = x > self.threshold
            y = ops.where(passes, x, 0.0)
            if self.max_value is not None:
                passes = ops.logical_and(passes, x < self.max_value)
                y = ops.minimum(y, self.max_value)

            def gradient(*args: Any, upstream: Any = None) -> Any:
                above = args[0] if upstream is None else upstream
                return ops.where(ops.logical_and(passes, above > 0), above, 0.0)

            return y, gradient

        return relu(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
