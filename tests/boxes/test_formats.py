"""Formats of boxes, read off pictures of them; and boxes that are none."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dlcourse.data import BOX_FORMATS, check_boxes, convert_boxes

HEIGHT, WIDTH = 40, 100
BOX = (10, 20, 60, 28)  # left, top, right, bottom: 50 wide, 8 high, in the middle of (35, 24)
WRITTEN = {
    "xyxy": (10, 20, 60, 28),
    "yxyx": (20, 10, 28, 60),
    "xywh": (10, 20, 50, 8),
    "xyhw": (10, 20, 8, 50),
    "center_xywh": (35, 24, 50, 8),
    "center_yxhw": (24, 35, 8, 50),
    "rel_xyxy": (0.1, 0.5, 0.6, 0.7),
    "rel_yxyx": (0.5, 0.1, 0.7, 0.6),
    "rel_xywh": (0.1, 0.5, 0.5, 0.2),
    "rel_xyhw": (0.1, 0.5, 0.2, 0.5),
    "rel_center_xywh": (0.35, 0.6, 0.5, 0.2),
    "rel_center_xyhw": (0.35, 0.6, 0.2, 0.5),
}


@pytest.mark.parametrize("source", BOX_FORMATS)
@pytest.mark.parametrize("target", BOX_FORMATS)
def test_every_format_to_every_other(source, target):
    found = convert_boxes([WRITTEN[source]], source, target, HEIGHT, WIDTH)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, [WRITTEN[target]], rtol=1e-5)


@given(st.integers(0, 10**6), st.sampled_from(BOX_FORMATS), st.sampled_from(BOX_FORMATS))
def test_there_and_back(seed, source, target):
    boxes = np.random.default_rng(seed).uniform(0.1, 0.4, (3, 2, 4)).astype("float32")
    there = convert_boxes(boxes, source, target, HEIGHT, WIDTH)
    np.testing.assert_allclose(
        convert_boxes(there, target, source, HEIGHT, WIDTH), boxes, atol=1e-5
    )


def test_tensors_stay_tensors_and_types_stay():
    tensor = keras.ops.convert_to_tensor(np.array([BOX], "float16"))
    found = convert_boxes(tensor, "xyxy", "xyhw")
    assert not isinstance(found, np.ndarray)
    assert keras.backend.standardize_dtype(found.dtype) == "float16"
    assert convert_boxes(np.array([BOX]), "xyxy", "xyhw").dtype == "float32"


def test_conversions_that_cannot_be_are_said():
    with pytest.raises(ValueError, match="source must be one of 'xyxy'.*rel_xyhw.*'ltrb'"):
        convert_boxes([BOX], "ltrb", "xyxy")
    with pytest.raises(ValueError, match="Converting from xyxy to rel_xyxy needs height and width"):
        convert_boxes([BOX], "xyxy", "rel_xyxy", height=40)
    with pytest.raises(ValueError, match=r"shape \(..., 4\). Received: shape \(1, 3\)"):
        convert_boxes([BOX[:3]], "xyxy", "xywh")


def test_good_boxes_pass():
    for name, numbers in WRITTEN.items():
        boxes = np.array([numbers, [np.nan] * 4])
        found = check_boxes(boxes, name, HEIGHT, WIDTH)
        np.testing.assert_array_equal(found, boxes)
    check_boxes(np.zeros((0, 4)), "xyxy", HEIGHT, WIDTH)
    check_boxes([[0.0, 0.0, 1.00001, 1.0]], "rel_xyxy")  # rounding
    check_boxes([[0, 0, 500, 400]], "xyxy")  # of an image of unknown size


BAD = [
    ([WRITTEN["xyxy"], (5, np.nan, 7, 8)], "xyxy", "NaN or infinite values in 1 of 2.*first at 1"),
    ([WRITTEN["xyxy"], (5, 5, np.inf, 8)], "xyxy", "NaN or infinite values in 1 of 2.*first at 1"),
    ([(10, 20, -5, 8)], "xywh", r"a negative size in 1 of 1.*\[10.0, 20.0, -5.0, 8.0\] as xywh"),
    (
        [WRITTEN["xyxy"], (60, 20, 10, 28)],
        "xyxy",
        "a negative size in 1 of 2 boxes, first at 1",
    ),
    ([(60, 20, 110, 28)], "xyxy", "an edge outside the image in 1 of 1"),
    ([(60, 20, 70, 41)], "xyxy", "an edge outside the image in 1 of 1"),
    ([(-3, 20, 70, 30)], "xyxy", "an edge outside the image in 1 of 1"),
    ([WRITTEN["xywh"]], "xyxy", "a negative size"),  # 8 < 20
    ([WRITTEN["xyxy"]], "rel_xyxy", "values up to 60.*look like pixels"),
    ([WRITTEN["rel_xyxy"]], "xyxy", "no value above 1.*begins with rel_"),
    ([BOX[:2]], "xyxy", r"shape \(..., 4\). Received: shape \(1, 2\)"),
    ([BOX], "boxes", "bounding_box_format must be one of.*'boxes'"),
]


@pytest.mark.parametrize(("boxes", "bounding_box_format", "message"), BAD)
def test_bad_boxes_are_said(boxes, bounding_box_format, message):
    with pytest.raises(ValueError, match=message):
        check_boxes(boxes, bounding_box_format, HEIGHT, WIDTH)
