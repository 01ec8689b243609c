"""Boxes of maps in NumPy alone, beside those of the desk."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from keras_dlcourse.edge import box_from_map

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(
    arrays("float32", SIZES, elements=st.floats(0, 1, width=32)), st.sampled_from([0.15, 0.5, 1])
)
def test_the_box_is_that_of_scipys_largest_part(plane, threshold):
    plane = plane.astype("float64")
    box = box_from_map(plane, threshold)
    if not plane.max() > 0:
        assert box == (0, 0, 0, 0)
        return
    parts, _ = ndimage.label(plane >= threshold * plane.max(), np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    boxes = [
        (columns.start, rows.start, columns.stop, rows.stop)
        for (rows, columns), size in zip(ndimage.find_objects(parts), sizes, strict=True)
        if size == sizes.max()
    ]
    assert box in boxes


def test_where_the_network_did_not_look_is_nothing():
    plane = np.full((4, 6), np.nan)
    plane[:, 1:5] = -1.0
    assert box_from_map(plane) == (0, 0, 0, 0)
    plane[2, 3] = 0.1
    assert box_from_map(plane) == (3, 2, 4, 3)


def test_a_map_as_large_as_a_photo_takes_milliseconds():
    rng = np.random.default_rng(0)
    plane = ndimage.gaussian_filter(rng.normal(size=(480, 640)), 6)
    box_from_map(plane)
    started = time.process_time()  # whatever else the machine does
    box_from_map(plane)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("plane", "threshold", "message"),
    [
        (np.zeros((2, 2, 2)), 0.5, r"shape \(height, width\). Received: \(2, 2, 2\)"),
        (np.zeros((0, 3)), 0.5, "shape"),
        (np.zeros((2, 2)), 0, "above 0 and at most 1"),
        (np.zeros((2, 2)), float("nan"), "above 0 and at most 1"),
    ],
)
def test_mistakes_are_said(plane, threshold, message):
    with pytest.raises(ValueError, match=message):
        box_from_map(plane, threshold)


def test_a_threshold_is_a_number():
    with pytest.raises(TypeError, match="threshold must be a number above 0 and at most 1"):
        box_from_map(np.zeros((2, 2)), None)
