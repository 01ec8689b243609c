"""Layers with some of their channels taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_dlcourse.layers._remade import own_weights, remade

Kept = np.ndarray
"""For each channel, whether it stays."""


def narrowed(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    """Return a layer without some of its channels, or the layer itself if all stay.

    Args:
        layer: A built layer that `channels` has a rule for.
        inputs: Which channels of its input stay.
        outputs: Which channels of its output stay.

    Returns:
        A layer with the same name, its weights cut out of the layer's.
    """
    if inputs.all() and outputs.all():
        return layer
    slicer = _SLICERS.get(type(layer))
    if slicer is None:
        return layer  # nothing in it depends on the number of channels
    changes, weights = slicer(layer, inputs, outputs)
    made = remade(layer, **changes)
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


def _convolution(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"filters": int(outputs.sum())}, [
        kernel[..., inputs, :][..., outputs],
        *(b[outputs] for b in bias),
    ]


def _transposed(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"filters": int(outputs.sum())}, [
        kernel[..., outputs, :][..., inputs],
        *(b[outputs] for b in bias),
    ]


def _dense(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {"units": int(outputs.sum())}, [kernel[inputs][:, outputs], *(b[outputs] for b in bias)]


def _depthwise(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    kernel, *bias = _values(layer)
    return {}, [kernel[..., inputs, :], *(b[outputs] for b in bias)]


def _per_channel(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    """A layer whose weights have the channels as their last axis; 1 if they are shared."""
    weights = _values(layer)
    return {}, [w[..., inputs] if w.shape[-1] == len(inputs) else w for w in weights]


def _reshape(layer: Any, inputs: Kept, outputs: Kept) -> Any:
    return {"target_shape": (*layer.target_shape[:-1], int(outputs.sum()))}, []


_SLICERS: dict[type, Slicer] = {
    keras.layers.Conv1D: _convolution,
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv3D: _convolution,
    keras.layers.Conv1DTranspose: _transposed,
    keras.layers.Conv2DTranspose: _transposed,
    keras.layers.Dense: _dense,
    keras.layers.DepthwiseConv1D: _depthwise,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.BatchNormalization: _per_channel,
    keras.layers.PReLU: _per_channel,
    keras.layers.Reshape: _reshape,
}
