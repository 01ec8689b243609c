"""Measures of maps against loops written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from keras_dlcourse.boxes.of_masks import intersection_over_union
from keras_dlcourse.metrics import MaxBoxAccuracy, ObjectCoverage, PointingGame

PADDING = [-1.0, -1.0, -1.0, -1.0]


@st.composite
def examples(draw):
    """Draw smooth maps, and boxes of whole pixels with some rows that only fill up."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    # Few shapes: JAX compiles each of them anew.
    n = draw(st.sampled_from([1, 4]))
    height, width = draw(st.tuples(*[st.sampled_from([3, 8, 11])] * 2))
    maps = ndimage.gaussian_filter(rng.normal(size=(n, height, width)), (0, 1.5, 1.5))
    boxes = np.empty((n, 2, 4))
    for box in boxes.reshape(-1, 4):
        left, right = np.sort(rng.choice(width + 1, 2, replace=False))
        top, bottom = np.sort(rng.choice(height + 1, 2, replace=False))
        box[:] = left, top, right, bottom
    boxes[rng.random(n) < 0.5, 1] = PADDING
    return boxes.astype("float32"), maps.astype("float32")


def _result(metric, boxes, maps) -> float:
    metric.update_state(boxes, maps)
    return float(metric.result())


def _pixels(box) -> set[tuple[int, int]]:
    left, top, right, bottom = (int(side) for side in box)
    return {(y, x) for y in range(top, bottom) for x in range(left, right)}


def _objects(boxes) -> list[set[tuple[int, int]]]:
    return [_pixels(box) for box in boxes if list(box) != PADDING]


@given(examples(), st.sampled_from([0.3, 0.5]))
def test_max_box_accuracy_is_its_definition(example, iou):
    boxes, maps = example
    right = np.zeros((11, len(maps)))
    for step in range(11):
        for number, plane in enumerate(maps):
            scaled = (plane - plane.min()) / (plane.max() - plane.min())
            parts, count = ndimage.label(scaled >= step / 11, np.ones((3, 3)))
            sizes = [(parts == part).sum() for part in range(1, count + 1)]
            ys, xs = np.nonzero(parts == 1 + int(np.argmax(sizes)))
            found = _pixels((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            overlaps = [len(found & real) / len(found | real) for real in _objects(boxes[number])]
            right[step, number] = max(overlaps) >= iou
    metric = MaxBoxAccuracy(iou=iou, thresholds=11)
    np.testing.assert_allclose(_result(metric, boxes, maps), right.mean(1).max(), rtol=1e-6)
    assert metric.best_threshold == right.mean(1).argmax() / 11


@given(examples(), st.sampled_from([0, 1, 2.5]))
def test_the_pointing_game_is_its_definition(example, tolerance):
    boxes, maps = example
    hits = []
    for real, plane in zip(boxes, maps, strict=True):
        y, x = np.unravel_index(plane.argmax(), plane.shape)
        nearest = np.inf
        for left, top, right, bottom in real:
            if right > left:
                across = min(
                    abs(x + 0.5 - at) for at in np.linspace(left, right, 2 * int(right - left) + 1)
                )
                down = min(
                    abs(y + 0.5 - at) for at in np.linspace(top, bottom, 2 * int(bottom - top) + 1)
                )
                nearest = min(nearest, np.hypot(across, down))
        hits.append(nearest <= tolerance)
    metric = PointingGame(tolerance=tolerance)
    np.testing.assert_allclose(_result(metric, boxes, maps), np.mean(hits), rtol=1e-6)


@given(examples(), st.sampled_from([0.15, 0.7]))
def test_object_coverage_is_its_definition(example, threshold):
    boxes, maps = example
    maps = np.abs(maps)
    shares, masks = [], np.zeros(maps.shape)
    for real, plane, mask in zip(boxes, maps, masks, strict=True):
        covered = {(int(y), int(x)) for y, x in np.argwhere(plane >= threshold * plane.max())}
        pixels = set().union(*_objects(real))
        shares.append(len(covered & pixels) / len(pixels))
        mask[tuple(np.transpose(sorted(pixels)))] = 1
    metric = ObjectCoverage(threshold=threshold)
    np.testing.assert_allclose(_result(metric, boxes, maps), np.mean(shares), rtol=1e-5)
    if maps.shape[1:] != (2, 4):
        from_masks = _result(ObjectCoverage(threshold=threshold), masks, maps)
        np.testing.assert_allclose(from_masks, np.mean(shares), rtol=1e-5)


def test_maps_that_say_nothing_are_wrong():
    boxes, maps = [[0, 0, 4, 4]], np.zeros((1, 4, 4))
    for metric in (MaxBoxAccuracy(), PointingGame(), ObjectCoverage()):
        assert _result(metric, boxes, maps) == 0
    # High everywhere: no box and no point, but everything is covered.
    assert _result(MaxBoxAccuracy(), boxes, maps + 1) == 0
    assert _result(PointingGame(), boxes, maps + 1) == 0
    assert _result(ObjectCoverage(), boxes, maps + 1) == 1


def test_a_map_equal_to_the_object_has_the_best_score_there_is():
    maps = np.zeros((2, 20, 16))
    boxes = np.array([[2, 3, 9, 11], [8, 0, 16, 5]])
    for plane, (left, top, right, bottom) in zip(maps, boxes, strict=True):
        plane[top:bottom, left:right] = 1
    assert _result(MaxBoxAccuracy(iou=1.0), boxes, maps) == 1
    assert _result(PointingGame(tolerance=0), boxes, maps) == 1
    assert _result(ObjectCoverage(threshold=1.0), boxes, maps[..., None]) == 1


def test_overlap_of_boxes():
    one = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [1, 1, 1, 1]])
    other = np.array([[2, 2, 6, 6], [2, 0, 4, 2], [1, 1, 1, 1]])
    assert intersection_over_union(one, other).tolist() == [4 / 28, 0, 0]


@pytest.mark.parametrize(
    ("boxes", "maps", "message"),
    [
        (np.zeros((2, 4)), np.zeros((2, 5)), r"maps of shape \(n, height, width\).*\(2, 5\)"),
        (np.zeros((2, 3)), np.zeros((2, 5, 6)), r"y_true must be boxes.*Received: \(2, 3\)"),
        (np.zeros((3, 4)), np.zeros((2, 5, 6)), "3 rows of boxes for 2 maps"),
    ],
)
@pytest.mark.parametrize("metric", [MaxBoxAccuracy, PointingGame, ObjectCoverage])
def test_shapes_that_do_not_fit(metric, boxes, maps, message):
    with pytest.raises(ValueError, match=message):
        metric().update_state(boxes, maps)


@pytest.mark.parametrize("metric", [MaxBoxAccuracy, PointingGame])
def test_masks_where_boxes_are_needed(metric):
    with pytest.raises(ValueError, match=r"takes boxes \(n, 4\), not masks"):
        metric().update_state(np.zeros((2, 5, 6)), np.zeros((2, 5, 6)))
