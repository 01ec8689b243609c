"""Boxes of maps against a flood fill written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_dlcourse.explain import boxes_from_map


def _flood(mask: np.ndarray) -> list[tuple[int, list[int]]]:
    """Return pixels and box of each part, by walking from pixel to neighbouring pixel."""
    left, parts = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        reached, part = [left.pop()], []
        while reached:
            y, x = reached.pop()
            part.append((y, x))
            near = {(y + down, x + across) for down in (-1, 0, 1) for across in (-1, 0, 1)} & left
            left -= near
            reached += near
        ys, xs = zip(*part, strict=True)
        parts.append((len(part), [min(xs), min(ys), max(xs) + 1, max(ys) + 1]))
    return parts


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SHARES = st.floats(0, 1, width=32)


@given(arrays("float32", SIZES, elements=SHARES), st.sampled_from([0.15, 0.5, 1.0]))
def test_parts_are_those_of_a_flood_fill(plane, threshold):
    plane = plane.astype("float64")
    parts = _flood((plane >= threshold * plane.max()) & (plane.max() > 0))
    boxes = boxes_from_map(plane, threshold, largest=False)
    assert sorted(boxes.tolist()) == sorted(box for _, box in parts)
    best = boxes_from_map(plane, threshold).tolist()
    if parts:
        assert (max(size for size, _ in parts), best) in parts
        assert boxes[0].tolist() == best
    else:
        assert best == [0, 0, 0, 0] and boxes.shape == (0, 4)


def test_several_maps():
    planes = np.zeros((3, 5, 6))
    planes[0, 1:3, 2:4], planes[1, 4, 5] = 3.0, 0.1
    assert boxes_from_map(planes).tolist() == [[2, 1, 4, 3], [5, 4, 6, 5], [0, 0, 0, 0]]
    assert [len(boxes) for boxes in boxes_from_map(planes, largest=False)] == [1, 1, 0]


def test_the_threshold_itself_belongs_to_the_object():
    plane = np.array([[1.0, 0.5, 0.49, 0.5]])
    assert boxes_from_map(plane, 0.5).tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize(
    ("plane", "threshold", "message"),
    [
        (np.zeros(3), 0.15, r"shape \(height, width\) or \(n, height, width\). Received: \(3,\)"),
        (np.full((2, 2), np.nan), 0.15, "finite values"),
        (np.ones((2, 2)), 0.0, "threshold must be a number above 0 and at most 1. Received: 0.0"),
        (np.ones((2, 2)), 15, "threshold must be a number above 0 and at most 1. Received: 15"),
    ],
)
def test_errors(plane, threshold, message):
    with pytest.raises(ValueError, match=message):
        boxes_from_map(plane, threshold)
