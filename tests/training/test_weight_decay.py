"""Decay by gamma: scikit-learn's ridge and lasso, and plain gradient descent step by step."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
from search_models import X as DRAWN
from search_models import Y, linear, network, quiet
from sklearn.linear_model import Lasso, Ridge

import keras_dlcourse as kd

# Columns at right angles and of one length: gradient descent converges in few steps.
X = (np.linalg.svd(DRAWN - DRAWN.mean(0), full_matrices=False)[0] * 60**0.5).astype("float32")
FULL = {"epochs": 14, "batch_size": 60, "shuffle": False}


def quick():
    """The linear model with a rate and a momentum by which it converges in few steps."""
    return linear(0.3, optimizer=partial(keras.optimizers.SGD, momentum=0.1))


def _fitted(gamma, kind, fit=FULL, build=quick):
    model = build()
    kd.training.decay_weights(model, gamma, len(X), kind)
    model.fit(X, Y, **fit, verbose=0)
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.mark.parametrize("gamma", [0.0, 3.0, 60.0])
def test_l2_is_ridge_regression(gamma):
    reference = Ridge(alpha=gamma).fit(X, Y)
    kernel, bias = _fitted(gamma, "l2")
    np.testing.assert_allclose(kernel[:, 0], reference.coef_, atol=1e-4)
    np.testing.assert_allclose(bias, reference.intercept_, atol=1e-4)  # which does not decay


def test_l1_is_the_lasso():
    gamma = 40.0
    reference = Lasso(alpha=gamma / (2 * len(X))).fit(X, Y)
    assert (reference.coef_ == 0).any()
    steps = 60
    rate = keras.optimizers.schedules.CosineDecay(0.2, steps)
    kernel, _ = _fitted(gamma, "l1", FULL | {"epochs": steps}, lambda: linear(rate))
    # Steps along a subgradient end a little beside the corner where a weight is zero.
    np.testing.assert_allclose(kernel[:, 0], reference.coef_, atol=5e-3)
    assert abs(reference.coef_ - Ridge(alpha=0).fit(X, Y).coef_).max() > 0.1


def test_decoupled_is_l2_under_plain_gradient_descent():
    keras.utils.set_random_seed(0)
    some = {"epochs": 7, "batch_size": 60, "shuffle": False}
    penalised = _fitted(20.0, "l2", some, linear)
    keras.utils.set_random_seed(0)
    decoupled = _fitted(20.0, "decoupled", some, linear)
    for one, other in zip(penalised, decoupled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_decoupled_decay_of_adam_by_hand():
    """Adam's step does not see the decay: without a gradient a weight shrinks by it alone."""
    model = linear(0.01, optimizer=keras.optimizers.Adam)
    kd.training.decay_weights(model, 30.0, 60, "decoupled")
    kernel = keras.ops.convert_to_numpy(model.weights[0])
    model.fit(np.zeros((60, 6)), np.zeros(60), batch_size=60, epochs=3, verbose=0)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.weights[0]), kernel * (1 - 0.01) ** 3, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["l1", "l2", "decoupled"])
def test_which_variables_decay(kind):
    names = kd.training.decay_weights(network(), 1.0, 10, kind)
    assert [name.rsplit("/", 1)[-1] for name in names] == ["kernel", "kernel"]
    assert len(kd.training.decay_weights(network(), 1.0, 10, kind, "all")) == 6
    chosen = kd.training.decay_weights(
        network(), 1.0, 10, kind, lambda variable: variable.path.endswith("gamma")
    )
    assert len(chosen) == 1


def test_what_does_not_decay_is_left_alone_by_the_optimizer():
    model = network()
    kd.training.decay_weights(model, 1e4, 10, "decoupled")
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    # Without gradients, by a constant loss: only the decay moves weights.
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_variables])
    moved = {
        weight.path.rsplit("/", 1)[-1]
        for weight in model.trainable_weights
        if not np.allclose(keras.ops.convert_to_numpy(weight), 1)
    }
    assert moved == {"kernel"}


def test_selection_measures_without_the_penalty_and_refits_with_it():
    """The five steps against scikit-learn's, with the same folds."""
    from sklearn.model_selection import KFold

    gammas = [0.0, 1.0, 60.0]  # the best is not the first
    found = kd.training.select_weight_decay(quick, (X, Y), gammas, 3, fit=FULL, say=quiet)
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    expected = [
        [np.mean((Ridge(alpha=gamma).fit(X[a], Y[a]).predict(X[b]) - Y[b]) ** 2) for a, b in splits]
        for gamma in gammas
    ]
    np.testing.assert_allclose(found.scores["loss"], expected, rtol=2e-3)
    assert found.value == gammas[np.mean(expected, axis=1).argmin()]
    reference = Ridge(alpha=found.value).fit(X, Y)
    np.testing.assert_allclose(found.model.get_weights()[0][:, 0], reference.coef_, atol=1e-3)
    assert not found.model.losses


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (linear, {"gamma": -1, "examples": 5}, "gamma.*-1"),
        (linear, {"gamma": 1, "examples": 0}, "examples.*0"),
        (linear, {"gamma": 1, "examples": 5, "kind": "l3"}, "kind.*l3"),
        (linear, {"gamma": 1, "examples": 5, "decays": "some"}, "decays.*some"),
        (linear, {"gamma": 1, "examples": 5, "decays": lambda variable: False}, "no variable"),
        (lambda: keras.layers.Dense(1), {"gamma": 1, "examples": 5}, "compiled Keras model"),
        (
            lambda: linear(optimizer=keras.optimizers.AdamW),
            {"gamma": 1, "examples": 5},
            "weight_decay=0.004",
        ),
    ],
)
def test_bad_arguments(make, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kd.training.decay_weights(make(), **arguments)


def test_a_regularizer_of_the_model_itself_is_refused():
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(1, kernel_regularizer="l2", name="last")]
    )
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="last/kernel"):
        kd.training.decay_weights(model, 1.0, 5)
