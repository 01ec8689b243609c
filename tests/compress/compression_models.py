"""A tiny network with a layer of each kind, and data for it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def plain_network(seed: int = 0) -> keras.Model:
    """A convolution, a depthwise and a transposed one, and a dense layer, with random weights."""
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 4))  # no pixels
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, activation="relu", name="transposed")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(4, activation="softmax", name="scores")(x)
    model = keras.Model(inputs, x, name="plain")
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 0.4, weight.shape))
        elif "variance" not in weight.path:
            weight.assign(rng.normal(0.5, 0.2, weight.shape))
    return model


def images_and_labels(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 8, 8, 4)).astype("float32"), rng.integers(0, 4, n)


def kernel(model: keras.Model, name: str) -> np.ndarray:
    """The kernel as a layer computes with it."""
    layer = model.get_layer(name)
    if hasattr(layer, "transform_weight"):
        return np.asarray(keras.ops.convert_to_numpy(layer.transform_weight("kernel")))
    return np.asarray(keras.ops.convert_to_numpy(layer.kernel))


def transform_of(model: keras.Model, name: str, index: int = 0) -> Any:
    return model.get_layer(name).weight_transforms["kernel"][index]
