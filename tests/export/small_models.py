"""Tiny models with weights that make outputs vary, and images to feed them."""

from __future__ import annotations

import keras
import numpy as np

CLASSES = ("shirt", "shoe", "bag", "coat")


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every weight and statistic a value: fresh networks answer a constant."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith("seed_generator_state"):
            continue
        shape = weight.shape
        if "variance" in weight.path or "gamma" in weight.path:
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            fan_in = int(np.prod(shape)) // (shape[-2] if "depthwise" in weight.path else shape[-1])
            value = rng.normal(0, (4 / fan_in) ** 0.5, shape)
        else:
            value = rng.normal(0, 0.2, shape)
        weight.assign(value.astype("float32"))
    return model


def small_classifier(channels: int = 3, size: int = 16, activation: str | None = "softmax"):
    """A convolution, a depthwise one, pooling and a dense layer: 16x16 in, four classes out."""
    layers = keras.layers
    x = inputs = keras.Input((size, size, channels))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(len(CLASSES))(x)
    if activation:
        x = layers.Activation(activation)(x)
    return randomise(keras.Model(inputs, x, name="small"))


def images(n: int = 120, channels: int = 3, size: int = 16, seed: int = 1) -> np.ndarray:
    """Smooth coloured blobs: images of different brightness and direction, unlike white noise."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0, 255, (n, 1, 1, channels))  # images differ as wholes, too
    coarse = colour + rng.normal(0, 60, (n, 4, 4, channels))
    fine = coarse.repeat(size // 4, 1).repeat(size // 4, 2)
    return (fine + rng.normal(0, 10, fine.shape)).clip(0, 255).astype("uint8")
