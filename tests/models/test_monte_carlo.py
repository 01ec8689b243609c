"""Dropout as an ensemble: closed forms for linear networks, and nothing else switched on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.models import MonteCarloDropout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 12)).astype("float32")


def _linear(dropout, *behind):
    inputs = keras.Input((12,))
    x = dropout(inputs)
    for layer in behind:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_mean_and_spread_of_a_linear_network():
    """Of w.(m*x)/(1-p): mean w.x, variance p/(1-p) * sum (w x)^2; independent in each input."""
    model = _linear(keras.layers.Dropout(0.3))
    found = MonteCarloDropout(model, samples=4000).predict(X, batch_size=2)
    kernel, bias = model.layers[-1].get_weights()
    spread = np.sqrt(0.3 / 0.7 * X**2 @ kernel**2)
    np.testing.assert_allclose(found.mean, X @ kernel + bias, atol=5 * spread.max() / 4000**0.5)
    np.testing.assert_allclose(found.spread, spread, rtol=0.06)


def test_the_same_input_gets_masks_of_its_own_in_each_row():
    model = _linear(keras.layers.Dropout(0.5))
    found = MonteCarloDropout(model, samples=2).predict(np.repeat(X[:1], 8, axis=0))
    assert len(np.unique(found.mean[:, 0])) > 4


def test_seeds_and_the_models_own_random_numbers():
    model = _linear(keras.layers.Dropout(0.5))
    sampler = MonteCarloDropout(model, samples=5, seed=1)
    state = keras.ops.convert_to_numpy(model.layers[1].seed_generator.state)
    first, again = sampler.predict(X), sampler.predict(X)
    np.testing.assert_array_equal(first.mean, again.mean)
    other = MonteCarloDropout(model, samples=5, seed=2).predict(X)
    assert (first.mean != other.mean).any()
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.layers[1].seed_generator.state), state
    )
    assert "call" not in vars(model.layers[1])
    before = model.predict(X, verbose=0)
    np.testing.assert_array_equal(before, model.predict(X, verbose=0))  # no dropout there


def test_nothing_else_is_switched_on():
    """Batch statistics, noise and augmentation stay as in inference, in nested models too."""
    norm = keras.layers.BatchNormalization()
    inner = keras.Sequential([keras.Input((12,)), keras.layers.Dropout(1e-6), norm])
    model = _linear(inner, keras.layers.GaussianNoise(1.0))
    norm.set_weights([RNG.uniform(0.5, 2, 12) for _ in range(4)])
    before = [keras.ops.convert_to_numpy(weight) for weight in norm.weights]
    found = MonteCarloDropout(model, samples=3).predict(X)
    np.testing.assert_allclose(found.mean, model.predict(X, verbose=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.spread, 0, atol=1e-5)
    for weight, value in zip(norm.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A model whose graph nobody can read."""

    def __init__(self):
        super().__init__()
        self.drop, self.dense = keras.layers.Dropout(0.5), keras.layers.Dense(2)

    def call(self, inputs):
        return self.dense(self.drop(inputs))


def _subclassed():
    model = Subclassed()
    model(X)
    return model


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (_subclassed, (12,)),
        (
            lambda: keras.Sequential(
                [keras.Input((5, 3)), keras.layers.Bidirectional(keras.layers.LSTM(4, dropout=0.5))]
            ),
            (5, 3),
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((4, 4, 3)), keras.layers.SpatialDropout2D(0.5), keras.layers.Flatten()]
            ),
            (4, 4, 3),
        ),
        (lambda: _attention(), (5, 3)),
    ],
    ids=["subclassed", "recurrent", "spatial", "attention"],
)
def test_any_model(make, shape):
    model = make()
    found = MonteCarloDropout(model, samples=9).predict(np.ones((2, *shape)))
    assert found.mean.shape == found.spread.shape == model.predict(
        np.ones((2, *shape)), verbose=0
    ).shape  # fmt: skip
    assert (found.spread.max(axis=-1) > 0).all()


def _attention():
    inputs = keras.Input((5, 3))
    x = keras.layers.MultiHeadAttention(2, 4, dropout=0.5)(inputs, inputs)
    return keras.Model(inputs, x)


def test_a_family_of_ours():
    model = kd.models.MobileNetV2((32, 32, 1), alpha=0.1, classes=3, dropout=0.5)
    found = MonteCarloDropout(model, samples=4).predict(RNG.uniform(0, 255, (2, 32, 32, 1)))
    np.testing.assert_allclose(found.mean.sum(axis=1), 1, rtol=1e-5)
    assert (found.spread > 0).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be"),
        ({"model": _linear(keras.layers.Dropout(0.0))}, "no dropout"),
        ({"samples": 1}, "samples.*1"),
        ({"seed": -1}, "seed.*-1"),
    ],
)
def test_bad_arguments(arguments, message):
    model = _linear(keras.layers.Dropout(0.5))
    with pytest.raises((ValueError, TypeError), match=message):
        MonteCarloDropout(**{"model": model, **arguments})


def test_several_outputs_are_refused():
    inputs = keras.Input((3,))
    x = keras.layers.Dropout(0.5)(inputs)
    model = keras.Model(inputs, [x, x])
    with pytest.raises(ValueError, match="one output"):
        MonteCarloDropout(model).predict(np.ones((1, 3)))
