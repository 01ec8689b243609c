"""Measures of predicted boxes, counted by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.boxes.of_masks import intersection_over_union
from keras_dlcourse.metrics import BoxAccuracy, BoxIoU, LocalizationAccuracy

TRUE = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [2, 2, 6, 8], [1, 1, 3, 3]], "float32")
FOUND = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [2, 2, 8, 8], [4, 4, 9, 9]], "float32")
IOUS = [1, 0.5, 24 / 36, 0]
SCORES = np.eye(3, dtype="float32")[[0, 1, 2, 2]]


def _value(metric, *arguments, **options):
    metric.update_state(*arguments, **options)
    return float(keras.ops.convert_to_numpy(metric.result()))


def test_mean_and_share():
    assert _value(BoxIoU("xyxy"), TRUE, FOUND) == pytest.approx(np.mean(IOUS))
    assert _value(BoxAccuracy("xyxy"), TRUE, FOUND) == 0.75  # at the limit is right
    assert _value(BoxAccuracy("xyxy", iou=0.51), TRUE, FOUND) == 0.5


def test_agrees_with_the_overlap_of_maps_boxes():
    corners = np.sort(np.random.default_rng(0).integers(0, 9, (2, 200, 2, 2)), axis=2)
    true, found = corners.reshape(2, 200, 4).astype("float32")
    expected = intersection_over_union(true, found).mean()
    assert _value(BoxIoU("xyxy"), true, found) == pytest.approx(expected, rel=1e-5)


def test_missing_boxes_are_passed_over():
    true = TRUE.copy()
    true[1] = np.nan
    assert _value(BoxIoU("xyxy"), true, FOUND) == pytest.approx(np.mean([1, 24 / 36, 0]))
    weights = np.array([1, 5, 0, 3], "float32")
    assert _value(BoxIoU("xyxy"), true, FOUND, sample_weight=weights) == pytest.approx(0.25)
    assert _value(BoxIoU("xyxy"), TRUE[None] * np.nan, FOUND[None]) == 0


def test_several_boxes_of_an_image():
    true, found = TRUE.reshape(2, 2, 4), FOUND.reshape(2, 2, 4)
    assert _value(BoxIoU("xyxy"), true, found) == pytest.approx(np.mean(IOUS))
    weighted = _value(BoxIoU("xyxy"), true, found, sample_weight=np.array([3, 1]))
    assert weighted == pytest.approx((3 * 1 + 3 * 0.5 + 24 / 36) / 8)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_class_and_box_must_both_be_right(shape):
    metric = LocalizationAccuracy("xyxy")
    true = {"label": np.array([0, 2, 2, 2]).reshape(shape), "box": TRUE}
    assert _value(metric, true, {"label": SCORES, "box": FOUND}) == 0.5  # the first and the third
    true = {"label": np.array([0, -1, 2, 2]).reshape(shape), "box": TRUE.copy()}
    true["box"][3] = np.nan
    metric.reset_state()
    assert _value(metric, true, {"label": SCORES, "box": FOUND}) == 1


def test_the_names_of_outputs_are_arguments():
    metric = LocalizationAccuracy("xyxy", 0.9, label="kind", box="where", name="mine")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    true, found = {"kind": np.array([0, 1, 2, 2]), "where": TRUE}, {"kind": SCORES, "where": FOUND}
    assert (twin.name, _value(twin, true, found)) == ("mine", 0.25)
    for arguments, message in ((("ltrb",), "ltrb"), (("xyxy", 2), "iou.*2")):
        with pytest.raises(ValueError, match=message):
            LocalizationAccuracy(*arguments)
