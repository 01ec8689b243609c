"""Layers with kernels, and model copies in which composite layers are replaced by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_dlcourse.graph.flat import Graph, flat_copy, open_block

Opened = Callable[..., Any]
"""A function of a layer's call arguments that computes the same as the layer."""

KERNEL_LAYERS: tuple[tuple[type[keras.layers.Layer], int, int], ...] = (
    (keras.layers.DepthwiseConv1D, -2, -2),
    (keras.layers.DepthwiseConv2D, -2, -2),
    (keras.layers.Conv1DTranspose, -1, -2),
    (keras.layers.Conv2DTranspose, -1, -2),
    (keras.layers.Conv1D, -2, -1),
    (keras.layers.Conv2D, -2, -1),
    (keras.layers.Conv3D, -2, -1),
    (keras.layers.Dense, -2, -1),
    (keras.layers.EinsumDense, 0, -1),
)
"""Layers whose kernels can be transformed; axis of input channels; axis of output channels."""

DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def open_layers(model: keras.Model) -> Graph:
    """Return the flat graph of an independent copy of a model."""
    return Graph(flat_copy(model, open_composite))


def open_composite(layer: keras.layers.Layer) -> Callable[..., Any] | None:
    """Return a function that computes a layer with its inner convolutions; None for others."""
    if isinstance(layer, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D):
        return split_separable(layer)
    return open_block(layer)


def split_separable(layer: Any) -> Opened:
    """Return a separable convolution as a depthwise and a 1x1 convolution."""
    shared = {"dtype": layer.dtype_policy, "trainable": layer.trainable}
    dimensions = len(layer.kernel_size)
    depthwise_kind = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)[dimensions - 1]
    pointwise_kind = (keras.layers.Conv1D, keras.layers.Conv2D)[dimensions - 1]
    depthwise = depthwise_kind(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
        name=f"{layer.name}_depthwise",
        **shared,
    )
    pointwise = pointwise_kind(
        layer.filters,
        1,
        use_bias=layer.use_bias,
        activation=layer.activation,
        kernel_regularizer=layer.pointwise_regularizer,
        kernel_constraint=layer.pointwise_constraint,
        bias_regularizer=layer.bias_regularizer,
        name=layer.name,
        **shared,
    )
    spatial = (None,) * dimensions
    depthwise_kernel = ops.convert_to_numpy(layer.depthwise_kernel)
    channels, multiplier = depthwise_kernel.shape[-2:]
    fill(depthwise, (None, *spatial, channels), depthwise_kernel)
    pointwise_weights = [layer.pointwise_kernel] + ([layer.bias] if layer.use_bias else [])
    fill(pointwise, (None, *spatial, channels * multiplier), *pointwise_weights)
    return lambda x: pointwise(depthwise(x))


def fill(layer: Any, shape: tuple[int | None, ...], *weights: Any) -> None:
    """Build a layer and set its weights."""
    layer.build(shape)
    layer.set_weights([ops.convert_to_numpy(weight) for weight in weights])
