"""Weights of rare labels, and labels that are none."""

from __future__ import annotations

import numpy as np
import pytest

import keras_dlcourse as kd


def test_weights_are_negatives_by_positives_among_the_known():
    rng = np.random.default_rng(0)
    y = (rng.random((200, 3)) < [0.5, 0.1, 0.8]).astype("float32")
    y[:20, 1], y[5:9, 2] = np.nan, -1
    expected = []
    for column in y.T:
        known = [value for value in column if value in (0, 1)]
        expected.append((len(known) - sum(known)) / sum(known))
    np.testing.assert_allclose(kd.data.positive_weights(y), expected)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[1, 0], [0, 0]], "Class 1 is present in none"),
        ([[1, 0], [1, 1]], "Class 0 is present in all"),
        ([[1, 0], [0, 0.5]], "must contain 0, 1, and NaN.*0.5"),
        ([0, 1, 2], r"must be \(n, classes\).*shape \(3,\)"),
        ([["a", "b"]], r"must be \(n, classes\) of 0 and 1"),
    ],
)
def test_labels_of_another_kind(y, message):
    with pytest.raises(ValueError, match=message):
        kd.data.positive_weights(y)


def test_class_weights_are_for_one_class_an_image():
    images = np.zeros((3, 4, 4, 1), "uint8")
    with pytest.raises(ValueError, match="one class per image.*positive_weights"):
        kd.data.pipeline(images, [[1, 1], [0, 1], [1, 0]], class_weight={0: 2.0})
    one_hot = kd.data.pipeline(images, np.eye(3), class_weight={1: 2.0})
    assert one_hot.sample_weight.tolist() == [1, 2, 1]
    shares = np.full((3, 7), 0.1 / 6, "float32")  # smoothed, and of a sum near 1
    shares[np.arange(3), np.arange(3)] = 0.9
    assert kd.data.pipeline(images, shares, class_weight={1: 2.0}).sample_weight[1] == 2


def test_unknown_labels_in_a_pipeline():
    images = np.zeros((2, 4, 4, 1), "uint8")
    unknown = [[1, 1, -1], [1, 1, -1]]  # of sum 1, and no one-hot rows
    assert kd.data.pipeline(images, unknown, class_names=["a", "b", "c"]).y.tolist() == unknown
    with pytest.raises(ValueError, match="one class per image"):
        kd.data.pipeline(images, unknown, class_weight={0: 2.0})
    with pytest.raises(ValueError, match=r"NaN.*\[0 1\].*unknown labels with -1"):
        kd.data.pipeline(images, [[1, np.nan], [0, 1]])
