"""Find the channels of a network that belong together, so that they can only be removed together.

Each filter of a convolution or dense layer creates a channel with a unique number. Every tensor of
the graph is described by the numbers of its channels along its last axis: batch normalization,
activations, pooling and depthwise convolutions pass them on, concatenation concatenates them, and
flattening repeats them. Addition merges two channels into one. A channel is fixed if something that
cannot be made narrower needs it: an output of the model, a softmax, or an unknown operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.layers import ImageDescription, OutputDescription
from keras_dlcourse.layers.compression.compressed import CompressedLayer

_layers = keras.layers
Numbers = np.ndarray
"""Channel numbers, one for each index of a tensor's last axis."""

PRODUCERS = (
    _layers.Conv1D,
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.Conv1DTranspose,
    _layers.Conv2DTranspose,
    _layers.Dense,
)
MIXING_ACTIVATIONS = ("softmax", "log_softmax", "sparsemax", "glu")


class Channels:
    """The channels of a graph.

    Args:
        graph: A flat graph.

    Attributes:
        producers: Layers that create channels, with their output channels, by `id(layer)`.
        inputs: Input channels of each layer, by `id(layer)`.
        outputs: Output channels of each layer, by `id(layer)`.
    """

    def __init__(self, graph: Graph) -> None:
        self.producers: dict[int, tuple[Any, Numbers]] = {}
        self.inputs: dict[int, Numbers] = {}
        self.outputs: dict[int, Numbers] = {}
        self._parents: list[int] = []
        self._fixed: list[tuple[Numbers, str]] = []
        self._of: dict[int, Numbers] = {}
        for tensor in graph.model.inputs:
            self._of[id(tensor)] = self.add_fixed(tensor, "it is an input of the model")
        for node in graph.nodes:
            self._follow(node)
        for tensor in graph.model.outputs:
            self.fix(self._of[id(tensor)], "it is an output of the model")
        self.roots = np.array([self._root(number) for number in range(len(self._parents))], int)
        self.reasons: dict[int, str] = {}
        for numbers, reason in self._fixed:
            for number in numbers:
                self.reasons.setdefault(int(self.roots[number]), reason)

    def of(self, tensor: Any) -> Numbers:
        """Return the channels of a tensor."""
        return self._of[id(tensor)]

    def add(self, count: int) -> Numbers:
        """Return new channels."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def add_fixed(self, tensor: Any, reason: str) -> Numbers:
        """Return new channels for a tensor, none of which may be removed."""
        numbers = self.add(tensor.shape[-1] or 0 if tensor.shape else 0)
        self.fix(numbers, reason)
        return numbers

    def fix(self, numbers: Numbers, reason: str) -> None:
        """Mark channels, and all that are merged with them, as not removable."""
        self._fixed.append((numbers, reason))

    def unite(self, some: Numbers, others: Numbers) -> None:
        """Merge pairs of channels."""
        for one, other in zip(some, others, strict=True):
            self._parents[self._root(int(one))] = self._root(int(other))

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _follow(self, node: Node) -> None:
        """Find the channels of a node's outputs."""
        operation = node.operation
        if isinstance(operation, CompressedLayer):
            raise ValueError(
                f"layer {node.name!r} is already pruned, clustered or quantized. Remove filters "
                "before that, or call strip(model)."
            )
        rule = RULES.get(type(operation)) or _operation_rule(operation)
        numbers = rule(self, node) if rule is not None else None
        if numbers is None:
            reason = f"{node.name} ({type(operation).__name__}) is not supported"
            for tensor in node.inputs:
                self.fix(self.of(tensor), reason)
            for tensor in node.outputs:
                self._of[id(tensor)] = self.add_fixed(tensor, reason)
            return
        (tensor,) = node.outputs
        self._of[id(tensor)] = numbers
        first = self.of(node.inputs[0])
        for ends, now in ((self.inputs, first), (self.outputs, numbers)):
            before = ends.setdefault(id(operation), now)
            if before is not now:  # a shared layer, whose weights are used by both calls
                self.unite(before, now)


Rule = Callable[[Channels, Node], "Numbers | None"]


def _follow_kernel(channels: Channels, node: Node) -> Numbers | None:
    layer = node.operation
    if getattr(layer, "groups", 1) != 1 or not _is_channels_last(layer):
        return None
    if id(layer) not in channels.producers:
        made = channels.add(layer.units if hasattr(layer, "units") else layer.filters)
        channels.producers[id(layer)] = (layer, made)
    made = channels.producers[id(layer)][1]
    if not acts_alone(layer.activation):
        channels.fix(made, f"the activation of {layer.name} compares channels")
    return made


def _follow_depthwise(channels: Channels, node: Node) -> Numbers | None:
    layer = node.operation
    if not _is_channels_last(layer) or not acts_alone(layer.activation):
        return None
    return np.repeat(channels.of(node.inputs[0]), layer.depth_multiplier)


def _pass_on(channels: Channels, node: Node) -> Numbers | None:
    if not _is_channels_last(node.operation) or len(node.inputs) != 1:
        return None
    return channels.of(node.inputs[0])


def _follow_activation(channels: Channels, node: Node) -> Numbers | None:
    return _pass_on(channels, node) if acts_alone(node.operation.activation) else None


def _follow_normalization(channels: Channels, node: Node) -> Numbers | None:
    rank = len(node.inputs[0].shape)
    axis = node.operation.axis
    if np.ndim(axis) or axis % rank != rank - 1:
        return None
    return _pass_on(channels, node)


def _follow_rescaling(channels: Channels, node: Node) -> Numbers | None:
    layer = node.operation
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        return None
    return _pass_on(channels, node)


def _follow_flatten(channels: Channels, node: Node) -> Numbers | None:
    places = node.inputs[0].shape[1:-1]
    if None in places or not _is_channels_last(node.operation):
        return None
    return np.tile(channels.of(node.inputs[0]), int(np.prod(places, dtype=int)))


def _follow_reshape(channels: Channels, node: Node) -> Numbers | None:
    """Support reshaping that keeps the last axis, or flattens."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before[-1] == after[-1] and before[-1] is not None:
        return channels.of(node.inputs[0])
    return _follow_flatten(channels, node) if len(after) == 2 else None


def _unite_inputs(channels: Channels, node: Node) -> Numbers | None:
    """Merge the channels of channelwise operations such as Add, Multiply and Maximum."""
    result, *others = sorted((channels.of(t) for t in node.inputs), key=len, reverse=True)
    for numbers in others:
        if len(numbers) == len(result):
            channels.unite(numbers, result)
        elif len(numbers) == 1:  # one value for all channels
            channels.fix(numbers, f"{node.name} broadcasts it to all channels")
        else:
            return None
    return result


def _concatenate(channels: Channels, node: Node) -> Numbers | None:
    rank = len(node.outputs[0].shape)
    parts = [channels.of(tensor) for tensor in node.inputs]
    if node.operation.axis % rank == rank - 1:
        return np.concatenate(parts)
    for numbers in parts[1:]:
        channels.unite(numbers, parts[0])
    return parts[0]


def acts_alone(activation: Any) -> bool:
    """Whether an activation is known to compute each channel independently."""
    if activation is None:
        return True
    name = getattr(activation, "__name__", "")
    known = getattr(keras.activations, name, None) is activation
    return known and name not in MIXING_ACTIVATIONS


def _is_channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


_HAND_ON = [
    "ReLU LeakyReLU ELU PReLU Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D",
    "GaussianNoise GaussianDropout AlphaDropout ActivityRegularization Identity",
    *(
        f"{kind}Pooling{n}D Global{kind}Pooling{n}D"
        for kind in ("Max", "Average")
        for n in (1, 2, 3)
    ),
    *(f"ZeroPadding{n}D Cropping{n}D UpSampling{n}D" for n in (1, 2, 3)),
]
_UNITE = "Add Subtract Multiply Average Maximum Minimum"

RULES: dict[type, Rule] = {
    **dict.fromkeys(PRODUCERS, _follow_kernel),
    **dict.fromkeys((_layers.DepthwiseConv1D, _layers.DepthwiseConv2D), _follow_depthwise),
    **{getattr(_layers, name): _pass_on for names in _HAND_ON for name in names.split()},
    **{getattr(_layers, name): _unite_inputs for name in _UNITE.split()},
    ImageDescription: _pass_on,
    OutputDescription: _pass_on,
    _layers.Activation: _follow_activation,
    _layers.BatchNormalization: _follow_normalization,
    _layers.Rescaling: _follow_rescaling,
    _layers.Flatten: _follow_flatten,
    _layers.Reshape: _follow_reshape,
    _layers.Concatenate: _concatenate,
}
"""Rules by layer type. A rule returns the output channels of a node, or None if unknown."""

_ALONE = "Relu Relu6 Sigmoid Tanh Silu HardSigmoid HardSilu Gelu Elu LeakyRelu Softplus Absolute"


def _operation_rule(operation: Any) -> Rule | None:
    """Return the rule for an operation of `keras.ops`."""
    name = type(operation).__name__
    if not type(operation).__module__.startswith("keras.src.ops"):
        return None
    if name in _UNITE.split():
        return _unite_tensors
    return _pass_on if name in _ALONE.split() else None


def _unite_tensors(channels: Channels, node: Node) -> Numbers | None:
    constants = [
        value
        for value in tree.flatten((node.args, node.kwargs))
        if not isinstance(value, keras.KerasTensor) and np.ndim(value)
    ]
    return None if constants else _unite_inputs(channels, node)
