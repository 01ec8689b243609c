"""Convert a classifier's dense layers to convolutions, so that it slides over larger images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse import layers
from keras_dlcourse.graph.flat import Graph, Node, flat_copy, open_input
from keras_dlcourse.layers._remade import arguments

_POOLINGS = {
    keras.layers.GlobalAveragePooling2D: keras.layers.AveragePooling2D,
    keras.layers.GlobalMaxPooling2D: keras.layers.MaxPooling2D,
}
_RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
# These are elementwise.
_BY_NUMBER = (
    keras.layers.Activation,
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    layers.ImageDescription,
)
# These compute each vector along the last axis independently.
_BY_VECTOR = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Rescaling,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
    layers.ChannelScale,
    layers.L2Normalization,
    layers.RadialBasisOutput,
)
_MERGING = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
# Operations of `keras.ops`, such as those in `x * sigmoid(x)`.
_OPERATIONS = {
    *("Absolute", "Add", "Divide", "Maximum", "Minimum", "Multiply", "Negative", "Subtract"),
    *("Gelu", "HardSigmoid", "HardSilu", "HardSwish", "LeakyRelu", "Relu", "Relu6", "Sigmoid"),
    *("Silu", "Softplus", "Tanh", "TrueDivide"),
}
_OVER_VECTORS = (keras.activations.softmax, keras.activations.log_softmax)
_SINGLE = (1, 1)


@dataclass(frozen=True)
class _Vector:
    """A vector of the model, represented by maps with such a vector at each position.

    Attributes:
        maps: `id` of the model's maps that the vector was computed from.
        size: Height and width of the window whose values form the vector: the size of the maps
            after Flatten, and 1x1 from the first dense layer or pooling on.
    """

    maps: int
    size: tuple[int, int]


def dense_as_conv(model: keras.Model) -> keras.Model:
    """Return a classifier with dense layers converted to convolutions, for images of any size.

    Flatten and the following Dense layer become a convolution with a kernel as large as the maps,
    and each further Dense layer becomes a 1x1 convolution. Global pooling becomes pooling over
    windows of the maps' original size, with stride 1. Weights are copied from the model. The maps
    of a large image are computed once for all windows in it; cropping would recompute them for each
    window.

    On an image of another size, position `(y, x)` of the output is the model's output for the
    window of its own input size with the corner `(y * s, x * s)`; `s` is the product of all
    strides. This is exact if no layer pads (all "valid") and no layer sees the whole image, as
    squeeze-and-excitation does. With "same" padding, the model saw zeros around a window where the
    larger image has pixels, so scores are close but not equal; away from the border, they still
    shift with the image. For such networks, use sizes that differ from the original by multiples of
    `s`, which are padded on the same sides. If a model ignores its last rows (such as pooling 7
    rows by 2), windows may extend beyond the image by as many rows.

    Args:
        model: A built functional or Sequential model with one input `(height, width, channels)`,
            from this package or `keras.applications`; not modified. Nested models are opened.

    Returns:
        A functional model with its own weights, from images `(batch, None, None, channels)` to
        scores `(batch, rows, columns, classes)`. For the model's original image size, these are 1x1
        scores equal to the model's. Layers keep their names; Flatten and Reshape are removed, and
        so are constraints on dense kernels. To fix the size for export, use
        `keras.Model(image := keras.Input((64, 64, 3)), slides(image))`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is subclassed or unbuilt, has channels first, no Dense layer (or 1x1
            convolution in its place), an open image size, or a layer that fixes the size or cannot
            be converted; the message names the layer.

    Example:
        >>> from keras_dlcourse.models import LeNet5
        >>> slides = dense_as_conv(LeNet5((32, 32, 1)))
        >>> slides.get_layer("f6").get_weights()[0].shape
        (1, 1, 120, 84)
        >>> slides.compute_output_shape((1, 32, 32, 1)), slides.compute_output_shape((1, 40, 48, 1))
        ((1, 1, 1, 10), (1, 3, 5, 10))

    Reference:
        Sermanet et al., "OverFeat: Integrated Recognition, Localization and Detection using
        Convolutional Networks", ICLR 2014, section 3.5, https://arxiv.org/abs/1312.6229; Long,
        Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
        section 3.1, https://arxiv.org/abs/1411.4038
    """
    graph = Graph(flat_copy(model, lambda layer: None))
    _check(graph)
    conversion = _Conversion(graph)
    slides = graph.rebuild(conversion.call, new_input=open_input)
    if not conversion.kernels:
        _refuse_without_dense(graph, conversion.head)
    return slides


class _Conversion:
    """The calls of a model, repeated on images of an open size.

    Args:
        graph: The model's graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.head = _Head(graph)
        self.kernels = 0  # number of dense layers, and of convolutions in their place
        self._vectors: dict[int, _Vector] = {}
        self._made: dict[tuple[int, tuple[int, int]], Any] = {}  # a shared layer stays shared

    def call(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Call the replacement of a node."""
        if id(node) not in self.head.nodes:
            return self._call_on_maps(node, args, kwargs)
        vectors = [self._vectors[id(old)] for old in node.inputs if id(old) in self._vectors]
        if vectors:
            outputs, vector = self._call_on_vectors(node, vectors, args, kwargs)
        else:
            outputs, vector = self._begin_vector(node, args)
        self._vectors[id(node.outputs[0])] = vector
        return outputs

    def _call_on_maps(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Call a layer of the network's body, unchanged except for dense layers on maps."""
        layer = node.operation
        for old in node.inputs:
            if id(old) in self._vectors:
                _refuse(node, "feeds a vector of the whole image back into the maps")
        if type(layer) is keras.layers.Dense and len(node.inputs[0].shape) == 4:
            return self._convolution(node, _SINGLE)(args[0])
        is_open = any(None in tensor.shape[1:] for tensor in _tensors((args, kwargs)))
        if is_open and _class_name(node) in ("Flatten", "Reshape"):
            _refuse(node, "fixes the size of the maps")
        try:
            outputs = layer(*args, **kwargs)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"dense_as_conv: layer {node.name!r} ({_class_name(node)}) does not accept maps of "
                f"an open size. Keras reported: {error}"
            ) from error
        for tensor in _tensors(outputs) if is_open else ():
            if len(tensor.shape) == 4 and None not in tensor.shape[1:3] and not _is_single(tensor):
                _refuse(node, "fixes the size of the maps")
        return outputs

    def _begin_vector(self, node: Node, args: Any) -> tuple[Any, _Vector]:
        """Call the replacement of the layer that turns maps into a vector."""
        maps = node.inputs[0]
        size = maps.shape[1:3]
        if type(node.operation) not in (*_POOLINGS, *_RESHAPING):
            _refuse(node, "turns maps into a vector in an unsupported way")
        if None in size:
            raise ValueError(
                f"dense_as_conv: the maps before layer {node.name!r} have the open size {size}, so "
                "the size of a window is unknown. Build the model for a fixed image size."
            )
        if isinstance(node.operation, _RESHAPING):
            return args[0], _Vector(id(maps), size)
        pooling = self._make_once(node, _SINGLE, lambda: _sliding_pooling(node.operation, size))
        return pooling(args[0]), _Vector(id(maps), _SINGLE)

    def _call_on_vectors(
        self, node: Node, vectors: list[_Vector], args: Any, kwargs: Any
    ) -> tuple[Any, _Vector]:
        """Call the replacement of a layer on vectors."""
        layer, vector = node.operation, vectors[0]
        if any(other != vector for other in vectors):
            _refuse(node, "joins vectors from maps of different layers")
        if type(layer) is keras.layers.Dense:
            return self._convolution(node, vector.size)(args[0]), _Vector(vector.maps, _SINGLE)
        if isinstance(layer, _RESHAPING):
            if node.outputs[0].shape[-1] != math.prod(node.inputs[0].shape[1:]):
                _refuse(node, "changes the shape of a vector")
            return args[0], vector
        if vector.size != _SINGLE and not _takes_each_number(node):
            _refuse(node, "is between Flatten and the first Dense layer: move it before Flatten")
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs), vector
        if type(layer) is keras.layers.Conv2D:
            self.kernels += 1
        twin = self._make_once(node, _SINGLE, lambda: _copy_for_last_axis(node))
        fresh = not twin.built
        outputs = twin(*args, **kwargs)
        if fresh:
            twin.set_weights(layer.get_weights())
        return outputs, vector

    def _convolution(self, node: Node, size: tuple[int, int]) -> Any:
        """Return the convolution that replaces a dense layer."""
        layer = node.operation
        if getattr(layer, "quantization_mode", None):
            _refuse(node, "has quantized weights: convert the model before quantizing it")
        self.kernels += 1
        return self._make_once(node, size, lambda: _as_convolution(layer, size))

    def _make_once(self, node: Node, size: tuple[int, int], make: Any) -> Any:
        key = (id(node.operation), size)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class _Head:
    """The calls between a model's last maps and its outputs.

    Args:
        graph: The model's graph.

    Attributes:
        nodes: Ids of these calls.
        begins: Calls that turn maps into vectors.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[int, bool] = {}
        self.nodes: set[int] = set()
        self.begins: list[Node] = []
        ends = list(graph.model.outputs)
        for end in ends:
            if not self._is_vector(end) and len(end.shape) != 4:
                self._refuse_road(end)
        while ends:
            node = graph.maker(ends.pop())
            if node is None or id(node) in self.nodes or not self._is_vector(node.outputs[0]):
                continue
            self.nodes.add(id(node))
            before = [tensor for tensor in node.inputs if self._is_vector(tensor)]
            ends.extend(before)
            if not before:
                self.begins.append(node)

    def _is_vector(self, tensor: Any) -> bool:
        """Whether maps reach a tensor only through a layer that turns them into vectors.

        Vectors may be 1x1 maps, as after GlobalAveragePooling2D(keepdims=True). Other maps may
        happen to be that small, but do not count as vectors.
        """
        if id(tensor) not in self._known:
            self._known[id(tensor)] = self._is_vector_made_by(self._graph.maker(tensor), tensor)
        return self._known[id(tensor)]

    def _is_vector_made_by(self, node: Node | None, tensor: Any) -> bool:
        if node is None or not node.inputs:
            return False
        if type(node.operation) in _POOLINGS:
            return True
        if len(tensor.shape) == 2:
            return len(node.inputs[0].shape) == 4 or all(map(self._is_vector, node.inputs))
        if len(tensor.shape) == 4 and _is_single(tensor) and _takes_each_vector(node):
            return all(map(self._is_vector, node.inputs))
        return False

    def _refuse_road(self, tensor: Any) -> NoReturn:
        """Raise an error that names the first unsupported layer between the maps and the output."""
        node = self._graph.maker(tensor)
        while node is not None:
            before = [t for t in node.inputs if len(t.shape) != 4 and not self._is_vector(t)]
            maker = self._graph.maker(before[0]) if before else None
            if maker is None:
                _refuse(node, "is between the maps and the output")
            node = maker
        raise ValueError("dense_as_conv: an output of the model is its input.")


def _check(graph: Graph) -> None:
    """Raise ValueError for inputs or data formats that the conversion does not support."""
    model = graph.model
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = [tensor.shape[1:] for tensor in model.inputs]
        raise ValueError(
            f"dense_as_conv: model {model.name!r} must have one image input (height, width, "
            f"channels). Received: {', '.join(map(str, shapes))}"
        )
    for node in graph.nodes:
        if getattr(node.operation, "data_format", None) == "channels_first":
            _refuse(node, "has channels first: build the model with channels last")


def _refuse_without_dense(graph: Graph, head: _Head) -> NoReturn:
    model = graph.model
    text = f"dense_as_conv: model {model.name!r} has no Dense layer after its maps, so "
    if not head.begins:
        raise ValueError(
            text + "it is already convolutional. Build it for (None, None, channels) and set its "
            "weights."
        )
    begin = head.begins[0]
    maps = graph.maker(begin.inputs[0])
    raise ValueError(
        text
        + f"its scores come from layer {begin.name!r} alone. The maps before that layer already "
        "are a map of scores: keras.Model(model.inputs, model.get_layer("
        f"{maps.name if maps else 'name'!r}).output)"
    )


def _refuse(node: Node, reason: str) -> NoReturn:
    raise ValueError(
        f"dense_as_conv: layer {node.name!r} ({_class_name(node)}) {reason}. Supported after the "
        "maps are Flatten or global pooling, then Dense layers, Dropout, activations and "
        "normalizations along the last axis. Omit other layers with "
        "keras.Model(model.inputs, a tensor before them), or convert before they are added."
    )


def _takes_each_number(node: Node) -> bool:
    """Whether a call is elementwise."""
    layer = node.operation
    if not isinstance(layer, keras.layers.Layer):
        known = type(layer).__module__.startswith("keras.") and _class_name(node) in _OPERATIONS
        values = (*node.args, *node.kwargs.values())
        return known and all(
            isinstance(value, keras.KerasTensor) or np.size(value) == 1 for value in values
        )
    if isinstance(layer, keras.layers.Activation) and layer.activation in _OVER_VECTORS:
        return False
    return type(layer) in _BY_NUMBER or (
        type(layer) in _MERGING and not isinstance(layer, keras.layers.Concatenate)
    )


def _takes_each_vector(node: Node) -> bool:
    """Whether a call computes the vector along the last axis of each position independently."""
    layer = node.operation
    if type(layer) is keras.layers.Conv2D:
        return bool(layer.kernel_size == layer.strides == _SINGLE)
    known = (keras.layers.Dense, keras.layers.Activation, *_RESHAPING, *_BY_VECTOR, *_MERGING)
    return type(layer) in known or _takes_each_number(node)


def _copy_for_last_axis(node: Node) -> Any:
    """Return a copy of a layer, without its weights, that accepts a vector at each position."""
    if not _takes_each_vector(node):
        _refuse(node, "is not supported on a vector at each position")
    layer = node.operation
    config = arguments(layer)
    if "axis" in config:
        last = len(node.inputs[0].shape) - 1
        if any(axis not in (-1, last) for axis in tree.flatten(config["axis"])):
            _refuse(node, f"works along axis {config['axis']}, not along the channels")
        config["axis"] = -1
    return type(layer).from_config(config)


def _sliding_pooling(layer: Any, size: tuple[int, int]) -> Any:
    return _POOLINGS[type(layer)](
        size, strides=1, data_format="channels_last", name=layer.name, dtype=layer.dtype_policy
    )


def _as_convolution(layer: Any, size: tuple[int, int]) -> Any:
    """Return a built convolution with the weights of a dense layer on flattened maps of `size`."""
    kernel = ops.convert_to_numpy(layer.kernel)
    channels = kernel.shape[0] // math.prod(size)
    convolution = keras.layers.Conv2D(
        layer.units,
        size,
        data_format="channels_last",
        activation=layer.activation,
        use_bias=layer.use_bias,
        kernel_initializer=layer.kernel_initializer,
        bias_initializer=layer.bias_initializer,
        kernel_regularizer=layer.kernel_regularizer,
        bias_regularizer=layer.bias_regularizer,
        activity_regularizer=layer.activity_regularizer,
        bias_constraint=layer.bias_constraint,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    convolution.build((None, None, None, channels))
    # Flatten orders values by row, column and channel, like the axes of a kernel.
    weights = [kernel.reshape(*size, channels, layer.units)]
    if layer.use_bias:
        weights.append(ops.convert_to_numpy(layer.bias))
    convolution.set_weights(weights)
    return convolution


def _is_single(tensor: Any) -> bool:
    return tuple(tensor.shape[1:3]) == _SINGLE


def _tensors(value: Any) -> list[Any]:
    return [item for item in tree.flatten(value) if isinstance(item, keras.KerasTensor)]


def _class_name(node: Node) -> str:
    return type(node.operation).__name__
