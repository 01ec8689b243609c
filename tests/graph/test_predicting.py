"""Predictions in batches of one size: the same values as Keras's, and one trace."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.graph.predicting import predict, predict_batches


@pytest.fixture(scope="module")
def model():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    both = keras.layers.Concatenate()([a, b])
    outputs = {"one": keras.layers.Dense(2)(both), "two": keras.layers.Dense(1)(both)}
    return keras.Model({"a": a, "b": b}, outputs)


def inputs_of(count):
    generator = np.random.default_rng(0)
    return {"a": generator.normal(size=(count, 3)), "b": generator.normal(size=(count, 2))}


@pytest.mark.parametrize("count", [1, 32, 70])
def test_the_values_are_those_of_keras(model, count):
    ours = predict(model, inputs_of(count))
    theirs = model.predict(inputs_of(count), verbose=0)
    assert set(ours) == set(theirs) == {"one", "two"}
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)


def test_all_batches_have_one_size(model, monkeypatch):
    sizes, on_batch = [], model.predict_on_batch

    def spy(batch):
        sizes.append(len(batch["a"]))
        return on_batch(batch)

    monkeypatch.setattr(model, "predict_on_batch", spy)
    predict(model, inputs_of(70), batch_size=16)
    batches = (inputs_of(count) for count in (16, 5))
    assert len(predict_batches(model, batches, 16)["one"]) == 21
    assert sizes == [16] * 7
