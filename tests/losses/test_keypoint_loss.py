"""The loss and the measure of keypoints, counted point by point."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.losses import KeypointLoss, SmoothL1Loss
from keras_dlcourse.metrics import PCK

RNG = np.random.default_rng(0)
VISIBLE = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0.5], [1, 1, 1]], "float32")
TRUE = np.concatenate([RNG.normal(size=(4, 3, 2)), VISIBLE[..., None]], axis=2).astype("float32")
FOUND = RNG.normal(size=(4, 6)).astype("float32")


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_only_visible_points_count(beta):
    point = SmoothL1Loss(beta, reduction="none")
    expected = []
    for row in range(4):
        values = [
            float(point(TRUE[row, k : k + 1, :2], FOUND[row].reshape(3, 1, 2)[k])[0])
            for k in range(3)
        ]
        weight = VISIBLE[row].sum()
        expected.append(np.dot(values, VISIBLE[row]) / weight if weight else 0)
    found = keras.ops.convert_to_numpy(KeypointLoss(beta, reduction="none")(TRUE, FOUND))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    hidden = TRUE.copy()
    hidden[..., :2][VISIBLE == 0] = np.nan
    again = keras.ops.convert_to_numpy(KeypointLoss(beta, reduction="none")(hidden, FOUND))
    np.testing.assert_array_equal(again, found)
    pairs = KeypointLoss(beta, reduction="none")(TRUE, FOUND.reshape(4, 3, 2))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(pairs), found)


@pytest.mark.parametrize("threshold", [0.2, 1.0, 2.5])
def test_share_of_visible_points_within_the_threshold(threshold):
    away = np.linalg.norm(FOUND.reshape(4, 3, 2) - TRUE[..., :2], axis=2)
    right, seen = away <= threshold, VISIBLE > 0
    metric = PCK(threshold)
    metric.update_state(TRUE, FOUND)
    assert float(metric.result()) == pytest.approx((right & seen).sum() / seen.sum())
    weights = np.array([2, 5, 0, 1], "float32")
    metric.reset_state()
    metric.update_state(TRUE, FOUND, sample_weight=weights)
    rows = seen * weights[:, None]
    assert float(metric.result()) == pytest.approx((right * rows).sum() / rows.sum())


def test_numbers_that_do_not_match_are_said():
    with pytest.raises(ValueError, match=r"3 true keypoints, y_pred must be \(rows, 6\).*\(4, 4\)"):
        KeypointLoss()(TRUE, FOUND[:, :4])
    with pytest.raises(ValueError, match=r"y_true must be keypoints \(rows, points, 3\).*\(4, 6\)"):
        PCK().update_state(FOUND, FOUND)
    for wrong, error in ((0, ValueError), (-1, ValueError), ("near", TypeError)):
        with pytest.raises(error, match=f"threshold.*{wrong}"):
            PCK(wrong)
