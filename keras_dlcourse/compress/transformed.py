"""Add transforms to the kernels of a model, and remove them again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras

from keras_dlcourse.graph.flat import Graph, Node, flat_copy
from keras_dlcourse.graph.kernel_layers import DEPTHWISE, KERNEL_LAYERS, open_composite
from keras_dlcourse.graph.skipping import Skip
from keras_dlcourse.layers import ClusterWeight, PruneWeight, WeightTransform, compressed


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer with a kernel, as used in a graph.

    Attributes:
        layer: The layer.
        inputs: The kernel's input-channel axis.
        outputs: The kernel's output-channel axis.
        uses: Number of times the graph calls the layer.
    """

    layer: Any
    inputs: int
    outputs: int
    uses: int

    @property
    def is_depthwise(self) -> bool:
        """Whether each filter sees only one channel."""
        return isinstance(self.layer, DEPTHWISE)

    @property
    def transforms(self) -> list[WeightTransform]:
        """The transforms already applied to the kernel."""
        found = getattr(self.layer, "weight_transforms", {})
        return list(found.get("kernel", []))

    @property
    def values(self) -> Any:
        """The kernel as used by the layer, in float32."""
        if self.transforms:
            return self.layer.transform_weight("kernel")
        return keras.ops.cast(self.layer.kernel, "float32")


def open_except(model: keras.Model, names: Iterable[str]) -> tuple[Graph, set[str]]:
    """Return the flat graph of an independent copy, and the names of nodes to leave unchanged.

    Args:
        model: A model.
        names: Names of layers, composite layers and nested models; `*` is a wildcard. Composite
            layers and nested models stay whole, so that their kernels are not visited.

    Raises:
        TypeError: If `names` is a string.
        ValueError: If a name matches nothing.
    """
    if isinstance(names, str):
        raise TypeError(f"skip must be a list of layer names. Received: the string {names!r}")
    skip = Skip(tuple(names))
    graph = Graph(flat_copy(model, open_composite, skip))
    left_out = {node.name for node in graph.nodes if skip(node.name)}
    skip.check(model.name)
    return graph, left_out


def kernels(graph: Graph) -> list[Kernel]:
    """Return the layers of a graph that have kernels to transform, in order."""
    uses: dict[int, int] = {}
    for node in graph.nodes:
        uses[id(node.operation)] = uses.get(id(node.operation), 0) + 1
    layers = {id(node.operation): node.operation for node in graph.nodes}
    found = []
    for key, layer in layers.items():
        for kind, inputs, outputs in KERNEL_LAYERS:
            if getattr(layer, "keras_class", type(layer)) is kind:
                found.append(Kernel(layer, inputs, outputs, uses[key]))
    return found


def add_transforms(
    graph: Graph, transforms: Callable[[Kernel], WeightTransform | None]
) -> keras.Model:
    """Return a model with one more transform on its kernels.

    Args:
        graph: The graph of a copy that is used nowhere else.
        transforms: Returns the transform for a kernel, or None to leave the layer unchanged.

    Returns:
        A functional model, otherwise with the same layers.
    """
    swapped: dict[int, Any] = {}
    for kernel in kernels(graph):
        transform = transforms(kernel)
        if transform is not None:
            swapped[id(kernel.layer)] = compressed(kernel.layer, {"kernel": [transform]})
    return _swap_layers(graph, swapped)


def strip(model: keras.Model) -> keras.Model:
    """Return a copy with pruning and clustering made permanent, in plain layers.

    Outputs stay the same. Zeros and clusters become ordinary values of the weights, so further
    training does not preserve them. Quantization-aware layers keep rounding.

    Args:
        model: A model returned by `prune` or `cluster`, or one derived from it.

    Returns:
        A model with the same inputs and outputs.

    Raises:
        ValueError: If nothing in the model is pruned or clustered.

    Warns:
        UserWarning: If a pruning schedule has not reached its sparsity.

    Example:
        >>> import keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> plain = strip(kd.compress.prune(model, 0.5))
        >>> int((plain.layers[1].kernel.numpy() == 0).sum())
        6
    """
    graph = Graph(flat_copy(model, lambda layer: None))
    swapped = {}
    for kernel in kernels(graph):
        if any(
            isinstance(transform, PruneWeight | ClusterWeight) for transform in kernel.transforms
        ):
            swapped[id(kernel.layer)] = _strip_kernel(kernel)
    if not swapped:
        raise ValueError(f"model {model.name!r} has no pruned or clustered layer.")
    unfinished = find_unfinished_schedules(graph)
    if unfinished:
        warnings.warn(
            f"Pruning is not finished: {'; '.join(unfinished)}. Train longer, or set an earlier "
            "end_step.",
            stacklevel=2,
        )
    return _swap_layers(graph, swapped)


def find_unfinished_schedules(graph: Graph) -> list[str]:
    """Return a description of each layer whose pruning schedule is not finished."""
    return [
        f"{kernel.layer.name} is at step {transform.step} of {transform.schedule.last_step + 1}"
        for kernel in kernels(graph)
        for transform in kernel.transforms
        if isinstance(transform, PruneWeight) and not transform.is_finished
    ]


def _strip_kernel(kernel: Kernel) -> keras.layers.Layer:
    """Return a layer without pruning and clustering; other transforms stay."""
    layer = kernel.layer
    plain = layer.bake()
    rest = {
        name: [t for t in transforms if not isinstance(t, PruneWeight | ClusterWeight)]
        for name, transforms in layer.weight_transforms.items()
    }
    if not any(rest.values()):
        return plain
    weight = layer.kernel.value
    for transform in kernel.transforms:
        if isinstance(transform, PruneWeight | ClusterWeight):
            weight = transform(weight)
    plain.kernel.assign(weight)
    return compressed(plain, {name: transforms for name, transforms in rest.items() if transforms})


def _swap_layers(graph: Graph, swapped: dict[int, Any]) -> keras.Model:
    def call(node: Node, args: Any, kwargs: Any) -> Any:
        return swapped.get(id(node.operation), node.operation)(*args, **kwargs)

    return graph.rebuild(call)
