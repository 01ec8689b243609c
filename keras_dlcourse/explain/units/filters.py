"""The kernels of a first layer as small images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def filters(layer: keras.layers.Layer) -> np.ndarray:
    """Return the kernels of a layer that reads an image, each as an image from 0 to 1.

    Each kernel is scaled to 0..1 on its own, over all its channels, so a weight of 0 has no fixed
    gray level. A constant kernel becomes 0.5.

    Args:
        layer: A built Conv2D with 1 or 3 input channels, or a DepthwiseConv2D or SeparableConv2D,
            whose kernels have one input channel each.

    Returns:
        Float32 `(kernels, height, width, 1 or 3)`, in the order of the output channels.

    Raises:
        TypeError: If it is another type of layer.
        ValueError: If it is not built, or its number of input channels is not 1 or 3.

    Example:
        >>> layer = keras.layers.Conv2D(8, 3)
        >>> layer.build((None, 28, 28, 3))
        >>> images = filters(layer)
        >>> images.shape, float(images.min()), float(images.max())
        ((8, 3, 3, 3), 0.0, 1.0)
    """
    kernel = _kernel(layer)
    if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D):
        height, width, *outputs = kernel.shape
        images = kernel.reshape(height, width, 1, int(np.prod(outputs))).transpose(3, 0, 1, 2)
    else:
        images = kernel.transpose(3, 0, 1, 2)
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"layer must have 1 or 3 input channels, as a first layer has. Received: layer "
            f"{layer.name!r} with {images.shape[-1]} channels. For deeper layers, use "
            "maximal_patches."
        )
    low = images.min((1, 2, 3), keepdims=True)
    span = images.max((1, 2, 3), keepdims=True) - low
    scaled = np.where(span > 0, (images - low) / np.where(span > 0, span, 1), 0.5)
    return scaled.astype("float32")


def _kernel(layer: Any) -> np.ndarray:
    kinds = keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D
    if not isinstance(layer, kinds):
        raise TypeError(
            "layer must be a Conv2D, DepthwiseConv2D or SeparableConv2D, such as "
            f"model.get_layer('conv1'). Received: {type(layer).__name__}."
        )
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} is not built yet, so it has no kernels.")
    separable = isinstance(layer, keras.layers.SeparableConv2D)
    weight = layer.depthwise_kernel if separable else layer.kernel
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
