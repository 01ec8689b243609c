"""Anchors against loops over their levels, rows, columns and shapes; shapes by k-means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dlcourse.boxes import cluster_shapes, make_anchors


def _by_loops(image, strides, shapes):
    """Return center x, center y, width, height in pixels, as the papers place them."""
    boxes = []
    for stride, each in zip(strides, shapes, strict=True):
        rows, columns = math.ceil(image[0] / stride), math.ceil(image[1] / stride)
        for row in range(rows):
            for column in range(columns):
                for width, height in each:
                    x, y = (column + 0.5) / columns, (row + 0.5) / rows
                    boxes.append((x * image[1], y * image[0], width, height))
    return np.array(boxes)


sides = st.integers(1, 70)


@given(st.tuples(sides, sides), st.data())
def test_every_anchor_is_where_loops_place_it(image, data):
    strides = data.draw(st.lists(st.integers(4, 40), min_size=1, max_size=3))
    sizes = [data.draw(st.lists(st.floats(1, 50), min_size=1, max_size=3)) for _ in strides]
    ratios = data.draw(st.lists(st.floats(0.2, 5), min_size=1, max_size=3))
    shapes = [
        [(size / ratio**0.5, size * ratio**0.5) for size in each for ratio in ratios]
        for each in sizes
    ]
    anchors = make_anchors(image, strides, sizes, ratios)
    expected = _by_loops(image, strides, shapes)
    pixels = anchors.boxes * np.tile(image[::-1], 2)
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)
    assert anchors.boxes.dtype == np.float32
    assert len(anchors) == len(expected) == len(anchors.levels)
    assert anchors.per_cell == tuple(len(each) for each in shapes)
    assert anchors.image_shape == image
    counts = [
        rows * columns * each
        for (rows, columns), each in zip(anchors.grids, anchors.per_cell, strict=True)
    ]
    np.testing.assert_array_equal(anchors.levels, np.repeat(range(len(strides)), counts))
    given_shapes = make_anchors(image, strides, shapes=shapes)
    np.testing.assert_allclose(given_shapes.boxes, anchors.boxes, rtol=1e-6)


def test_without_sizes_there_is_one_square_of_the_stride_per_cell():
    anchors = make_anchors((64, 32, 3), (8, 16))
    expected = _by_loops((64, 32), (8, 16), [[(8, 8)], [(16, 16)]])
    np.testing.assert_allclose(anchors.boxes * (32, 64, 32, 64), expected)
    # They fill the image without gaps.
    assert (anchors.boxes[:, 2] * anchors.boxes[:, 3]).sum() == pytest.approx(2)


def test_corners_are_those_of_the_boxes():
    anchors = make_anchors((64, 32), [16], [(8, 40)], (0.5, 2))
    for (x, y, width, height), corners in zip(anchors.boxes, anchors.corners, strict=True):
        expected = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        np.testing.assert_allclose(corners, expected, atol=1e-6)
    assert anchors.corners.min() < 0, "anchors beyond the border are not cut"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": (8,)}, ValueError, "2 strides.*1 levels"),
        ({"shapes": [[(1, 1)], []]}, ValueError, "each of 2 strides"),
        ({"sizes": (8, 8), "shapes": [[(1, 1)]] * 2}, ValueError, "shapes replace sizes.*both"),
        ({"sizes": (8, 0)}, ValueError, "sizes must be .*above 0. Received: 0"),
        ({"sizes": (8, "large")}, TypeError, "sizes.*large"),
        ({"ratios": (-1,)}, ValueError, "ratios.*-1"),
        ({"shapes": [[(1, 0)]] * 2}, ValueError, "shapes.*above 0. Received: 0"),
        ({"strides": (8, 0)}, ValueError, "strides.*0"),
        ({"image_shape": (32, None)}, TypeError, "image_shape.*None"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        make_anchors(**{"image_shape": (32, 32), "strides": (8, 16), **arguments})


def _iou(one, other):
    """Return the IoU of two (width, height) at one center."""
    common = min(one[0], other[0]) * min(one[1], other[1])
    return common / (one[0] * one[1] + other[0] * other[1] - common)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_shapes_are_the_means_of_the_boxes_that_they_fit_best(seed, clusters):
    sizes = np.random.default_rng(seed).uniform(1, 80, (40, 2)) ** 1.5
    found = cluster_shapes(sizes, clusters, seed)
    table = np.array([[_iou(size, shape) for shape in found.shapes] for size in sizes])
    assert found.mean_iou == pytest.approx(table.max(axis=1).mean())
    best = table.argmax(axis=1)
    for number, (shape, share) in enumerate(zip(found.shapes, found.share, strict=True)):
        assert share == pytest.approx(np.mean(best == number))
        if share:
            np.testing.assert_allclose(shape, sizes[best == number].mean(axis=0))
    assert (np.diff(found.shapes.prod(axis=1)) >= 0).all()
    again = cluster_shapes(sizes, clusters, seed)
    np.testing.assert_array_equal(again.shapes, found.shapes)


def test_small_boxes_count_as_much_as_large_ones():
    """By Euclid's distance the two large kinds would get a shape each, the small ones none."""
    sizes = np.repeat([[4, 4], [4.2, 4], [8, 2], [100, 100], [110, 110]], 10, axis=0)
    found = cluster_shapes(sizes, 3)
    np.testing.assert_allclose(found.shapes, [[8, 2], [4.1, 4], [105, 105]])
    np.testing.assert_allclose(found.share, [0.2, 0.4, 0.4])


def test_as_many_shapes_as_sizes_fit_exactly():
    sizes = np.array([[1, 2], [3, 1], [5, 5], [1, 2]])
    found = cluster_shapes(sizes, 3)
    assert found.mean_iou == 1
    np.testing.assert_array_equal(found.shapes, [[1, 2], [3, 1], [5, 5]])


def test_sizes_that_differ_in_the_last_digit_can_be_clustered():
    sizes = np.array([[1.0, 1.0], [np.nextafter(1.0, 2), 1.0], [1.0, np.nextafter(1.0, 0)]])
    assert cluster_shapes(sizes, 3).mean_iou == pytest.approx(1)


@pytest.mark.parametrize(
    ("sizes", "clusters", "error", "message"),
    [
        ([[1, 0], [2, 3]], 1, ValueError, "sizes.*above 0.*least 0.*Remove empty boxes"),
        ([[1, np.nan]], 1, ValueError, "sizes.*above 0"),
        ([[1, 2, 3, 4]], 1, ValueError, r"\(boxes, 2\).*\(1, 4\)"),
        (np.zeros((0, 2)), 1, ValueError, "different sizes, 0. Received: 1"),
        ([[1, 2], [1, 2], [3, 4]], 3, ValueError, "different sizes, 2. Received: 3"),
        ([[1, 2]], 0, ValueError, "clusters.*0"),
        ([[1, 2]], 1.5, TypeError, "clusters.*1.5"),
    ],
)
def test_bad_sizes_are_refused(sizes, clusters, error, message):
    with pytest.raises(error, match=message):
        cluster_shapes(np.array(sizes, float), clusters)
