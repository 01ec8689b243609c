"""Cross-entropy of several labels an image, against loops and Keras's own."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from loss_kit import value_and_gradient

from keras_dlcourse.data import positive_weights
from keras_dlcourse.losses import WeightedBinaryCrossentropy

RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 2, (9, 4)).astype("float32")
FOUND = RNG.uniform(0.01, 0.99, (9, 4)).astype("float32")
LOGITS = np.log(FOUND / (1 - FOUND))
WEIGHTS = [3.0, 0.5, 1.0, 7.0]


def _by_hand(true, found, weights):
    """Return the loss of each row, class by class."""
    rows = []
    for labels, scores in zip(true, found, strict=True):
        terms = [
            -weight * math.log(score) if label == 1 else -math.log(1 - score)
            for label, score, weight in zip(labels, scores, weights, strict=True)
            if label >= 0
        ]
        rows.append(sum(terms) / len(terms) if terms else 0.0)
    return rows


def _gaps(seed=1):
    true = TRUE.copy()
    hidden = np.random.default_rng(seed).random(true.shape) < 0.4
    true[hidden] = np.where(np.arange(hidden.sum()) % 2, np.nan, -1)
    true[2] = np.nan
    return true


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("true", [TRUE, _gaps()], ids=["known", "gaps"])
def test_equals_a_loop(true, from_logits):
    loss = WeightedBinaryCrossentropy(WEIGHTS, from_logits, reduction=None)
    found = loss(true, LOGITS if from_logits else FOUND)
    expected = _by_hand(true, FOUND, WEIGHTS)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)


@pytest.mark.parametrize("from_logits", [False, True])
def test_without_weights_it_is_that_of_keras(from_logits):
    given = LOGITS if from_logits else FOUND
    for weight in (None, 1.0):
        ours = WeightedBinaryCrossentropy(weight, from_logits)
        theirs = keras.losses.BinaryCrossentropy(from_logits)
        assert float(ours(TRUE, given)) == pytest.approx(float(theirs(TRUE, given)), rel=1e-5)


def test_balanced_weights_make_both_sides_cost_the_same():
    """With p = 1/2 everywhere, positives and negatives of a rare class weigh alike."""
    rare = np.zeros((50, 1), "float32")
    rare[:5] = 1
    loss = WeightedBinaryCrossentropy(positive_weights(rare), reduction=None)
    each = keras.ops.convert_to_numpy(loss(rare, np.full((50, 1), 0.5, "float32")))
    assert each[:5].sum() == pytest.approx(each[5:].sum(), rel=1e-5)


def test_certainty_that_is_wrong_costs_much_but_not_infinity():
    loss = WeightedBinaryCrossentropy(2.0)
    value = float(loss(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])))
    assert 20 < value < 30


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("labels", [[1, 0, 1, 0], [np.nan, -1, 1, 0], [np.nan] * 4])
def test_gradients_are_finite_where_outputs_are_extreme(labels, from_logits):
    """Also of unknown labels, which have none."""
    ends = [-500.0, 500.0, 500.0, -500.0] if from_logits else [0.0, 1.0, 1.0, 0.0]
    loss = WeightedBinaryCrossentropy(WEIGHTS, from_logits, dtype="float64")
    value, gradient = value_and_gradient(loss, np.array([labels]), np.array([ends]))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    known = np.array([labels]) >= 0
    assert (gradient[~known] == 0).all()
    if not known.any():
        assert value == 0


@pytest.mark.parametrize("weight", [0, -1.0, [1.0, np.inf], [[1.0]], [], "much", {0: 2.0}])
def test_weights_that_make_no_sense(weight):
    with pytest.raises(ValueError, match="positive_weight must be above 0"):
        WeightedBinaryCrossentropy(weight)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="has 2 weights for 4 classes"):
        WeightedBinaryCrossentropy([1.0, 2.0])(TRUE, FOUND)
    with pytest.raises(ValueError, match=r"one value per class. Received: \(9,\) and \(9, 4\)"):
        WeightedBinaryCrossentropy()(TRUE[:, 0], FOUND)
