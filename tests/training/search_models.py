"""Models and data of the tests of searches."""

from __future__ import annotations

import keras
import numpy as np

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")
Y = (X @ RNG.normal(size=6) + RNG.normal(size=60)).astype("float32")
CLASSES = (Y > 0).astype("int32")


def linear(rate: float = 0.2, loss: str = "mse", optimizer=keras.optimizers.SGD) -> keras.Model:
    """A linear model."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile(optimizer(rate), loss, run_eagerly=True)  # compiling takes longer than 80 steps
    return model


def classifier(units: int = 2, rate: float = 0.1) -> keras.Model:
    """A network that is fitted and measured in no time."""
    layers = [keras.Input((6,)), keras.layers.Dense(units), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.SGD(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,
    )
    return model


def network(units: int = 4) -> keras.Model:
    """A network with everything that draws random numbers."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(units, "relu"),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,  # of few steps: compiling would take longer
    )
    return model


def quiet(line: str) -> None:
    """Say nothing."""
