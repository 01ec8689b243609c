"""Small networks with random weights, for the tests of maps."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

SHAPE = (10, 12, 3)


def images(n=5, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype("float32")


def randomised(model, seed=1):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(size=weight.shape) * 0.5
        weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)
    return model


def body(x, filters=6):
    x = L.Conv2D(filters, 3, strides=2, padding="same", name="first")(x)
    x = L.Activation("relu")(L.BatchNormalization()(x))
    return L.Conv2D(filters, 3, padding="same", activation="relu", name="second")(x)


def classifier(activation="softmax", classes=4):
    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(body(given))
    return randomised(keras.Model(given, L.Dense(classes, activation=activation)(pooled)))


def siamese():
    sides = [keras.Input(SHAPE, name=name) for name in ("left", "right")]
    shared = keras.Model(inner := keras.Input(SHAPE), body(inner), name="backbone")
    pooled = [L.GlobalAveragePooling2D()(shared(side)) for side in sides]
    return randomised(keras.Model(sides, L.Dense(1)(L.Subtract()(pooled))))


def numbers(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))
