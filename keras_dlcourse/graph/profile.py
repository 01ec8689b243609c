"""Cost of a network by layer: weights, multiply-adds, memory and receptive field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_dlcourse import layers as our_layers
from keras_dlcourse._tables import text_table
from keras_dlcourse.graph.flat import Graph, Node, skeleton
from keras_dlcourse.graph.receptive_field import ReceptiveField, fields, image_size_of
from keras_dlcourse.graph.running import Network
from keras_dlcourse.graph.seeing import is_channels_first, is_pointwise

BYTES = 4  # per float32 value


@dataclass(frozen=True)
class LayerProfile:
    """One call of a layer.

    Attributes:
        name: Name of the layer; names of parts of a composite layer begin with that layer's name.
        kind: Class of the layer.
        output_shape: Shape of the output, without the batch.
        parameters: Number of weights, trainable or not; 0 from the second call of a layer on.
        multiply_adds: Number of multiplications, each with an addition, for one example; None if
            the layer type is unknown.
        activation_bytes: Bytes of the output in float32; 0 if it is computed in place.
        receptive_field: Receptive field of its positions; None if there is no image.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    multiply_adds: int | None
    activation_bytes: int
    receptive_field: ReceptiveField | None


@dataclass(frozen=True)
class Profile:
    """Cost of a network for one example. It prints as a table.

    Attributes:
        name: Name of the model.
        layers: One row for each call of a layer, in the order of computation.
        input_bytes: Bytes of the inputs in float32.
        peak_bytes: Maximum memory for activations at any time when layers are computed in that
            order, in float32: inputs and outputs of the current layer, and tensors that later
            layers need. Weights are not included.
    """

    name: str
    layers: tuple[LayerProfile, ...]
    input_bytes: int
    peak_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights, trainable or not."""
        return sum(row.parameters for row in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all layers of known type; `unknown` names the others."""
        return sum(row.multiply_adds or 0 for row in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the inputs and of all layer outputs, which training keeps in memory."""
        return self.input_bytes + sum(row.activation_bytes for row in self.layers)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of layers whose multiply-adds are unknown."""
        return tuple(row.name for row in self.layers if row.multiply_adds is None)

    def shares(self) -> dict[str, float]:
        """Return the fraction of the weights in each layer type, largest first."""
        totals: dict[str, int] = {}
        for row in self.layers:
            totals[row.kind] = totals.get(row.kind, 0) + row.parameters
        found = {kind: count / self.parameters for kind, count in totals.items() if count}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        rows = [
            [
                row.name,
                row.kind,
                " x ".join(map(str, row.output_shape)),
                row.parameters,
                row.multiply_adds,
                row.activation_bytes,
                _describe_field(row.receptive_field),
            ]
            for row in self.layers
        ]
        table = text_table(
            ["layer", "kind", "output", "weights", "multiply-adds", "bytes", "receptive field"],
            rows,
            width=140,
        )
        total = (
            f"{self.name}: {self.parameters:,} weights, {self.multiply_adds:,} multiply-adds, "
            f"{self.peak_bytes:,} bytes of activations at peak"
        )
        return f"{table}\n\n{total}"


def profile(model: keras.Model, *, image_size: tuple[int, int] | None = None) -> Profile:
    """Compute the cost of each layer of a model.

    As in papers, multiply-adds of convolutions and dense layers are counted; those of biases,
    activations, pooling and batch normalization, which a converter folds, are not. Composite layers
    and nested models are opened. Elementwise layers that are the only users of their input are
    computed in place and need no memory, as in device runtimes.

    Args:
        model: A built functional or Sequential model. Its weights need no values; see the example.
        image_size: Height and width of the image, for a model with an open image size.

    Returns:
        A `Profile`. Print it, or read `layers`, `multiply_adds`, `peak_bytes` or `shares()`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is subclassed or unbuilt, or its image size is open and `image_size`
            is None.

    Example:
        >>> with keras.StatelessScope(initialize_variables=False):  # needs no memory for weights
        ...     model = keras.applications.VGG16(weights=None)
        >>> costs = profile(model)
        >>> round(costs.multiply_adds / 1e9, 1), round(costs.shares()["Dense"], 3)
        (15.5, 0.894)
        >>> costs.layers[2].name, costs.layers[2].receptive_field.size
        ('block1_pool', (6, 6))

    Reference:
        Multiply-adds as in Howard et al., "MobileNets", 2017, section 3.1,
        https://arxiv.org/abs/1704.04861
    """
    flat = skeleton(model, _open_shape(model, image_size))
    graph, network = Graph(flat), Network(flat)
    seen = _fields(network)
    counted: set[int] = set()
    rows = []
    for node in graph.nodes:
        is_new = id(node.operation) not in counted
        counted.add(id(node.operation))
        rows.append(
            LayerProfile(
                name=node.name,
                kind=_kind(node.operation),
                output_shape=tuple(node.outputs[0].shape[1:]),
                parameters=_parameters(node.operation) if is_new else 0,
                multiply_adds=_multiply_adds(node),
                activation_bytes=0 if _is_in_place(graph, node) else _bytes(node.outputs),
                receptive_field=seen.get(id(node.outputs[0])),
            )
        )
    return Profile(model.name, tuple(rows), _bytes(flat.inputs), _peak(graph))


def _open_shape(
    model: keras.Model, image_size: tuple[int, int] | None
) -> tuple[int | None, ...] | None:
    """Return the input shape with open sizes filled in; None if no size is open."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return None  # several inputs, or not an image
    height, width = image_size_of(model, image_size, 0)
    if None not in shape[1:]:
        return None
    return (shape[1], height, width) if is_channels_first() else (height, width, shape[3])


def _fields(network: Network) -> dict[int, ReceptiveField]:
    images = [number for number, x in enumerate(network.model.inputs) if len(x.shape) == 4]
    if len(images) != 1:
        return {}
    found = fields(network, image_size_of(network.model, None, images[0]), images[0])
    return {id(place.node.outputs[0]): field for place, field in found.items()}


def _describe_field(field: ReceptiveField | None) -> str:
    if field is None:
        return ""
    return "all" if field.whole else " x ".join(map(str, field.size))


def _kind(operation: Any) -> str:
    return str(getattr(operation, "keras_class", type(operation)).__name__)


def _parameters(operation: Any) -> int:
    return sum(math.prod(weight.shape) for weight in getattr(operation, "weights", ()))


def _bytes(tensors: Any) -> int:
    return sum(BYTES * math.prod(tensor.shape[1:]) for tensor in tensors)


def _is_in_place(graph: Graph, node: Node) -> bool:
    """Whether the output can overwrite the input."""
    alone = isinstance(node.operation, _RESHAPED) or is_pointwise(node.operation)
    kept = [x for x in node.inputs if not graph.is_output(x) and len(graph.users(x)) == 1]
    same = [x for x in kept if math.prod(x.shape[1:]) == math.prod(node.outputs[0].shape[1:])]
    return alone and bool(same) and not isinstance(node.operation, layers.Dense)


def _peak(graph: Graph) -> int:
    """Return the maximum number of bytes that are in use at any time."""
    last = {id(x): number for number, node in enumerate(graph.nodes) for x in node.inputs}
    alive = {id(x): _bytes([x]) for x in graph.model.inputs}
    peak = sum(alive.values())
    for number, node in enumerate(graph.nodes):
        done = [id(x) for x in node.inputs if last[id(x)] == number and not graph.is_output(x)]
        if _is_in_place(graph, node):
            for key in done[:1]:
                alive.pop(key, None)
        alive.update({id(x): _bytes([x]) for x in node.outputs})
        peak = max(peak, sum(alive.values()))
        for key in done:
            alive.pop(key, None)
        for x in node.outputs:
            if not graph.users(x) and not graph.is_output(x):
                alive.pop(id(x), None)
    return peak


def _positions(tensor: Any, layer: Any) -> int:
    """Return the number of positions of feature maps, rows times columns."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(tensor.shape[2:] if first else tensor.shape[1:-1])


def _multiply_adds(node: Node) -> int | None:
    layer = node.operation
    for kinds, count in _COUNTS:
        if isinstance(layer, kinds):
            return count(layer, node)
    known = not getattr(layer, "weights", ()) or is_pointwise(layer)
    return 0 if known and type(layer).__name__ not in _PRODUCTS else None


def _count_kernel(layer: Any, node: Node) -> int:
    """Count a kernel that is applied once per output position."""
    return math.prod(layer.kernel.shape) * _positions(node.outputs[0], layer)


def _count_transposed(layer: Any, node: Node) -> int:
    """Count a transposed kernel, which is applied once per input position."""
    return math.prod(layer.kernel.shape) * _positions(node.inputs[0], layer)


def _count_separable(layer: Any, node: Node) -> int:
    each = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return each * _positions(node.outputs[0], layer)


def _count_codes(layer: Any, node: Node) -> int:
    return math.prod(layer.codes.shape) * _positions(node.outputs[0], layer)


def _count_filter(layer: Any, node: Node) -> int:
    """Count a local filter, which applies its whole window to each channel at each position."""
    places = _positions(node.outputs[0], layer)
    return math.prod(layer.window) * node.inputs[0].shape[-1] * places


_COUNTS: tuple[tuple[tuple[type, ...], Callable[[Any, Node], int]], ...] = (
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _count_transposed),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _count_separable),
    (
        (
            layers.Conv1D,
            layers.Conv2D,
            layers.Conv3D,
            layers.DepthwiseConv1D,
            layers.DepthwiseConv2D,
            layers.Dense,
            our_layers.CosineDense,
            our_layers.SparseConnectedConv2D,
        ),
        _count_kernel,
    ),
    ((our_layers.RadialBasisOutput,), _count_codes),
    ((our_layers.LocalFilter2D,), _count_filter),
    ((layers.LayerNormalization, layers.GroupNormalization), lambda layer, node: 0),
)
# Operations of keras.ops, and layers without weights, that multiply tensors.
_PRODUCTS = frozenset({"Conv", "DepthwiseConv", "Dot", "Einsum", "Matmul", "Tensordot",
                       "DotProductAttention", "Attention", "AdditiveAttention"})  # fmt: skip
_RESHAPED = (layers.Flatten, layers.Reshape)
