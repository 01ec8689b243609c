"""Small vision transformers, and images of which one bright patch decides the class."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers as L
from keras import ops

SIDE, PATCH, GRID = 16, 4, 4


@keras.saving.register_keras_serializable("tests")
class ClassToken(L.Layer):
    """Puts a learned token before the others."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]))

    def call(self, x):
        return ops.concatenate([ops.repeat(self.token, ops.shape(x)[0], 0), x], axis=1)


@keras.saving.register_keras_serializable("tests")
class Drop(L.Layer):
    """Someone's own layer by which no token sees another."""

    def call(self, x):
        return x * 1.0


def patches(image, embed: str, width: int):
    """Tokens of patches: by a convolution, by cutting, or by reshaping alone."""
    if embed == "conv":
        x = L.Conv2D(width, PATCH, PATCH, name="embedding")(image)
        return L.Reshape((GRID * GRID, width))(x)
    if embed == "cut":
        x = ops.image.extract_patches(image, PATCH)
        return L.Dense(width)(L.Reshape((GRID * GRID, PATCH * PATCH * 3))(x))
    x = ops.reshape(image, (-1, GRID, PATCH, GRID, PATCH, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, GRID * GRID, PATCH * PATCH * 3))
    return L.Dense(width)(x)


def transformer(embed: str = "conv", head: str = "mean", blocks: int = 2, width: int = 16):
    """`head`: `"mean"` of all tokens, or the `"class"` token."""
    image = keras.Input((SIDE, SIDE, 3))
    x = patches(image, embed, width)
    if head == "class":
        x = ClassToken()(x)
    for number in range(blocks):
        y = L.LayerNormalization()(x)
        y = L.MultiHeadAttention(2, width // 2, name=f"attention_{number}")(y, y)
        x = L.Add(name=f"attended_{number}")([x, Drop()(y)])
        y = L.Dense(2 * width, activation="gelu")(L.LayerNormalization()(x))
        x = L.Add(name=f"block_{number}")([x, Drop()(L.Dense(width)(y))])
    x = L.LayerNormalization(name="end")(x)
    x = L.GlobalAveragePooling1D()(x) if head == "mean" else x[:, 0]
    return keras.Model(image, L.Dense(2, name="scores")(x))


def spots(n: int, seed: int = 0, noise: float = 0.1):
    """Noise with one red or green patch: images, classes, and the row and column of it."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, noise, (n, SIDE, SIDE, 3)).astype("float32")
    classes, places = rng.integers(0, 2, n), rng.integers(0, GRID, (n, 2))
    for image, number, (row, column) in zip(images, classes, places * PATCH, strict=True):
        image[row : row + PATCH, column : column + PATCH, number] += 2
    return images, classes.astype("int32"), places
