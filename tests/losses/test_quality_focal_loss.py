"""Quality focal loss against equation 5 of its paper, one score at a time."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse.losses import QualityFocalLoss

seeds = st.integers(0, 10**6)


@given(seeds, st.sampled_from([1.0, 1.5, 2.0]), st.booleans())
def test_equals_the_equation(seed, beta, from_logits):
    random = np.random.default_rng(seed)
    true = random.uniform(0, 1, (3, 4, 2)) * (random.random((3, 4, 2)) < 0.5)
    logits = random.normal(size=(3, 4, 2)) * 3
    scores = 1 / (1 + np.exp(-logits))
    loss = QualityFocalLoss(beta, from_logits, reduction="none")
    found = loss(true, logits if from_logits else scores)
    for image in range(3):
        for anchor in range(4):
            expected = 0.0
            for y, p in zip(true[image, anchor], scores[image, anchor], strict=True):
                expected -= abs(y - p) ** beta * ((1 - y) * math.log(1 - p) + y * math.log(p))
            assert float(found[image, anchor]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_of_zeros_and_ones_it_is_the_focal_loss_of_keras():
    random = np.random.default_rng(0)
    true, logits = (random.random((6, 3)) < 0.4).astype("float32"), random.normal(size=(6, 3))
    peer = keras.losses.BinaryFocalCrossentropy(gamma=2, from_logits=True)  # the mean over classes
    ours = QualityFocalLoss(from_logits=True)(true, logits)
    assert float(ours) == pytest.approx(3 * float(peer(true, logits)), rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0])
def test_a_score_that_is_right_costs_nothing_and_has_a_gradient(beta):
    """The power of a difference of 0 would have none."""
    weight = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), weight])
    model.compile(keras.optimizers.SGD(1.0), QualityFocalLoss(beta, from_logits=True))
    loss = model.train_on_batch(np.ones((1, 1)), np.full((1, 1), 0.5))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert float(ops.convert_to_numpy(weight.kernel)[0, 0]) == pytest.approx(0, abs=1e-6)


def test_sure_logits_are_finite():
    loss = QualityFocalLoss(from_logits=True, reduction="none")
    found = ops.convert_to_numpy(loss(np.array([[1.0], [0.0]]), np.array([[-90.0], [-90.0]])))
    np.testing.assert_allclose(found, [90, 0], atol=1e-4)
