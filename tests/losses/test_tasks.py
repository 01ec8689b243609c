"""Losses of tasks are SciPy's negative log-likelihoods, up to constants."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from loss_kit import value_and_gradient
from scipy import special, stats

from keras_dlcourse.losses import SparseCategoricalCrossentropy, TanhCrossentropy, for_task

RNG = np.random.default_rng(0)
ROWS = 40


def _value(loss, true, found):
    return float(keras.ops.convert_to_numpy(loss(true, found)))


def test_squared_error_is_that_of_a_normal_distribution():
    true, found = RNG.normal(size=(2, ROWS, 3)).astype("float32")
    for deviation in (0.5, 1.0, 3.0):
        likelihood = -stats.norm(found, deviation).logpdf(true).mean()
        constant = np.log(2 * np.pi * deviation**2) / 2
        expected = 2 * deviation**2 * (likelihood - constant)
        assert _value(for_task("regression"), true, found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("logits", [False, True])
def test_binary_crossentropy_is_that_of_bernoulli(logits):
    raw = RNG.normal(size=(ROWS, 2)).astype("float32")
    true = RNG.integers(0, 2, raw.shape)
    expected = -stats.bernoulli(special.expit(raw)).logpmf(true).mean()
    found = raw if logits else special.expit(raw)
    loss = for_task("binary", from_logits=logits)
    assert _value(loss, true.astype("float32"), found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("logits", [False, True])
def test_crossentropy_behind_tanh_is_that_of_bernoulli_in_another_coding(logits):
    raw = RNG.normal(size=(ROWS, 2)).astype("float32")
    true = RNG.choice([-1, 1], raw.shape)
    expected = -stats.bernoulli((1 + np.tanh(raw)) / 2).logpmf((true + 1) // 2).mean()
    found = raw if logits else np.tanh(raw)
    loss = for_task("binary_tanh", from_logits=logits)
    assert _value(loss, true.astype("float32"), found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_categorical_crossentropy_is_that_of_a_multinomial(logits, one_hot):
    raw = RNG.normal(size=(ROWS, 4)).astype("float32")
    probabilities = special.softmax(raw.astype("float64"), axis=1)
    labels = RNG.integers(0, 4, ROWS)
    rows = np.eye(4, dtype="float32")[labels]
    pairs = zip(probabilities, rows, strict=True)
    expected = -np.mean([stats.multinomial(1, p).logpmf(row) for p, row in pairs])
    loss = for_task("multiclass", from_logits=logits, one_hot=one_hot)
    found = raw if logits else probabilities.astype("float32")
    assert _value(loss, rows if one_hot else labels, found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_crossentropy_against_the_formula(smoothing, from_logits):
    """Targets 1 - e + e/k and e/k; without smoothing it is Keras's own loss."""
    labels, raw = RNG.integers(0, 4, 9), RNG.normal(size=(9, 4))
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    target = np.full((9, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[labels]
    found = (raw if from_logits else scores).astype("float32")
    loss = SparseCategoricalCrossentropy(smoothing, from_logits)
    assert _value(loss, labels, found) == pytest.approx(
        -(target * np.log(scores)).sum(axis=1).mean(), rel=1e-5
    )
    usual = keras.losses.SparseCategoricalCrossentropy(from_logits)
    if smoothing == 0:
        assert _value(loss, labels[:, None], found) == pytest.approx(_value(usual, labels, found))


def test_squared_error_of_tanh():
    true, found = np.array([[1.0], [-1.0]], "float32"), np.array([[0.5], [0.5]], "float32")
    assert _value(for_task("binary_tanh", squared=True), true, found) == pytest.approx(1.25)


@pytest.mark.parametrize("logits", [False, True])
def test_gradients_of_the_tanh_loss_against_the_formula(logits):
    """By z it is sigmoid(2z) - p, twice; by y it is (y - t) / (1 - y^2)."""
    true = RNG.choice([-1.0, 1.0], (7, 3))
    raw = RNG.normal(size=(7, 3))
    outputs = raw if logits else np.tanh(raw)
    _, gradient = value_and_gradient(TanhCrossentropy(logits, dtype="float64"), true, outputs)
    y = np.tanh(raw)
    expected = (y - true) if logits else (y - true) / (1 - y**2)
    np.testing.assert_allclose(gradient, expected / true.size, rtol=1e-6)


def test_certain_and_wrong_is_finite_and_from_logits_still_has_a_gradient():
    true = np.array([[-1.0]])
    assert np.isfinite(_value(TanhCrossentropy(), true, np.array([[1.0]])))
    value, gradient = value_and_gradient(
        TanhCrossentropy(True, dtype="float64"), true, np.array([[50.0]])
    )
    assert value == pytest.approx(100) and gradient == pytest.approx(2)


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ("classification", {}, ValueError, "task.*'regression'.*'classification'"),
        ("regression", {"from_logits": True}, ValueError, "from_logits=True.*'regression'"),
        ("binary", {"one_hot": True}, ValueError, "one_hot=True.*'binary'"),
        ("multiclass", {"squared": True}, ValueError, "squared=True.*'multiclass'"),
        (
            "binary_tanh",
            {"squared": True, "from_logits": True},
            ValueError,
            "needs the tanh outputs",
        ),
        ("binary", {"from_logits": 1}, TypeError, "from_logits.*1"),
    ],
)
def test_what_does_not_go_together_is_refused(task, options, error, message):
    with pytest.raises(error, match=message):
        for_task(task, **options)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 1\) and \(4, 3\)"):
        TanhCrossentropy()(np.ones((4, 1)), np.zeros((4, 3)))
