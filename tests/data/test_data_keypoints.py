"""Keypoints relative to boxes, and mirrored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dlcourse.data import flip_keypoints, keypoints_from_box, keypoints_to_box

BOXES = np.array([[10, 20, 30, 60], [0, 0, 50, 10]], "float32")


def test_the_middle_is_zero_and_the_edges_are_a_half():
    points = [[[20, 40], [10, 20], [30, 60]], [[25, 5], [50, 0], [75, 10]]]
    expected = [[[0, 0], [-0.5, -0.5], [0.5, 0.5]], [[0, 0], [0.5, -0.5], [1, 0.5]]]
    np.testing.assert_allclose(keypoints_to_box(points, BOXES), expected, atol=1e-6)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_there_and_back(seed, numbers):
    points = np.random.default_rng(seed).uniform(-20, 80, (2, 5, numbers)).astype("float32")
    there = keypoints_to_box(points, BOXES)
    np.testing.assert_allclose(keypoints_from_box(there, BOXES), points, atol=1e-3)
    if numbers == 3:  # whether they are visible
        np.testing.assert_array_equal(there[..., 2], points[..., 2])


def test_a_box_without_width_gives_zero():
    found = keypoints_to_box([[[5, 7]]], [[5, 0, 5, 10]])
    np.testing.assert_allclose(found, [[[0, 0.2]]], atol=1e-6)


def test_mirrored_points_change_sides_and_names():
    points = np.array([[[1, 5, 1], [4, 6, 0], [8, 7, 1]]], "float32")
    found = flip_keypoints(points, 10, pairs=[(0, 2)])
    np.testing.assert_array_equal(found, [[[2, 7, 1], [6, 6, 0], [9, 5, 1]]])
    np.testing.assert_array_equal(flip_keypoints(found, 10, [(0, 2)]), points)
    relative = keypoints_to_box(points[..., :2], [[0, 0, 10, 10]])
    mirrored = keypoints_to_box(flip_keypoints(points[..., :2], 10), [[0, 0, 10, 10]])
    np.testing.assert_allclose(flip_keypoints(relative, 0), mirrored, atol=1e-6)


def test_mistakes_are_said():
    with pytest.raises(
        ValueError, match=r"points must be \(n, points, 2 or 3\). Received: shape \(4,\)"
    ):
        keypoints_to_box(np.zeros(4), BOXES)
    with pytest.raises(ValueError, match=r"boxes must be \(2, 4\).*Received: shape \(1, 4\)"):
        keypoints_from_box(np.zeros((2, 3, 2)), BOXES[:1])
    with pytest.raises(
        ValueError, match=r"pairs must contain point indices below 3. Received: \(0, 3\)"
    ):
        flip_keypoints(np.zeros((1, 3, 2)), 1, [(0, 3)])
