"""Polygons and run lengths: as COCO's own tools, matplotlib and plain loops have them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path

from keras_dlcourse.data import decode_rle, draw_polygons, encode_rle


@settings(max_examples=150)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.booleans())
def test_run_lengths_there_and_back(mask, text):
    rle = json.loads(json.dumps(encode_rle(mask, text=text)))
    np.testing.assert_array_equal(decode_rle(rle), mask)
    assert rle["size"] == list(mask.shape) and isinstance(rle["counts"], str if text else list)


@settings(max_examples=60)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_run_lengths_are_those_of_a_loop(mask):
    runs, shown = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != shown:
                runs.append(0)
                shown = not shown
            runs[-1] += 1
    assert encode_rle(mask, text=False)["counts"] == runs


def _large():
    mask = np.zeros((300, 400), bool)
    mask[40:250, 30:333] = True
    mask[100:120, 50:60] = False
    mask[299, 399] = True
    return mask


def _small():
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:7] = True
    mask[3, 4] = False
    return mask


# Written by pycocotools 2.0.11: encode(numpy.asfortranarray(mask.astype("uint8"))).
BY_COCO = (
    (_small(), "=3300O11O0;"),
    (np.ones((100, 100), bool), "0`h9"),
    (np.zeros((2, 3), bool), "6"),
)


@pytest.mark.parametrize(("mask", "text"), BY_COCO, ids=["small", "full", "empty"])
def test_text_is_that_of_coco(mask, text):
    assert encode_rle(mask)["counts"] == text
    for given_text in (text, text.encode()):
        found = decode_rle({"size": list(mask.shape), "counts": given_text})
        np.testing.assert_array_equal(found, mask)


def test_text_of_long_runs_and_many_differences():
    text = encode_rle(_large())["counts"]
    assert text.startswith("`j8b6j2000000") and "ZKjMV2V2jMjMV2V2jM" in text
    np.testing.assert_array_equal(decode_rle({"size": [300, 400], "counts": text}), _large())


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 3], "counts": [1, 2]},
        {"size": [2, 3], "counts": [7, -1]},
        {"size": [2, 3], "counts": [1.5, 4.5]},
        {"size": [2, 3], "counts": "P"},
        {"size": [2, 3]},
        {"counts": [6]},
        [1, 2, 3],
    ],
)
def test_damaged_run_lengths_are_refused(rle):
    with pytest.raises(ValueError, match="rle must have"):
        decode_rle(rle)


@settings(max_examples=80)
@given(
    arrays("float64", st.tuples(st.integers(3, 12), st.just(2)), elements=st.floats(-5, 35)),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_pixels_of_a_polygon_are_those_whose_center_is_inside(points, height, width):
    """By the crossing rule, pixel by pixel; polygons cross themselves and leave the image."""
    found = draw_polygons([points], (height, width))
    for row in range(height):
        for column in range(width):
            y, x, crossings = row + 0.5, column + 0.5, 0
            for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
                if (y1 <= y) != (y2 <= y):
                    crossings += x1 + (y - y1) * ((x2 - x1) / (y2 - y1)) <= x
            assert found[row, column] == crossings % 2


def test_polygons_without_crossings_are_those_of_matplotlib():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80] + 0.5
    centers = np.stack([x.ravel(), y.ravel()], axis=-1)
    for corners in range(3, 30):
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(5, 28, corners)
        points = np.stack([40 + radii * np.cos(angles), 30 + radii * np.sin(angles)], axis=-1)
        expected = Path(points).contains_points(centers).reshape(60, 80)
        np.testing.assert_array_equal(draw_polygons([points.ravel().tolist()], (60, 80)), expected)


def test_an_object_is_all_of_its_polygons():
    left, right = [0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 4, 0, 4, 1, 1, 1]
    expected = [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert draw_polygons([left, right], (2, 4)).astype(int).tolist() == expected
    assert not draw_polygons([], (2, 4)).any()


@pytest.mark.parametrize("polygon", [[0, 0, 1, 1], [0, 0, 1], [0, 0, 1, 1, float("nan"), 2], "x"])
def test_polygons_that_are_none(polygon):
    with pytest.raises(ValueError, match="polygons must have three points or more"):
        draw_polygons([polygon], (4, 4))


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros(4, bool)])
def test_masks_that_are_none(mask):
    with pytest.raises(ValueError, match=r"mask must be \(height, width\) of True and False"):
        encode_rle(mask)
