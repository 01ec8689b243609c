"""Remove some of the channels of a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_dlcourse.layers._remade import own_weights, remake_layer

Kept = np.ndarray
"""Boolean mask of the channels that stay."""


def narrow(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    """Return a copy of a layer without some of its channels, or the layer itself if all stay.

    Args:
        layer: A built layer for which `channels` has a rule.
        inputs: Mask of the input channels that stay.
        outputs: Mask of the output channels that stay.

    Returns:
        A layer with the same name and the corresponding part of the weights.
    """
    if inputs.all() and outputs.all():
        return layer
    slicer = _SLICERS.get(type(layer))
    if slicer is None:
        return layer  # it does not depend on the number of channels
    changes, weights = slicer(layer, inputs, outputs)
    made = remake_layer(layer, **changes)
    if not weights:
        return made
    shape = list(layer.get_build_config()["input_shape"])
    shape[-1] = int(inputs.sum())
    made.build(tuple(shape))
    for variable, values in zip(own_weights(made), weights, strict=True):
        variable.assign(values)
    return made


Slicer = Callable[[Any, Kept, Kept], tuple[dict[str, Any], list[np.ndarray]]]


def _values(layer: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in own_weights(layer)]


def _narrow_convolution(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"filters": int(outputs.sum())}, [
        kernel[..., inputs, :][..., outputs],
        *(b[outputs] for b in bias),
    ]


def _narrow_transpose(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"filters": int(outputs.sum())}, [
        kernel[..., outputs, :][..., inputs],
        *(b[outputs] for b in bias),
    ]


def _narrow_dense(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"units": int(outputs.sum())}, [kernel[inputs][:, outputs], *(b[outputs] for b in bias)]


def _narrow_depthwise(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {}, [kernel[..., inputs, :], *(b[outputs] for b in bias)]


def _narrow_per_channel(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    """Narrow a layer whose weights have channels as the last axis (of size 1 if shared)."""
    weights = _values(layer)
    return {}, [w[..., inputs] if w.shape[-1] == len(inputs) else w for w in weights]


def _narrow_reshape(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    return {"target_shape": (*layer.target_shape[:-1], int(outputs.sum()))}, []


_SLICERS: dict[type, Slicer] = {
    keras.layers.Conv1D: _narrow_convolution,
    keras.layers.Conv2D: _narrow_convolution,
    keras.layers.Conv3D: _narrow_convolution,
    keras.layers.Conv1DTranspose: _narrow_transpose,
    keras.layers.Conv2DTranspose: _narrow_transpose,
    keras.layers.Dense: _narrow_dense,
    keras.layers.DepthwiseConv1D: _narrow_depthwise,
    keras.layers.DepthwiseConv2D: _narrow_depthwise,
    keras.layers.BatchNormalization: _narrow_per_channel,
    keras.layers.PReLU: _narrow_per_channel,
    keras.layers.Reshape: _narrow_reshape,
}
