"""Thresholds of the best F1, against trying every one."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

import keras_dlcourse as kd
from keras_dlcourse.training.decisions.choose_thresholds import best_thresholds


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), rows=st.integers(2, 30))
def test_no_other_threshold_is_better(seed, rows):
    rng = np.random.default_rng(seed)
    true = (rng.random((rows, 2)) < [0.5, 0.2]).astype("float32")
    true[0] = 1
    scores = rng.choice([0.0, 0.3, 0.5, 1.0, *rng.random(8)], (rows, 2)).astype("float32")
    for labels, column, chosen in zip(true.T, scores.T, best_thresholds(true, scores), strict=True):
        tried = [f1_score(labels, column >= level) for level in np.unique([0, *column, 1])]
        assert f1_score(labels, column >= chosen) == pytest.approx(max(tried))
        # It lies between scores, not on one, unless that is 0.
        assert chosen == 0 or chosen not in column


@settings(max_examples=40)
@given(lower=st.floats(0, 1, width=32))
def test_neighbours_are_told_apart(lower):
    """Nothing lies between two scores that float32 has beside each other."""
    upper = np.nextafter(np.float32(lower), np.float32(2))
    if upper <= 1:
        scores = np.array([[lower], [upper]], "float32")
        found = scores >= best_thresholds(np.array([[0], [1]], "float32"), scores)
        assert found.tolist() == [[False], [True]]


def test_unknown_labels_have_no_say():
    true = np.array([[1], [0], [1], [np.nan], [np.nan]], "float32")
    scores = np.array([[0.9], [0.2], [0.8], [0.85], [0.1]], "float32")
    assert best_thresholds(true, scores).tolist() == pytest.approx([0.5])


def test_of_a_model_and_a_pipeline():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 1, 1, 2)).astype("uint8")
    y = (pixels[:, 0, 0] > [200, 60]).astype("int32")
    inputs = keras.Input((1, 1, 2))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))  # the share of white
    data = kd.data.pipeline(pixels, y, normalization=kd.data.Normalization((0.0,), (255.0,)))
    shares = pixels / np.float32(255)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            part = slice(20 * number, 20 * number + 20)
            return shares[part], y[part]

    for given_data in (data, (shares, y), Batches()):
        chosen = kd.training.choose_thresholds(model, given_data, batch_size=7)
        np.testing.assert_allclose(chosen, [200.5 / 255, 60.5 / 255], atol=0.03)
        found = model.predict(pixels / 255, verbose=0) >= chosen
        np.testing.assert_array_equal(found, y)


def test_a_class_without_positives_is_said():
    true, scores = np.array([[1, 0], [0, 0]], "float32"), np.array([[0.9, 0.9], [0.1, 0.2]])
    with pytest.warns(UserWarning, match=r"classes \[1\] have no positives"):
        chosen = best_thresholds(true, scores)
    assert chosen.tolist() == [0.5, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best_thresholds(true[:, :1], scores[:, :1])


@pytest.mark.parametrize(
    ("x", "y", "activation", "message"),
    [
        (np.zeros((3, 2)), None, "sigmoid", "must have labels"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), "sigmoid", r"must be \(n, classes\)"),
        (
            np.zeros((3, 2)),
            np.ones((3, 3)),
            "sigmoid",
            r"scores of shape \(2,\) and labels of shape \(3,\)",
        ),
        (np.ones((3, 2)) * 4, np.ones((3, 2)), "linear", "End the model in a sigmoid"),
    ],
)
def test_what_makes_no_sense(x, y, activation, message):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Activation(activation)(inputs))
    with pytest.raises(ValueError, match=message):
        kd.training.choose_thresholds(model, x if y is None else (x, y))


def test_several_outputs():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, {"a": inputs, "b": inputs})
    with pytest.raises(ValueError, match="model must have one output"):
        kd.training.choose_thresholds(model, (np.zeros((3, 2)), np.zeros((3, 2))))


def test_what_is_no_model():
    with pytest.raises(TypeError, match="must be a keras.Model"):
        kd.training.choose_thresholds("model.keras", (np.zeros((3, 2)), np.zeros((3, 2))))
