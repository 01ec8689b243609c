"""Codes of boxes against the formulas of the papers, one box at a time; and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse.boxes import DistanceCoder, GridCoder, OffsetCoder, make_anchors

CODERS = (OffsetCoder((10, 5, 4, 2)), DistanceCoder(), GridCoder())
seeds = st.integers(0, 10**6)


def _by_formula(coder, box, anchor):
    left, top, right, bottom = box
    x_a, y_a, w_a, h_a = anchor
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    if isinstance(coder, OffsetCoder):
        return (
            (y - y_a) / h_a * 10,
            (x - x_a) / w_a * 5,
            math.log(h / h_a) * 4,
            math.log(w / w_a) * 2,
        )
    if isinstance(coder, DistanceCoder):
        return (x_a - left) / w_a, (y_a - top) / h_a, (right - x_a) / w_a, (bottom - y_a) / h_a
    x_edge, y_edge = x_a - w_a / 2, y_a - h_a / 2
    return (x - x_edge) / w_a, (y - y_edge) / h_a, math.sqrt(w), math.sqrt(h)


def _boxes(seed, shape=(2, 12)):
    random = np.random.default_rng(seed)
    corner = random.uniform(-0.2, 1, (*shape, 2))
    return np.concatenate([corner, corner + random.uniform(0.01, 0.9, (*shape, 2))], axis=-1)


def _anchors(seed, count=12):
    return np.random.default_rng(seed).uniform(0.05, 0.9, (count, 4))


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: type(coder).__name__)
@given(seed=seeds)
def test_codes_follow_the_formulas(coder, seed):
    boxes, anchors = _boxes(seed), _anchors(seed + 1)
    codes = ops.convert_to_numpy(coder.encode(boxes.astype("float32"), anchors.astype("float32")))
    expected = [
        [_by_formula(coder, box, anchor) for box, anchor in zip(image, anchors, strict=True)]
        for image in boxes
    ]
    np.testing.assert_allclose(codes, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: type(coder).__name__)
@given(seed=seeds)
def test_decoding_takes_codes_back(coder, seed):
    boxes, anchors = (each.astype("float32") for each in (_boxes(seed), _anchors(seed + 1)))
    found = coder.decode(coder.encode(boxes, anchors), anchors)
    np.testing.assert_allclose(ops.convert_to_numpy(found), boxes, atol=2e-5)


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: type(coder).__name__)
def test_codes_of_boxes_without_area_are_finite_and_come_back(coder):
    anchors = make_anchors((64, 64), [32]).boxes
    boxes = np.array([[0.3, 0.3, 0.3, 0.3], [0, 0, 0, 0.5], [0, 0, 1, 0], [1, 1, 1, 1]], "float32")
    codes = ops.convert_to_numpy(coder.encode(boxes, anchors))
    assert np.isfinite(codes).all()
    found = ops.convert_to_numpy(coder.decode(codes, anchors))
    np.testing.assert_allclose(found, boxes, atol=1e-5)


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: type(coder).__name__)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_boxes_of_huge_codes_are_finite(coder, size):
    anchors = make_anchors((64, 64), [32]).boxes
    assert np.isfinite(ops.convert_to_numpy(coder.decode(np.full((4, 4), size), anchors))).all()


def test_scales_are_those_of_ssd_by_default_and_return_in_the_config():
    coder = OffsetCoder()
    assert coder.scales == [10, 10, 5, 5]
    assert coder.order == "y, x, h, w"
    twin = OffsetCoder(**OffsetCoder((1, 2, 3, 4)).get_config())
    assert twin.scales == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("scales", "error", "message"),
    [
        ((10, 10, 5), ValueError, "four numbers.*10, 10, 5"),
        ((10, 10, 5, 0), ValueError, "scales.*above 0. Received: 0"),
        ((10, 10, 5, "5"), TypeError, "scales.*'5'"),
    ],
)
def test_bad_scales_are_refused(scales, error, message):
    with pytest.raises(error, match=message):
        OffsetCoder(scales)


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: type(coder).__name__)
def test_half_precision_codes_are_decoded_in_float32(coder):
    anchors = make_anchors((64, 64), [32]).boxes
    codes = np.full((4, 4), 0.75, "float16")
    found = coder.decode(ops.convert_to_tensor(codes), anchors)
    assert ops.convert_to_numpy(found).dtype == np.float32
    np.testing.assert_array_equal(found, coder.decode(codes.astype("float32"), anchors))
