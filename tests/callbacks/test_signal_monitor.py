"""What the monitor measures, against NumPy, and what it says."""

from __future__ import annotations

import json
import math
import warnings

import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_dlcourse.callbacks import SignalMonitor
from keras_dlcourse.models import MLP

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def _compiled(model, rate=0.1):
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
    return model


def _fitted(model, monitor, epochs=1, x=X, y=Y, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"verbose": 0, "shuffle": False, "batch_size": 10, **options}
        model.fit(x, y, epochs=epochs, callbacks=[monitor], **options)
    return [str(w.message) for w in caught if str(w.message) in monitor.said.values()]


def test_numbers_against_numpy():
    model = _compiled(MLP(6, (5, 4), task="binary", activation="relu"))
    w1, b1, w2, b2, w3, b3 = (w.astype("float64") for w in model.get_weights())
    monitor = SignalMonitor((X, Y), limit=40, seed=None)
    _fitted(model, monitor)
    h1 = np.maximum(X @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    by_h2 = (expit(h2 @ w3 + b3) - Y) @ w3.T  # of each example's own loss
    by_h1 = (by_h2 * (h2 > 0)) @ w2.T
    assert monitor.layers == ["hidden_1", "hidden_2", "output"] and monitor.epochs == [0, 1]
    expected = [h1.var(0).mean(), h2.var(0).mean()]
    np.testing.assert_allclose(monitor.activations[0][:2], expected, rtol=1e-4)
    expected = [by_h1.var(0).mean(), by_h2.var(0).mean()]
    np.testing.assert_allclose(monitor.gradients[0][:2], expected, rtol=1e-3)
    expected = [(h1.max(0) == 0).mean(), (h2.max(0) == 0).mean()]
    np.testing.assert_allclose(monitor.dead_units[0][:2], expected, atol=1e-6)
    for rows in (monitor.activations, monitor.gradients, monitor.dead_units):
        assert rows[0][2] is None


def test_steps_are_those_of_the_first_batch():
    model = _compiled(MLP(6, (5,), task="binary"))
    before = model.get_weights()
    twin = keras.models.clone_model(model)
    twin.set_weights(before)
    _compiled(twin).train_on_batch(X[:10], Y[:10])
    monitor = SignalMonitor((X, Y))
    _fitted(model, monitor)
    expected = [
        np.linalg.norm(new - old) / np.linalg.norm(old)
        for old, new in zip(before[::2], twin.get_weights()[::2], strict=True)
    ]
    np.testing.assert_allclose(monitor.updates[0], expected, rtol=1e-3)
    assert monitor.updates[-1] == [None, None]


def test_nothing_is_changed_by_it_not_even_statistics_and_seeds():
    def train(callbacks):
        keras.utils.set_random_seed(1)
        layers = keras.layers
        model = _compiled(
            keras.Sequential(
                [keras.Input((6,)), layers.Dense(8), layers.BatchNormalization(), layers.ReLU(),
                 layers.Dropout(0.5), layers.Dense(1, "sigmoid")]
            )
        )  # fmt: skip
        history = model.fit(X, Y, epochs=2, verbose=0, callbacks=callbacks).history
        return history["loss"], [keras.ops.convert_to_numpy(v) for v in model.variables]

    monitor = SignalMonitor((X, Y))
    (plain, alone), (watched, beside) = train([]), train([monitor])
    np.testing.assert_allclose(watched, plain, rtol=1e-6)
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)
    assert len(monitor.layers) == 3 and monitor.dead_units[0][1] is not None


def test_dead_units_of_convolutions_are_channels_and_are_said_once():
    model = _compiled(
        keras.Sequential(
            [
                keras.Input((5, 5, 1)),
                keras.layers.Conv2D(4, 3, name="conv"),
                keras.layers.ReLU(name="cut"),
                keras.layers.Flatten(),
                keras.layers.Dense(1, "sigmoid"),
            ]
        )
    )
    model.get_layer("conv").bias.assign(np.array([-100.0, -100.0, -100.0, 0.0]))
    x = RNG.normal(size=(40, 5, 5, 1)).astype("float32")
    monitor = SignalMonitor((x, Y))
    (said,) = _fitted(model, monitor, epochs=3, x=x)
    assert monitor.dead_units[0] == [None, 0.75, None]
    assert said.startswith("75% of the ReLU units of cut are dead before training")
    assert all(word in said for word in ("learning rate", "leaky ReLU", "ELU"))
    assert not _fitted(_compiled(model), SignalMonitor((x, Y), dead=0.8), x=x)


@pytest.mark.parametrize(
    ("activation", "deviation", "kind"),
    [("sigmoid", 0.1, "vanishing"), ("relu", 0.02, "vanishing"), ("relu", 3.0, "exploding")],
)
def test_lost_signals_are_said(activation, deviation, kind):
    start = keras.initializers.RandomNormal(0, deviation, seed=1)
    options = {"task": "binary", "activation": activation, "kernel_initializer": start}
    model = _compiled(MLP(6, (32,) * 12, **options), rate=0.0)
    x = X * 1e-16  # else what explodes would saturate the loss, which then has no gradient at all
    monitor = SignalMonitor((x, Y), dead=0.99)
    said = _fitted(model, monitor, x=x)
    assert kind in monitor.said and len(said) == len(monitor.said)
    first, last = monitor.gradients[0][0], monitor.gradients[0][-2]
    assert (first < 1e-6 * last) if kind == "vanishing" else (last < 1e-6 * first)
    assert first > 0 and "he_normal" in monitor.said[kind]


@pytest.mark.parametrize(("activation", "start"), [("tanh", None), ("relu", None)])
def test_sound_networks_are_left_alone(activation, start):
    keras.utils.set_random_seed(0)
    model = _compiled(MLP(6, (32,) * 12, task="binary", activation=activation))
    assert not _fitted(model, SignalMonitor((X, Y)))


def test_no_signal_is_too_small_for_float32():
    """Squares below 1e-38 would be 0: thirty sigmoids behind N(0, 0.01) are far below."""
    start = keras.initializers.RandomNormal(0, 0.1, seed=1)
    net = MLP(6, (16,) * 30, task="binary", activation="sigmoid", kernel_initializer=start)
    monitor = SignalMonitor((X, Y))
    _fitted(_compiled(net), monitor)
    assert 0 < monitor.gradients[0][0] < 1e-38


def test_every_some_epochs_and_the_state_goes_through_json(tmp_path):
    monitor = SignalMonitor((X, Y), every=2, folder=tmp_path)
    _fitted(_compiled(MLP(6, (5,), task="binary")), monitor, epochs=4)
    assert monitor.epochs == [0, 2, 4] and (tmp_path / "signals.png").stat().st_size > 10_000
    state = json.loads(json.dumps(monitor.state_dict(), allow_nan=False))
    resumed = SignalMonitor((X, Y))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == monitor.state_dict() and len(resumed.draw().axes) == 4


def test_linear_models_have_steps_only():
    monitor = SignalMonitor((X, Y))
    _fitted(_compiled(MLP(6, (), task="binary")), monitor)
    assert monitor.activations[0] == [None] and monitor.updates[0][0] > 0


def test_a_weight_that_is_nan_is_said():
    model = _compiled(MLP(6, (5,), task="binary", activation="relu"))
    model.layers[1].set_weights([np.full((6, 5), np.nan), np.zeros(5)])
    monitor = SignalMonitor((X, Y))
    _fitted(model, monitor)
    assert "hidden_1/kernel' is NaN or infinite before training" in monitor.said["broken"]


def test_models_it_cannot_look_into_are_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x[:, :1]

    with pytest.raises(ValueError, match="graph|built|subclass"):
        _fitted(_compiled(Mine()), SignalMonitor((X, Y)))
    inputs = keras.Input((6,))
    two = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    two.compile("sgd", "mse")
    with pytest.raises(ValueError, match="models with one output"):
        two.fit(X, [Y, Y], verbose=0, callbacks=[SignalMonitor((X, Y))])
    any_size = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    images = np.resize(X, (len(X), 5, 5, 1))
    with pytest.raises(ValueError, match="inputs of one fixed size"):
        _compiled(any_size).fit(images, Y, verbose=0, callbacks=[SignalMonitor((images, Y))])
    with pytest.raises(ValueError, match="nothing has been measured"):
        SignalMonitor((X, Y)).draw()
    assert math.isfinite(SignalMonitor((X, Y)).dead)
