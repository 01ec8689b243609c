"""Losses of class masks against loops and Keras, and U-Net's weights of pixels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.losses import (
    DiceCrossentropy,
    PixelCrossentropy,
    PixelFocalCrossentropy,
    boundary_weights,
)

RANDOM = np.random.default_rng(0)
MASKS = RANDOM.integers(0, 3, (2, 5, 4))
SCORES = RANDOM.dirichlet([1.0] * 3, (2, 5, 4)).astype("float32")
GAPS = np.where(RANDOM.random(MASKS.shape) < 0.3, 255, MASKS)
WEIGHTS = RANDOM.uniform(0.5, 2, MASKS.shape).astype("float32")
OF_CLASS = [0.5, 1.0, 3.0]


def _value(loss, *arguments):
    return float(keras.ops.convert_to_numpy(loss(*arguments)))


def _weighted(masks, scores, weights, hardest=1.0, power=0.0):
    """Return the loss by loops over images and pixels."""
    total, counted = 0.0, 0
    for image in range(len(masks)):
        losses = []
        for place in np.ndindex(masks.shape[1:]):
            label = masks[image][place]
            if label != 255:
                p = float(scores[image][place][label])
                losses.append(
                    OF_CLASS[label] * weights[image][place] * (1 - p) ** power * -np.log(p)
                )
        kept = min(len(losses), max(1, int(hardest * masks[0].size)))
        total += sum(sorted(losses)[len(losses) - kept :])
        counted += kept
    return total / counted


@pytest.mark.parametrize("hardest", [1.0, 0.3, 0.001])
def test_crossentropy_against_loops(hardest):
    loss = PixelCrossentropy(class_weight=OF_CLASS, hardest=hardest)
    expected = _weighted(GAPS, SCORES, WEIGHTS, hardest)
    assert _value(loss, GAPS, SCORES, WEIGHTS) == pytest.approx(expected, rel=1e-5)
    again = _value(loss, GAPS[..., None], SCORES, WEIGHTS[..., None])
    assert again == pytest.approx(expected, rel=1e-5)
    logits = PixelCrossentropy(class_weight=OF_CLASS, hardest=hardest, from_logits=True)
    assert _value(logits, GAPS, np.log(SCORES), WEIGHTS) == pytest.approx(expected, rel=1e-5)


def test_without_weights_it_is_that_of_keras():
    ours = _value(PixelCrossentropy(), GAPS, SCORES)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=255)
    assert ours == pytest.approx(_value(keras_loss, GAPS.astype("float32"), SCORES), rel=1e-5)


def test_focal_against_loops_and_keras():
    loss = PixelFocalCrossentropy(gamma=1.5, class_weight=OF_CLASS)
    expected = _weighted(GAPS, SCORES, WEIGHTS, power=1.5)
    assert _value(loss, GAPS, SCORES, WEIGHTS) == pytest.approx(expected, rel=1e-4)
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=OF_CLASS, gamma=1.5)
    ours = PixelFocalCrossentropy(gamma=1.5, class_weight=OF_CLASS)
    one_hot = np.eye(3, dtype="float32")[MASKS]
    assert _value(ours, MASKS, SCORES) == pytest.approx(_value(theirs, one_hot, SCORES), rel=1e-4)
    plain = PixelFocalCrossentropy(gamma=0)
    assert _value(plain, GAPS, SCORES) == pytest.approx(
        _value(PixelCrossentropy(), GAPS, SCORES), rel=1e-5
    )


def test_dice_against_loops():
    masks = GAPS.copy()
    masks[0][masks[0] == 1] = 0  # a class that the first image does not show
    images = []
    for mask, scores in zip(masks, SCORES, strict=True):
        known, dices = mask != 255, []
        for number in np.unique(mask[known]):
            true, found = (mask == number)[known], scores[..., number][known]
            dices.append(2 * (true * found).sum() / (true.sum() + found.sum()))
        images.append(1 - np.mean(dices))
    expected = _value(PixelCrossentropy(), masks, SCORES) + 0.5 * np.mean(images)
    assert _value(DiceCrossentropy(0.5), masks, SCORES) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [PixelCrossentropy, PixelFocalCrossentropy, DiceCrossentropy])
def test_one_class_is_two_classes(loss):
    """A sigmoid p is a softmax (1 - p, p), except that Dice then measures the object alone."""
    masks = np.where(GAPS == 2, 1, GAPS)
    masks[:, 0, 0] = 0
    single = SCORES[..., 1:2]
    double = np.concatenate([1 - single, single], axis=-1)
    arguments = {"class_weight": [1.0, 3.0]} | (
        {"dice_weight": 0} if loss is DiceCrossentropy else {}
    )
    expected = _value(loss(**arguments), masks, double, WEIGHTS)
    assert _value(loss(**arguments), masks, single, WEIGHTS) == pytest.approx(expected, rel=1e-4)
    logits = np.log(single) - np.log1p(-single)
    raw = loss(**arguments, from_logits=True)
    assert _value(raw, masks, logits, WEIGHTS) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [PixelCrossentropy, PixelFocalCrossentropy, DiceCrossentropy])
def test_batches_without_labels_and_perfect_answers(loss):
    nothing = np.full_like(MASKS, 255)
    assert _value(loss(), nothing, SCORES) == 0
    assert _value(loss(), MASKS, np.eye(3, dtype="float32")[MASKS]) == pytest.approx(0, abs=1e-5)
    # What stands where there is no label does not matter, not even NaN.
    weights = np.where(GAPS == 255, np.float32(0), WEIGHTS)
    assert np.isfinite(_value(loss(), GAPS, SCORES, weights))


def test_errors_say_what_is_wrong():
    loss = PixelCrossentropy(class_weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="class_weight must have 3 weights.*Received: 2"):
        loss(MASKS, SCORES)
    with pytest.raises(ValueError, match="class_weight must have 2 weights.*background and object"):
        PixelCrossentropy(class_weight=OF_CLASS)(MASKS, SCORES[..., :1])
    with pytest.raises(ValueError, match=r"same height and width.*\(2, 4, 4\).*\(2, 5, 4, 3\)"):
        PixelCrossentropy()(MASKS[:, :4], SCORES)
    with pytest.raises(ValueError, match="For one-hot masks, use the losses of Keras"):
        PixelCrossentropy()(SCORES, SCORES)
    weights = WEIGHTS.copy()
    weights[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 other values, first at index \(1, 2, 3\)"):
        PixelCrossentropy()(MASKS, SCORES, weights)
    # A label that no class has: TensorFlow says so, elsewhere the loss is NaN.
    wrong = np.where(MASKS == 2, 7, MASKS)
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(Exception, match="outside the valid range"):
            PixelCrossentropy()(wrong, SCORES)
    else:
        assert np.isnan(_value(PixelCrossentropy(), wrong, SCORES))
    assert np.isnan(_value(PixelCrossentropy(), wrong, SCORES[..., :1]))


@pytest.mark.parametrize("loss", [PixelCrossentropy, PixelFocalCrossentropy, DiceCrossentropy])
def test_interpolated_masks_are_refused(loss):
    halves = MASKS.astype("float32")
    assert _value(loss(), halves, SCORES) == pytest.approx(_value(loss(), MASKS, SCORES))
    halves[1, 2, 3] += 0.5
    with pytest.raises(ValueError, match=r"fractions or NaN in 1 pixels, first at .*\(1, 2, 3\)"):
        loss()(halves, SCORES)


@pytest.mark.parametrize("fault", ["fraction", "negative weight", "NaN weight"])
def test_what_compiled_code_cannot_refuse_makes_the_loss_nan(fault):
    masks, weights = MASKS.astype("float32"), WEIGHTS.copy()
    if fault == "fraction":
        masks[1, 2, 3] = 0.5
    else:
        weights[1, 2, 3] = -1 if fault == "negative weight" else np.nan
    inputs = keras.Input((5, 4, 3))
    model = keras.Model(inputs, keras.layers.Softmax()(inputs))
    metric = kd.metrics.SegmentationMetric(3)
    model.compile(loss=PixelCrossentropy(), weighted_metrics=[metric])
    found = model.evaluate(SCORES, masks, sample_weight=weights, verbose=0)
    assert np.isnan(found).all()


def _brute_force(mask, w0, sigma, of_class):
    """Return the weights from the distances to all pixels of all objects."""
    weights = np.where(mask > 0, of_class[1], of_class[0]).astype(float)
    numbers = [number for number in np.unique(mask) if number > 0]
    for place in np.ndindex(mask.shape):
        distances = sorted(
            min(np.hypot(place[0] - y, place[1] - x) for y, x in np.argwhere(mask == number))
            for number in numbers
        )
        if mask[place] == 0 and len(distances) > 1:
            weights[place] += w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return weights


def test_boundary_weights_against_brute_force():
    mask = np.zeros((2, 24, 30), "uint8")
    mask[0, 2:8, 3:9], mask[0, 2:9, 11:16], mask[0, 12:20, 4:6], mask[0, 22, 29] = 1, 7, 9, 200
    mask[1, 5:9, 5:9] = 3  # one object has no gap
    arguments = (8.0, 1.5, (0.5, 2.0))
    weights = boundary_weights(mask, *arguments)
    assert weights.shape == mask.shape and weights.dtype == "float32"
    for number in range(2):
        expected = _brute_force(mask[number], *arguments)
        np.testing.assert_allclose(weights[number], expected, atol=1e-5)
        np.testing.assert_array_equal(boundary_weights(mask[number], *arguments), weights[number])
    assert weights[0][mask[0] == 0].max() > 1.5 and set(np.unique(weights[1])) == {0.5, 2.0}
    # An image in which every pixel belongs to an object.
    full = np.array([[1, 1, 2, 2]])
    np.testing.assert_array_equal(boundary_weights(full), 1)


def test_boundary_weights_refuse():
    for masks, error, message in (
        (np.zeros((4, 4)), TypeError, "must be integers.*float64"),
        (np.zeros(4, int), ValueError, r"\(height, width\).*\(4,\)"),
        (np.full((2, 2), -1), ValueError, "negative"),
    ):
        with pytest.raises(error, match=message):
            boundary_weights(masks)
    mask = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match="sigma must be a .*above 0"):
        boundary_weights(mask, sigma=0)
    with pytest.raises(ValueError, match="border_weight must be"):
        boundary_weights(mask, border_weight=-1)
    with pytest.raises(ValueError, match="class_weight must be two weights"):
        boundary_weights(mask, class_weight=(1.0, 2.0, 3.0))


def test_pixel_weights_go_through_fit():
    model = keras.Sequential([keras.Input((5, 4, 3)), keras.layers.Identity()])
    model.compile(loss=PixelCrossentropy(class_weight=OF_CLASS))
    loss = model.evaluate(SCORES, GAPS, sample_weight=WEIGHTS, verbose=0)
    assert loss == pytest.approx(_weighted(GAPS, SCORES, WEIGHTS), rel=1e-5)
    assert kd.losses.PixelCrossentropy is PixelCrossentropy
