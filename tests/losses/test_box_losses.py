"""Losses of boxes against loops written from the papers, and their gradients at the edges."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.data import convert_boxes
from keras_dlcourse.losses import CIoULoss, DIoULoss, GIoULoss, IoULoss, SmoothL1Loss

ROWS = 24
LOSSES = (IoULoss, GIoULoss, DIoULoss, CIoULoss)


def _reference(kind: type, true: list[float], found: list[float]) -> float:
    """Compute a loss of two boxes (left, top, right, bottom) as the papers write it."""
    left, top = max(true[0], found[0]), max(true[1], found[1])
    right, bottom = min(true[2], found[2]), min(true[3], found[3])
    common = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (true, found)]
    union = sum(areas) - common
    iou = common / union if union > 0 else 0.0
    across = max(true[2], found[2]) - min(true[0], found[0])
    down = max(true[3], found[3]) - min(true[1], found[1])
    if kind is IoULoss:
        return 1 - iou
    if kind is GIoULoss:
        hull = across * down
        return 1 - iou + ((hull - union) / hull if hull > 0 else 0.0)
    x, y = ((true[k] + true[k + 2] - found[k] - found[k + 2]) / 2 for k in (0, 1))
    diagonal = across**2 + down**2
    distance = (x**2 + y**2) / diagonal if diagonal > 0 else 0.0
    if kind is DIoULoss:
        return 1 - iou + distance
    ratios = [
        math.atan2(box[2] - box[0], box[3] - box[1]) if box[2] > box[0] or box[3] > box[1] else 0.0
        for box in (true, found)
    ]
    v = 4 / math.pi**2 * (ratios[0] - ratios[1]) ** 2
    factor = v / (1 - iou + v) if 1 - iou + v > 0 else 0.0
    return 1 - iou + distance + factor * v


def _pairs(seed: int) -> np.ndarray:
    """Return boxes of whole pixels, many of which touch, coincide, or have no area."""
    corners = np.random.default_rng(seed).integers(1, 7, (ROWS, 2, 2, 2))
    corners = np.sort(corners, axis=2)  # (left, top) before (right, bottom)
    boxes = corners.reshape(ROWS, 2, 4).astype("float32")
    boxes[0, 1], boxes[1] = boxes[0, 0], [3, 3, 3, 3]
    boxes[2, 0, 3] = 9  # above 1 at any rate: not taken for shares
    return boxes


def _gradient(loss, true, found):
    def both(boxes):
        value = loss(true, boxes)
        return value, value

    run = backend.gradient(both)
    if keras.backend.backend() == "jax":
        run = backend.compiled(run, [])
    gradient, value = run(ops.convert_to_tensor(found))
    return ops.convert_to_numpy(gradient), float(value)


@pytest.mark.parametrize("kind", LOSSES)
@given(seed=st.integers(0, 10**6))
def test_values_are_those_of_the_papers(kind, seed):
    loss = kind("xyxy", reduction="none")
    true, found = np.moveaxis(_pairs(seed), 1, 0)
    values = ops.convert_to_numpy(loss(true, found))
    expected = [_reference(kind, *map(list, pair)) for pair in zip(true, found, strict=True)]
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_finite_everywhere(kind, seed):
    gradient, _ = _gradient(kind("xyxy"), *np.moveaxis(_pairs(seed), 1, 0))
    assert np.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize("kind", LOSSES[1:])
def test_far_boxes_are_drawn_together(kind):
    """A step against the gradient brings a box that does not touch nearer to the true one."""
    true, found = np.array([[2.0, 2, 6, 5]], "float32"), np.array([[8.0, 9, 11, 12]], "float32")
    gradient, before = _gradient(kind("xyxy"), true, found)
    assert float(kind("xyxy")(true, found - gradient)) < before
    still, _ = _gradient(IoULoss("xyxy"), true, found)
    assert not still.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_every_format_means_the_same(kind):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(5, 60, (10, 2, 2)), axis=1).reshape(10, 4)
    true, found = corners[:5].astype("float32"), corners[5:].astype("float32")
    expected = float(kind("xyxy")(true, found))
    for name in ("yxyx", "xyhw", "center_xywh", "center_yxhw", "rel_xyxy", "rel_center_xyhw"):
        size = {"height": 64, "width": 200}
        both = [convert_boxes(boxes, "xyxy", name, **size) for boxes in (true, found)]
        loss = kind(name, image_shape=(64, 200))
        assert float(loss(*both)) == pytest.approx(expected, rel=1e-5), name
    shares = [convert_boxes(boxes, "xyxy", "rel_xywh", 64, 200) for boxes in (true, found)]
    without = float(kind("rel_xywh")(*shares))
    if kind in (IoULoss, GIoULoss):  # shares of areas do not change with the sides' units
        assert without == pytest.approx(expected, rel=1e-5)
    else:
        assert without != pytest.approx(expected, rel=1e-2)


def test_the_factor_of_ciou_is_held():
    """The gradient is that of IoU - distance - a v with a as it is at this place."""
    true, found = _pairs(0)[3:, 0], _pairs(1)[3:, 1]
    gradient, _ = _gradient(CIoULoss("xyxy"), true, found)
    distance, _ = _gradient(DIoULoss("xyxy"), true, found)

    def aspect(box):
        width, height = box[2] - box[0], box[3] - box[1]
        return math.atan2(width, height) if width > 0 or height > 0 else 0.0

    for row, (real, box) in enumerate(zip(true.astype(float), found.astype(float), strict=True)):
        apart = 4 / math.pi**2 * (aspect(real) - aspect(box)) ** 2
        iou = 1 - _reference(IoULoss, list(real), list(box))
        factor = apart / (1 - iou + apart) if apart else 0.0
        for k, step in enumerate(1e-6 * np.eye(4)):
            if min(box[2] - box[0], box[3] - box[1]) <= 0:
                continue  # no derivative there
            ahead, behind = (
                4 / math.pi**2 * (aspect(real) - aspect(box + sign * step)) ** 2 for sign in (1, -1)
            )
            expected = factor * (ahead - behind) / 2e-6 / len(true)
            assert gradient[row, k] - distance[row, k] == pytest.approx(expected, abs=1e-5)


def test_a_negative_size_counts_as_none():
    true, found = np.array([[2.0, 2, 6, 5]]), np.array([[6.0, 5, 2, 2]])
    assert float(IoULoss("xyxy")(true, found)) == 1


def test_several_boxes_of_an_image():
    true = np.tile(np.array([[2.0, 2, 6, 5]], "float32"), (3, 2, 1))
    found = true + np.array([[0], [1]], "float32")
    values = ops.convert_to_numpy(IoULoss("xyxy", reduction="none")(true, found))
    assert values.shape == (3, 2)
    np.testing.assert_allclose(values, [[0, 2 / 3]] * 3, atol=1e-6)  # 6 of 18 in common


def test_smooth_l1_is_its_definition():
    rng = np.random.default_rng(0)
    true, found = rng.normal(size=(2, 50, 4)).astype("float32")
    for beta in (0.1, 1.0):
        expected = 0.0
        for a, b in zip(true.ravel(), found.ravel(), strict=True):
            d = abs(a - b)
            expected += d * d / (2 * beta) if d < beta else d - beta / 2
        value = float(SmoothL1Loss(beta)(true, found))
        assert value == pytest.approx(expected / 50, rel=1e-5)
        huber = float(keras.losses.Huber(delta=beta)(true, found))
        assert value == pytest.approx(4 * huber / beta, rel=1e-5)


BAD = [
    ([[3.0, 3, 2, 5]], "xyxy", "y_true has a negative size in 1 of 1 boxes, first at 0"),
    ([[0.1, 0.1, 0.5, 0.6]], "xyxy", "no value above 1.*rel_"),
    ([[10.0, 10, 50, 60]], "rel_xyxy", "up to 60.*look like pixels"),
    ([[0.1, np.nan, 0.5, 0.6]], "rel_xyxy", "NaN or infinite values in 1 of 1"),
    ([[0.5, 0.5, 1.5, 0.9]], "rel_xyxy", "an edge outside the image"),
    ([[0.5, 0.5, 0.9]], "rel_xyxy", r"shape \(..., 4\).*3"),
]


@pytest.mark.parametrize(("boxes", "bounding_box_format", "message"), BAD)
def test_true_boxes_that_are_none_are_said(boxes, bounding_box_format, message):
    with pytest.raises(ValueError, match=message):
        GIoULoss(bounding_box_format)(np.array(boxes), np.ones((1, 4)) * [[0.1, 0.1, 0.4, 0.5]])
