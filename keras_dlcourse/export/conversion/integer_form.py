"""Rewrite a quantized Keras model into a form that TensorFlow's converter makes all integer.

Quantized or compressed layers bake themselves: the weights they compute with become the weights
they store. Batch normalization is folded into the kernel before it; if there is none, it and
similar layers (a factor and an offset per channel) become a 1x1 depthwise convolution, which is one
integer operation with exact weights.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import layers
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph, Node, flat_copy
from keras_dlcourse.graph.folding import factor_and_offset
from keras_dlcourse.layers.compression.fake_quantize import is_quantized


def has_baking(model: keras.Model) -> bool:
    """Whether a model has layers that bake themselves, i.e. quantized or compressed layers."""
    return any(hasattr(layer, "bake") for layer in model._flatten_layers())


def integer_form(model: keras.Model, keep_ranges: bool = True) -> keras.Model:
    """Return a copy of a quantized or compressed model with its layers baked.

    Args:
        model: A functional or Sequential model that computes in float32.
        keep_ranges: Whether activations stay quantized. If False, the copy computes in float with
            quantized weights.

    Returns:
        A functional model of plain Keras layers and, if the model was quantized, fixed ranges.

    Raises:
        ExportError: If a range was never observed, or is not finite.
    """
    baker = _Baker(keep_ranges)
    baked = Graph(flat_copy(model, lambda layer: None)).rebuild(baker.call)
    if not keep_ranges or not is_quantized(model):
        return baked
    graph = Graph(fold_batch_norm(baked))

    def on_input(number: int, tensor: Any) -> Any:
        """Add the range of 8-bit pixels, for the device."""
        if graph.model.inputs[number].dtype != "uint8":
            return tensor
        return layers.FakeQuantize(ranges=(0.0, 255.0), name=f"{tensor.name}_range")(tensor)

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        return _call_integer_form(graph, node, args, kwargs)

    return graph.rebuild(call, on_input, _make_float_input)


# Layers that a float file does not need.
_FOR_INTEGERS = (layers.FakeQuantize, layers.FloatBarrier, layers.RangeBridge)


class _Baker:
    """Bakes each layer once, even if it is called several times."""

    def __init__(self, keep_ranges: bool) -> None:
        self.keep_ranges = keep_ranges
        self.baked: dict[int, Any] = {}

    def call(self, node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.operation
        if isinstance(layer, _FOR_INTEGERS) and not self.keep_ranges:
            return args[0]
        if id(layer) not in self.baked:
            self.baked[id(layer)] = _bake(layer)
        return self.baked[id(layer)](*args, **kwargs)


def _bake(layer: Any) -> Any:
    if not hasattr(layer, "bake"):
        return layer
    try:
        return layer.bake()
    except ValueError as error:
        raise ExportError(str(error)) from error


def _make_float_input(tensor: Any) -> Any:
    """Return an input like the given one; 8-bit pixels pass through the graph as floats."""
    dtype = "float32" if tensor.dtype == "uint8" else tensor.dtype
    return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)


def _call_integer_form(graph: Graph, node: Node, args: Any, kwargs: Any) -> Any:
    """Call a node's layer, or its replacement on a device."""
    affine = _find_factor_and_offset(node)
    if affine is not None:
        tensor = next(value for value in args if isinstance(value, keras.KerasTensor))
        return _apply_depthwise(tensor, *affine, name=node.name)
    if _is_done_by_range(graph, node):
        is_relu = isinstance(node.operation, keras.layers.ReLU)
        return keras.layers.ReLU(name=node.name)(*args) if is_relu else args[0]
    if _is_nearest(node.operation):
        return _Nearest(node.outputs[0].shape[1:3], name=node.name)(*args)
    return node.operation(*args, **kwargs)


def _is_done_by_range(graph: Graph, node: Node) -> bool:
    """Whether the range that follows already does what a clip, or the maximum of a ReLU, does."""
    operation, following = node.operation, graph.only_user(node)
    if type(operation) is keras.layers.ReLU and operation.max_value not in (None, 6.0):
        ends = 0.0, operation.max_value
    elif type(operation).__name__ == "Clip" and not isinstance(operation, keras.layers.Layer):
        ends = operation.x_min, operation.x_max
    else:
        return False
    if following is None or not isinstance(following.operation, layers.FakeQuantize):
        return False
    low, high = following.operation.range()
    step = (high - low) / 255
    return bool(ends[0] - step <= low and high <= ends[1] + step)


def _is_nearest(layer: Any) -> bool:
    return isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest"


class _Nearest(keras.layers.Layer):
    """Repeats pixels in one operation; Keras's layer becomes TILE, which microcontrollers lack."""

    def __init__(self, size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return tf.compat.v1.image.resize_nearest_neighbor(x, self.size)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *self.size, input_shape[3])


def _find_factor_and_offset(node: Node) -> tuple[Any, Any] | None:
    """Return (factor, offset) of a node that computes `factor * x + offset`, else None."""
    reader = _AFFINE.get(type(node.operation).__name__)
    return None if reader is None else reader(node)


def _read_batch_norm(node: Node) -> tuple[Any, Any]:
    return factor_and_offset(node.operation)


def _read_rescaling(node: Node) -> tuple[Any, Any]:
    return np.asarray(node.operation.scale), np.asarray(node.operation.offset)


def _read_normalization(node: Node) -> tuple[Any, Any] | None:
    layer = node.operation
    if layer.invert:
        return None
    deviation = np.maximum(np.sqrt(_to_numpy(layer.variance)), keras.config.epsilon())
    return 1 / deviation.reshape(-1), (-_to_numpy(layer.mean) / deviation).reshape(-1)


def _read_channel_scale(node: Node) -> tuple[Any, Any]:
    layer = node.operation
    return _to_numpy(layer.factor), 0.0 if layer.offset is None else _to_numpy(layer.offset)


def _read_operation(node: Node) -> tuple[Any, Any] | None:
    """Read arithmetic with a constant, such as `x + 3`.

    Layers with the same names take two tensors instead.
    """
    if isinstance(node.operation, keras.layers.Layer) or len(node.inputs) != 1:
        return None
    left, right = node.args[:2]
    constant_first = right is node.inputs[0]
    constant = np.asarray(ops.convert_to_numpy(left if constant_first else right), "float32")
    channels = node.outputs[0].shape[-1]
    if constant.size not in (1, channels):
        return None
    if constant.size > 1 and constant.shape[-1] != channels:
        return None
    c = constant.reshape(-1)
    forms: dict[str, Any] = {
        "Add": (1.0, c),
        "Multiply": (c, 0.0),
        "Subtract": (-1.0, c) if constant_first else (1.0, -c),
        "Divide": None if constant_first else (1 / c, 0.0),
    }
    forms["TrueDivide"] = forms["Divide"]
    return forms[type(node.operation).__name__]


_AFFINE: dict[str, Any] = {
    "BatchNormalization": _read_batch_norm,
    "FreezingBatchNormalization": _read_batch_norm,
    "Rescaling": _read_rescaling,
    "Normalization": _read_normalization,
    "ChannelScale": _read_channel_scale,
    "Add": _read_operation,
    "Subtract": _read_operation,
    "Multiply": _read_operation,
    "Divide": _read_operation,
    "TrueDivide": _read_operation,
}


def _apply_depthwise(x: Any, factor: Any, offset: Any, name: str) -> Any:
    """Compute `factor * x + offset` with a 1x1 depthwise convolution."""
    shape = x.shape
    channels = shape[-1]
    if "float" not in x.dtype:
        x = ops.cast(x, "float32")
    layer = keras.layers.DepthwiseConv2D(1, name=name)
    layer.build((None, 1, 1, channels))
    layer.set_weights(
        [
            np.broadcast_to(np.asarray(factor, "float32"), (channels,)).reshape(1, 1, channels, 1),
            np.broadcast_to(np.asarray(offset, "float32"), (channels,)),
        ]
    )
    if len(shape) == 4:
        return layer(x)
    # Treat vectors and sequences as images with one column.
    rows = 1 if len(shape) == 2 else int(np.prod(shape[1:-1]))
    image = keras.layers.Reshape((rows, 1, channels), name=f"{name}_as_image")(x)
    return keras.layers.Reshape(tuple(shape[1:]), name=f"{name}_shape")(layer(image))


def _to_numpy(variable: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable), "float32")
