"""What a network costs, layer by layer: weights, multiply-adds, memory, and what it sees."""

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
from keras_dlcourse.graph.seeing import channels_first, is_pointwise

BYTES = 4  # of a number in float32


@dataclass(frozen=True)
class LayerProfile:
    """One call of a layer.

    Attributes:
        name: Its name; parts of a composite layer begin with that layer's.
        kind: Its class.
        output_shape: Shape of what comes out, without the batch.
        parameters: Its weights, trained or not; 0 at the second call of a layer.
        multiply_adds: Multiplications, each with an addition, for one example; None if the kind of
            layer is not known here.
        activation_bytes: Bytes of what comes out, in float32; 0 where it takes the place of what
            went in.
        receptive_field: What its positions see of the image; None where there is no image.
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
    """What a network costs for one example. It prints as a table.

    Attributes:
        name: Name of the model.
        layers: One row for each call of a layer, in the order of computation.
        input_bytes: Bytes of the inputs, in float32.
        peak_bytes: The most that is alive at any one time when layers are computed in that order,
            in float32: inputs and outputs of the layer at work and what later ones need. Weights
            do not count.
    """

    name: str
    layers: tuple[LayerProfile, ...]
    input_bytes: int
    peak_bytes: int

    @property
    def parameters(self) -> int:
        """All weights, trained or not."""
        return sum(row.parameters for row in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all layers that are known; `unknown` names the others."""
        return sum(row.multiply_adds or 0 for row in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the inputs and of all that comes out of layers: what training keeps."""
        return self.input_bytes + sum(row.activation_bytes for row in self.layers)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of layers whose multiply-adds are not known."""
        return tuple(row.name for row in self.layers if row.multiply_adds is None)

    def shares(self) -> dict[str, float]:
        """Return which share of the weights each kind of layer has, the largest first."""
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
                _seen(row.receptive_field),
            ]
            for row in self.layers
        ]
        table = text_table(
            ["layer", "kind", "output", "weights", "multiply-adds", "bytes", "sees"],
            rows,
            width=140,
        )
        total = (
            f"{self.name}: {self.parameters:,} weights, {self.multiply_adds:,} multiply-adds, "
            f"{self.peak_bytes:,} bytes of activations at the most"
        )
        return f"{table}\n\n{total}"


def profile(model: keras.Model, *, image_size: tuple[int, int] | None = None) -> Profile:
    """Return what each layer of a model costs.

    Counted are multiply-adds of convolutions and dense layers, as papers do; those of biases,
    activations, pooling and batch normalization, which a converter folds, are not. Composite layers
    and nested models are opened. Layers that work on each number alone and are the only ones to
    see their input write into its place and cost no memory, as on device runtimes.

    Args:
        model: A built functional or Sequential model. It may be without numbers, see the example.
        image_size: Height and width of the image, for a model that takes any size.

    Returns:
        A `Profile`. Print it, or look at `layers`, `multiply_adds`, `peak_bytes`, `shares()`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it is subclassed or unbuilt, or takes images of any size and none is given.

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
    """Return the input shape that an open one is filled up to, None where nothing is open."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return None  # several inputs, or no image
    height, width = image_size_of(model, image_size, 0)
    if None not in shape[1:]:
        return None
    return (shape[1], height, width) if channels_first() else (height, width, shape[3])


def _fields(network: Network) -> dict[int, ReceptiveField]:
    images = [number for number, x in enumerate(network.model.inputs) if len(x.shape) == 4]
    if len(images) != 1:
        return {}
    found = fields(network, image_size_of(network.model, None, images[0]), images[0])
    return {id(place.node.outputs[0]): field for place, field in found.items()}


def _seen(field: ReceptiveField | None) -> str:
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
    """Whether what comes out can take the place of what went in."""
    alone = isinstance(node.operation, _RESHAPED) or is_pointwise(node.operation)
    kept = [x for x in node.inputs if not graph.is_output(x) and len(graph.users(x)) == 1]
    same = [x for x in kept if math.prod(x.shape[1:]) == math.prod(node.outputs[0].shape[1:])]
    return alone and bool(same) and not isinstance(node.operation, layers.Dense)


def _peak(graph: Graph) -> int:
    """Return the most bytes that are alive at a time."""
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
    """Return the number of places of feature maps, rows times columns."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(tensor.shape[2:] if first else tensor.shape[1:-1])


def _multiply_adds(node: Node) -> int | None:
    layer = node.operation
    for kinds, count in _COUNTS:
        if isinstance(layer, kinds):
            return count(layer, node)
    known = not getattr(layer, "weights", ()) or is_pointwise(layer)
    return 0 if known and type(layer).__name__ not in _PRODUCTS else None


def _kernel(layer: Any, node: Node) -> int:
    """A kernel is applied once at each place of what comes out."""
    return math.prod(layer.kernel.shape) * _positions(node.outputs[0], layer)


def _transposed(layer: Any, node: Node) -> int:
    """A transposed one, at each place of what goes in."""
    return math.prod(layer.kernel.shape) * _positions(node.inputs[0], layer)


def _separable(layer: Any, node: Node) -> int:
    each = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return each * _positions(node.outputs[0], layer)


def _codes(layer: Any, node: Node) -> int:
    return math.prod(layer.codes.shape) * _positions(node.outputs[0], layer)


def _filter(layer: Any, node: Node) -> int:
    """Each number of the input is multiplied by all of the kernel."""
    places = _positions(node.outputs[0], layer)
    return math.prod(layer.window) * node.inputs[0].shape[-1] * places


_COUNTS: tuple[tuple[tuple[type, ...], Callable[[Any, Node], int]], ...] = (
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
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
        _kernel,
    ),
    ((our_layers.RadialBasisOutput,), _codes),
    ((our_layers.LocalFilter2D,), _filter),
    ((layers.LayerNormalization, layers.GroupNormalization), lambda layer, node: 0),
)
# Operations of keras.ops and layers without weights of their own that multiply matrices.
_PRODUCTS = frozenset({"Conv", "DepthwiseConv", "Dot", "Einsum", "Matmul", "Tensordot",
                       "DotProductAttention", "Attention", "AdditiveAttention"})  # fmt: skip
_RESHAPED = (layers.Flatten, layers.Reshape)
