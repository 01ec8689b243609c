"""Calibration error and reliability against scikit-learn's `calibration_curve`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

import keras_dlcourse as kd
from keras_dlcourse.report import draw_reliability, png_bytes, reliability

RNG = np.random.default_rng(0)


def _reference(right, score, bins):
    """The mean gap of scikit-learn's curve, its bins weighted by how many they hold."""
    share, mean = calibration_curve(right, score, n_bins=bins)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score)
    counts = np.bincount(place, minlength=bins)
    counts = counts[counts > 0]
    return float((counts * np.abs(share - mean)).sum() / counts.sum()), share, mean, counts


def _measured(y, scores, bins):
    metric = kd.metrics.ExpectedCalibrationError(bins)
    metric.update_state(y, scores)
    return float(metric.result())


@settings(max_examples=min(25, settings.default.max_examples))
@given(st.integers(0, 2**20), st.integers(1, 30), st.integers(2, 5), st.integers(5, 300))
def test_several_classes(seed, bins, classes, n):
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.full(classes, 0.7), n).astype("float32")
    y = random.integers(0, classes, n)
    right, score = y == scores.argmax(1), scores.max(1).astype(float)
    expected, share, mean, counts = _reference(right, np.clip(score, 0, 1), bins)
    found = reliability(y, scores, bins)
    some = found.counts > 0
    np.testing.assert_array_equal(found.counts[some], counts)
    np.testing.assert_allclose(found.shares[some], share)
    np.testing.assert_allclose(found.scores[some], mean)
    assert np.isnan(found.shares[~some]).all()
    assert found.error == pytest.approx(expected, abs=1e-9)
    assert _measured(y, scores, bins) == pytest.approx(expected, abs=1e-5)
    one_hot = keras.utils.to_categorical(y, classes)
    assert _measured(one_hot, scores, bins) == pytest.approx(expected, abs=1e-5)


def test_one_sigmoid():
    score = RNG.random(500)
    y = (RNG.random(500) < score**2).astype(int)
    expected, *_ = _reference(y, score, 10)
    assert expected > 0.1
    assert _measured(y, score[:, None].astype("float32"), 10) == pytest.approx(expected, abs=1e-5)
    assert reliability(y, score, 10).error == pytest.approx(expected)


def test_edges_belong_to_the_bin_below():
    score = np.array([0.0, 0.2, 0.4, 1.0])
    assert reliability([0, 0, 1, 1], score, 5).counts.tolist() == [2, 1, 0, 0, 1]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="y_pred must be"):
        _measured(np.zeros(3), np.zeros(3), 5)
    for labels, scores, message in (
        ([0, 1], [[0.5, 0.5]], "shapes"),
        ([0], [[1.5, 0]], "from 0 to 1"),
        ([0], [[float("nan"), 0]], "from 0 to 1"),
        ([], np.zeros((0, 2)), "n > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            reliability(labels, scores)
    with pytest.raises(ValueError, match="bins.*0"):
        reliability([0], [[1.0, 0.0]], 0)
    with pytest.raises(ValueError, match="1 to 4 entries. Received: 0"):
        draw_reliability({})


def test_the_picture(tmp_path):
    scores = RNG.dirichlet(np.full(4, 0.3), 2000)
    right = RNG.random(2000) < scores.max(1) ** 2
    y = np.where(right, scores.argmax(1), (scores.argmax(1) + 1) % 4)
    figure = draw_reliability({"plain": reliability(y, scores), "$5": reliability(y, scores**0.5)})
    assert png_bytes(figure)[1:4] == b"PNG"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[1].startswith("plain: error ") and labels[2].startswith("$5: error ")
