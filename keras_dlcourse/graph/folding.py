"""Fold batch normalization into the preceding convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.graph.flat import Graph, Node, flat_copy, open_block
from keras_dlcourse.layers._remade import remake_layer

# Layers with a kernel, and the kernel's axis of output channels.
KERNELS: dict[type, int] = {
    keras.layers.Conv1D: -1,
    keras.layers.Conv2D: -1,
    keras.layers.DepthwiseConv1D: -2,
    keras.layers.DepthwiseConv2D: -2,
    keras.layers.Conv2DTranspose: -2,
    keras.layers.Dense: -1,
}


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Return a copy of a model with batch normalizations folded into kernels where possible.

    At inference, batch normalization multiplies each channel by a factor and adds an offset. A
    linear convolution or dense layer can do this itself, if its output is used only by the batch
    normalization. Layers that are called more than once keep their batch normalization, and so do
    batch normalizations before a padded convolution (DenseNet, ResNet version 2). Nested models and
    composite layers are opened.

    Args:
        model: A built functional or Sequential model; it is not modified.

    Returns:
        A flat functional model with the same outputs at inference.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is subclassed or unbuilt.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...                           keras.layers.BatchNormalization()])
        >>> [type(layer).__name__ for layer in fold_batch_norm(model).layers]
        ['InputLayer', 'Conv2D']

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """
    graph = Graph(flat_copy(model, open_block))
    norms = {id(node): norm for node in graph.nodes if (norm := _norm_behind(graph, node))}
    folded = {id(norm) for norm in norms.values()}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        if id(node) in folded:
            return args[0]
        if id(node) in norms:
            return _merge(node.operation, norms[id(node)].operation)(*args, **kwargs)
        return node.operation(*args, **kwargs)

    return graph.rebuild(call)


def _norm_behind(graph: Graph, node: Node) -> Node | None:
    """Return the batch normalization that can be folded into a node's kernel."""
    layer, norm = node.operation, graph.only_user(node)
    if type(layer) not in KERNELS or norm is None:
        return None
    if not isinstance(norm.operation, keras.layers.BatchNormalization):
        return None
    linear = layer.activation in (None, keras.activations.linear)
    axis = norm.operation.axis
    last = (axis[0] if isinstance(axis, list | tuple) else axis) in (
        -1,
        len(node.outputs[0].shape) - 1,
    )
    last = last and getattr(layer, "data_format", "channels_last") == "channels_last"
    # A call with training=True normalizes by batch statistics in inference too.
    fixed = not norm.kwargs.get("training")
    single = len(graph.calls(layer)) == len(graph.calls(norm.operation)) == 1
    return norm if linear and last and fixed and single else None


def _merge(layer: Any, norm: Any) -> Any:
    """Return the layer with the normalization folded into its kernel and bias."""
    factor, offset = factor_and_offset(norm)
    merged = remake_layer(layer, use_bias=True)
    merged.build_from_config(layer.get_build_config())
    kernel = ops.convert_to_numpy(layer.kernel)
    bias = ops.convert_to_numpy(layer.bias) if layer.use_bias else 0.0
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        kernel = kernel * factor.reshape(kernel.shape[-2:])  # channels x multiplier
    else:
        shape = [1] * kernel.ndim
        shape[KERNELS[type(layer)]] = -1
        kernel = kernel * factor.reshape(shape)
    merged.set_weights([kernel, bias * factor + offset])
    return merged


def factor_and_offset(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the offset that a batch normalization applies to each channel."""
    factor = 1 / np.sqrt(ops.convert_to_numpy(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        factor = factor * ops.convert_to_numpy(norm.gamma)
    offset = -ops.convert_to_numpy(norm.moving_mean) * factor
    if norm.center:
        offset = offset + ops.convert_to_numpy(norm.beta)
    return factor, offset
