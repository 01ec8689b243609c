"""Cross-layer equalization: channels of like size, so that one range fits them all."""

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
from keras_dlcourse.layers._remade import activation_name, remade

ROUNDS = 20  # pairs overlap, so one changes the next; sizes settle within a few rounds
CLOSE = 1e-3
_HOMOGENEOUS = ("linear", "relu", "leaky_relu")
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_KERNELS = (*_DEPTHWISE, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense)
# Each channel of the output is made of the same channel of the input, and scales with it.
_TRANSPARENT = (
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D, keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D,
    keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.Dropout,
    keras.layers.SpatialDropout2D, keras.layers.Flatten, keras.layers.UpSampling2D,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers with kernels, between which each channel can be scaled.

    Attributes:
        first: The layer that writes the channels.
        second: The layer that reads them.
        between: The calls that stand between them.
    """

    first: Any
    second: Any
    between: tuple[Node, ...]


def equalize(model: keras.Model, *, replace_relu6: bool = True) -> keras.Model:
    """Return a copy in which the channels between layers are of like size.

    A factor of a channel can move from one kernel to the next through an activation that scales
    with its input, as ReLU does. Each is chosen so that the largest weights that write and that
    read the channel are equal; then no channel takes an activation's range for itself. Batch
    normalization is folded first and composite layers are opened.

    ReLU6 does not scale: its corner stays at 6. As in the paper it is replaced by ReLU between
    equalized layers, which changes outputs where a number was above 6; check the accuracy.

    Args:
        model: A built functional or Sequential model; left as it was.
        replace_relu6: Whether to replace ReLU6 by ReLU. Otherwise pairs with ReLU6 between them
            stay as they are, and outputs stay the same up to rounding of float32.

    Returns:
        A flat functional model.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it is subclassed or unbuilt.

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
        if (id(node) in swapped or id(layer) in firsts) and _bend(layer) == "relu6":
            layer = _with_relu(layer)
        return layer(*args, **kwargs)

    return graph.rebuild(call)


def find_pairs(graph: Graph, through_relu6: bool = False) -> Iterator[Pair]:
    """Yield the pairs of layers of a graph between which channels can be scaled.

    Args:
        graph: A flat graph with batch normalization folded.
        through_relu6: Whether ReLU6 may stand between them.
    """
    allowed = (*_HOMOGENEOUS, "relu6") if through_relu6 else _HOMOGENEOUS
    for node in graph.nodes:
        if not _can_scale(graph, node) or _bend(node.operation) not in allowed:
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
        return _bend(layer) in allowed
    return isinstance(layer, _TRANSPARENT) and getattr(layer, "data_format", "") != "channels_first"


def _bend(layer: Any) -> str:
    """Return the name of a layer's activation function."""
    if isinstance(layer, keras.layers.LeakyReLU):
        return "leaky_relu"
    if isinstance(layer, keras.layers.ReLU):
        if layer.threshold:
            return "threshold"
        limits = {None: "leaky_relu" if layer.negative_slope else "relu", 6.0: "relu6"}
        return limits.get(layer.max_value, "clipped")
    return activation_name(getattr(layer, "activation", None))


def _with_relu(layer: Any) -> Any:
    """Return the layer with ReLU in place of ReLU6."""
    if isinstance(layer, keras.layers.ReLU):
        return keras.layers.ReLU(dtype=layer.dtype_policy, name=layer.name)
    twin = remade(layer, activation="relu")
    if layer.weights:
        twin.build_from_config(layer.get_build_config())
        twin.set_weights(layer.get_weights())
    return twin


def _even_out(pair: Pair) -> float:
    """Scale the channels between two layers; return the largest change, 0 for none."""
    first, second = pair.first, pair.second
    written = _by_output(first)
    read = _by_input(second, len(written))
    sizes = np.abs(written).max(1), np.abs(read).max(1)
    usable = (sizes[0] > 0) & (sizes[1] > 0)  # a channel of zeros has no size
    factor = np.ones(len(written))
    factor[usable] = np.sqrt(sizes[0][usable] / sizes[1][usable])
    first.kernel.assign(_from_output(first, written / factor[:, None]))
    if first.use_bias:
        first.bias.assign(ops.convert_to_numpy(first.bias) / factor)
    second.kernel.assign(_from_input(second, read * factor[:, None]))
    return float(np.abs(np.log(factor)).max())


def _by_output(layer: Any) -> np.ndarray:
    """Return the kernel as a matrix with a row for each channel that the layer writes."""
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    if isinstance(layer, _DEPTHWISE):  # (..., channels, multiplier)
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).T
    return kernel.reshape(-1, kernel.shape[-1]).T


def _from_output(layer: Any, rows: np.ndarray) -> np.ndarray:
    return rows.T.reshape(layer.kernel.shape)


def _by_input(layer: Any, channels: int) -> np.ndarray:
    """Return the kernel as a matrix with a row for each channel that the layer reads.

    Behind a Flatten, rows of a dense kernel repeat the channels for each place.
    """
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    placed = kernel.reshape(-1, channels, kernel.shape[-1])
    return np.moveaxis(placed, 1, 0).reshape(channels, -1)


def _from_input(layer: Any, rows: np.ndarray) -> np.ndarray:
    placed = rows.reshape(len(rows), -1, layer.kernel.shape[-1])
    return np.moveaxis(placed, 0, 1).reshape(layer.kernel.shape)
