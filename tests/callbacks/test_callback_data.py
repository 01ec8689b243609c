"""Callbacks that look at data: endless data, named inputs, several inputs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_dlcourse as kd
from keras_dlcourse.callbacks import (
    ClassActivationMaps,
    CollapseMonitor,
    RetrievalMetrics,
    SignalMonitor,
)

L = keras.layers
RNG = np.random.default_rng(0)
X, META = RNG.normal(size=(12, 8, 8, 1)).astype("float32"), RNG.normal(size=(12, 2))
Y = np.arange(12) % 2


class Named(keras.utils.PyDataset):
    """Batches of dictionaries of one image input."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        part = slice(4 * index, 4 * index + 4)
        return {"image": X[part]}, Y[part]


class Several(Named):
    """Batches of two inputs and labels."""

    def __getitem__(self, index: int) -> Any:
        part = slice(4 * index, 4 * index + 4)
        return (X[part], META[part]), Y[part]


def for_ever() -> Any:
    while True:
        yield from (Named()[index] for index in range(3))


SOURCES = {
    "generator": for_ever,
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat(),
    "dictionaries": Named,
}


def looked_at(callback: Any) -> np.ndarray:
    return callback._inputs if hasattr(callback, "_inputs") else callback._examples.inputs


@pytest.mark.parametrize("kind", SOURCES)
def test_what_was_asked_for_is_taken(kind: str, tmp_path: Any) -> None:
    data = SOURCES[kind]
    callbacks = [
        SignalMonitor(data(), limit=6, seed=None),
        CollapseMonitor(data(), limit=6, seed=None),
        ClassActivationMaps(data(), tmp_path, limit=6, seed=None),
    ]
    for callback in callbacks:
        np.testing.assert_array_equal(looked_at(callback), X[:6])
    np.testing.assert_array_equal(RetrievalMetrics(data(), limit=6)._data[0].shape[0], 6)


def test_endless_data_is_refused_where_all_of_it_is_needed() -> None:
    endless = SOURCES["tf.data"]()
    with pytest.raises(ValueError, match="data is endless .* omit .repeat.."):
        RetrievalMetrics(endless)
    with pytest.raises(TypeError, match="iterated in each epoch.* Pass limit="):
        RetrievalMetrics(for_ever())
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(2, "softmax")])
    with pytest.raises(ValueError, match="data is endless"):
        kd.training.TemperatureScaling().fit(model, endless)
    with pytest.raises(ValueError, match="train is endless .*dataset.take"):
        kd.training.transfer(
            kd.models.ResNet18((32, 32, 3)), 2, endless, preprocessing=lambda x: x, verbose=0
        )


def of_two_inputs(classes: int, activation: str | None) -> keras.Model:
    keras.utils.set_random_seed(1)
    image, meta = keras.Input((8, 8, 1), name="image"), keras.Input((2,), name="meta")
    joined = L.Concatenate()([L.Dense(3)(L.Flatten()(image)), L.Dense(4)(meta)])
    return keras.Model([image, meta], L.Dense(classes, activation)(L.ReLU()(joined)))


def test_several_inputs_where_the_model_takes_them() -> None:
    model = of_two_inputs(2, "softmax")
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = SignalMonitor(Several(), limit=12, seed=None)
    model.fit(Several(), verbose=0, callbacks=[monitor])
    assert np.isfinite([v for row in monitor.activations for v in row if v is not None]).all()

    embedding = of_two_inputs(3, None)
    loss = kd.losses.TripletLoss(0.5, mining="all")
    embedding.compile(keras.optimizers.SGD(0.0), loss)
    collapse = CollapseMonitor(Several(), limit=12, seed=None)
    embedding.fit(Several(), verbose=0, callbacks=[collapse])
    expected = float(loss(Y, embedding.predict([X, META], verbose=0)))
    assert collapse.losses == pytest.approx([expected], rel=1e-5)

    scaling = kd.training.TemperatureScaling().fit(model, ([X, META], Y))
    chances = model.predict([X, META], verbose=0)[np.arange(12), Y]
    assert scaling.loss_before == pytest.approx(-np.log(chances).mean(), rel=1e-4)


@pytest.mark.parametrize("make", [ClassActivationMaps, RetrievalMetrics])
def test_one_sentence_where_it_does_not(make: Any, tmp_path: Any) -> None:
    with pytest.raises(
        TypeError, match=r"2 inputs, x\[0\], x\[1\]\. .* dataset.map.*of the branch"
    ):
        if make is ClassActivationMaps:
            make(Several(), tmp_path)
        else:
            make(Several(), limit=4)
    monitor = SignalMonitor((X, Y))
    model = of_two_inputs(2, "softmax")
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="the 2 inputs of the model, image, meta. Received: 1"):
        model.fit([X, META], Y, verbose=0, callbacks=[monitor])
