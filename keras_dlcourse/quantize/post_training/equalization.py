"""Cross-layer equalization: give channels similar magnitudes, so that one range fits them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.graph.kernel_layers import open_layers
from keras_dlcourse.layers._remade import activation_name, remake_layer

ROUNDS = 20  # pairs overlap and affect each other; magnitudes converge within a few rounds
CLOSE = 1e-3
_HOMOGENEOUS = ("linear", "relu", "leaky_relu")
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_KERNELS = (*_DEPTHWISE, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense)
# Each output channel depends only on the same input channel, and scales with it.
_TRANSPARENT = (
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D, keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D,
    keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.Dropout,
    keras.layers.SpatialDropout2D, keras.layers.Flatten, keras.layers.UpSampling2D,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers with kernels whose shared channels can be rescaled.

    Attributes:
        first: The layer that writes the channels.
        second: The layer that reads them.
        between: The calls between the two layers.
    """

    first: Any
    second: Any
    between: tuple[Node, ...]


def equalize(model: keras.Model, *, replace_relu6: bool = True) -> keras.Model:
    """Return a copy in which the channels between layers have similar magnitudes.

    A channel's factor can move from one kernel to the next through an activation that scales with
    its input, such as ReLU. Each factor is chosen so that the largest weight that writes the
    channel equals the largest that reads it; then no channel dominates the range of an activation.
    Batch normalization is folded first and composite layers are expanded.

    ReLU6 does not scale: its corner stays at 6. As in the paper, it is replaced by ReLU between
    equalized layers, which changes outputs where a value was above 6; check the accuracy.

    Args:
        model: A built functional or Sequential model. It is not modified.
        replace_relu6: Whether to replace ReLU6 by ReLU. If False, pairs with ReLU6 between them
            are not equalized, and outputs stay the same up to float32 rounding.

    Returns:
        A flat functional model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is subclassed or unbuilt.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...     keras.layers.ReLU(), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
        >>> images = np.ones((1, 8, 8, 3))
        >>> bool(np.allclose(model(images), equalize(model)(images), atol=1e-5))
        True

    Reference:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
        ICCV 2019, section 4.1, https://arxiv.org/abs/1906.04721
    """
    graph = Graph(fold_batch_norm(open_layers(model).model))
    pairs = list(find_pairs(graph, replace_relu6))
    for _ in range(ROUNDS):
        if max((_even_out(pair) for pair in pairs), default=0.0) < CLOSE:
            break
    swapped = {id(node): node for pair in pairs for node in pair.between}
    firsts = {id(pair.first) for pair in pairs}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.operation
        if (id(node) in swapped or id(layer) in firsts) and _find_activation(layer) == "relu6":
            layer = _replace_relu6(layer)
        return layer(*args, **kwargs)

    return graph.rebuild(call)


def find_pairs(graph: Graph, through_relu6: bool = False) -> Iterator[Pair]:
    """Yield the pairs of layers in a graph whose shared channels can be rescaled.

    Args:
        graph: A flat graph with batch normalization folded.
        through_relu6: Whether ReLU6 may lie between the two layers.
    """
    allowed = (*_HOMOGENEOUS, "relu6") if through_relu6 else _HOMOGENEOUS
    for node in graph.nodes:
        if not _can_scale(graph, node) or _find_activation(node.operation) not in allowed:
            continue
        between = []
        following = graph.only_user(node)
        while following is not None and _passes(following, allowed):
            between.append(following)
            following = graph.only_user(following)
        if following is not None and _can_scale(graph, following):
            yield Pair(node.operation, following.operation, tuple(between))


def _can_scale(graph: Graph, node: Node) -> bool:
    layer = node.operation
    grouped = getattr(layer, "groups", 1) != 1
    return type(layer) in _KERNELS and not grouped and len(graph.calls(layer)) == 1


def _passes(node: Node, allowed: tuple[str, ...]) -> bool:
    layer = node.operation
    if len(node.inputs) != 1:
        return False
    if isinstance(layer, keras.layers.Activation | keras.layers.ReLU | keras.layers.LeakyReLU):
        return _find_activation(layer) in allowed
    return isinstance(layer, _TRANSPARENT) and getattr(layer, "data_format", "") != "channels_first"


def _find_activation(layer: Any) -> str:
    """Return the name of a layer's activation function."""
    if isinstance(layer, keras.layers.LeakyReLU):
        return "leaky_relu"
    if isinstance(layer, keras.layers.ReLU):
        if layer.threshold:
            return "threshold"
        limits = {None: "leaky_relu" if layer.negative_slope else "relu", 6.0: "relu6"}
        return limits.get(layer.max_value, "clipped")
    return activation_name(getattr(layer, "activation", None))


def _replace_relu6(layer: Any) -> Any:
    """Return the layer with ReLU in place of ReLU6."""
    if isinstance(layer, keras.layers.ReLU):
        return keras.layers.ReLU(dtype=layer.dtype_policy, name=layer.name)
    twin = remake_layer(layer, activation="relu")
    if layer.weights:
        twin.build_from_config(layer.get_build_config())
        twin.set_weights(layer.get_weights())
    return twin


def _even_out(pair: Pair) -> float:
    """Rescale the channels between two layers; return the largest change, or 0 for none."""
    first, second = pair.first, pair.second
    written = _by_output(first)
    read = _by_input(second, len(written))
    sizes = np.abs(written).max(1), np.abs(read).max(1)
    usable = (sizes[0] > 0) & (sizes[1] > 0)  # an all-zero channel has no magnitude
    factor = np.ones(len(written))
    factor[usable] = np.sqrt(sizes[0][usable] / sizes[1][usable])
    first.kernel.assign(_from_output(first, written / factor[:, None]))
    if first.use_bias:
        first.bias.assign(ops.convert_to_numpy(first.bias) / factor)
    second.kernel.assign(_from_input(second, read * factor[:, None]))
    return float(np.abs(np.log(factor)).max())


def _by_output(layer: Any) -> np.ndarray:
    """Return the kernel as a matrix with one row per channel that the layer writes."""
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    if isinstance(layer, _DEPTHWISE):  # (..., channels, multiplier)
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).T
    return kernel.reshape(-1, kernel.shape[-1]).T


def _from_output(layer: Any, rows: np.ndarray) -> np.ndarray:
    return rows.T.reshape(layer.kernel.shape)


def _by_input(layer: Any, channels: int) -> np.ndarray:
    """Return the kernel as a matrix with one row per channel that the layer reads.

    After a Flatten, the rows of a dense kernel repeat the channels for each position.
    """
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    placed = kernel.reshape(-1, channels, kernel.shape[-1])
    return np.moveaxis(placed, 1, 0).reshape(channels, -1)


def _from_input(layer: Any, rows: np.ndarray) -> np.ndarray:
    placed = rows.reshape(len(rows), -1, layer.kernel.shape[-1])
    return np.moveaxis(placed, 0, 1).reshape(layer.kernel.shape)
