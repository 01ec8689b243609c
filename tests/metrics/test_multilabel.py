"""Mean average precision over classes, against scikit-learn on scores rounded to the bins."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from keras_dlcourse.metrics import MultilabelAveragePrecision


def _value(metric):
    return float(metric.result())


@settings(max_examples=min(25, settings.default.max_examples))
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 40), bins=st.sampled_from([1, 7, 1000]))
def test_equals_scikit_learn(seed, rows, bins):
    """With ties, weights, gaps, and classes without a positive, in two batches."""
    rng = np.random.default_rng(seed)
    true = (rng.random((rows, 3)) < [0.5, 0.1, 0.9]).astype("float32")
    scores = rng.choice([0.0, 0.2, 0.5, 1.0, *rng.random(20)], (rows, 3)).astype("float32")
    weights = rng.uniform(0.1, 2, rows).astype("float32")
    true[rng.random(true.shape) < 0.2] = rng.choice([np.nan, -1])
    metric = MultilabelAveragePrecision(3, bins)
    for part in (slice(0, rows // 2), slice(rows // 2, rows)):
        if true[part].size:
            metric.update_state(true[part], scores[part], weights[part])
    binned = np.minimum(np.floor(scores * np.float32(bins)), bins - 1)
    expected = []
    for labels, column in zip(true.T, binned.T, strict=True):
        known = labels >= 0
        if (labels[known] == 1).any():
            expected.append(
                average_precision_score(labels[known], column[known], sample_weight=weights[known])
            )
    assert _value(metric) == pytest.approx(np.mean(expected) if expected else 0, abs=2e-5)


def test_many_bins_are_as_good_as_the_scores():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, (500, 4))
    scores = np.clip(0.3 * true + rng.normal(0.4, 0.2, (500, 4)), 0, 1)
    metric = MultilabelAveragePrecision(4)
    metric.update_state(true, scores)
    assert _value(metric) == pytest.approx(average_precision_score(true, scores), abs=2e-3)


def test_scores_that_are_none_come_last():
    """As if they were 0, on every backend."""
    true, scores = np.array([[1, 0], [0, 1]]), np.array([[np.nan, 0.2], [0.3, np.inf]])
    metric = MultilabelAveragePrecision(2)
    metric.update_state(true, scores)
    expected = average_precision_score(true, np.nan_to_num(scores, posinf=1))
    assert _value(metric) == pytest.approx(expected)


def test_in_fit_and_a_new_epoch_starts_anew():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype("float32")
    y = (x[:, :3] > 0).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "sigmoid")])
    model.compile(
        keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=[MultilabelAveragePrecision(3)]
    )
    history = model.fit(x, y, epochs=15, verbose=0, validation_data=(x, y)).history
    expected = average_precision_score(y, model.predict(x, verbose=0))
    assert history["val_mean_average_precision"][-1] == pytest.approx(expected, abs=2e-3)
    assert expected > 0.9


@pytest.mark.parametrize(
    ("true", "found", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), r"y_true must be \(rows, 4\)"),
        (np.zeros((2, 4)), np.zeros((2, 3)), r"y_pred must be \(rows, 4\)"),
        (np.zeros(4), np.zeros((1, 4)), r"Received: \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(true, found, message):
    with pytest.raises(ValueError, match=message):
        MultilabelAveragePrecision(4).update_state(true, found)
