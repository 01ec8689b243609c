"""Measures of masks against scikit-learn, and outlines against all distances."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn import metrics as sk

from keras_dlcourse.metrics import SegmentationMetric, boundary_f1, mask_scores
from keras_dlcourse.metrics.mask_scores import mean_iou
from keras_dlcourse.metrics.segmentation import MEASURES

RANDOM = np.random.default_rng(0)
MASKS = RANDOM.integers(0, 4, (6, 7, 5))
MASKS[MASKS == 2] = 255
SCORES = RANDOM.dirichlet([1.0, 1.0, 0.5, 0.3, 0.0001], (6, 7, 5)).astype("float32")
SCORES[..., 4] = 0  # a class that is neither there nor predicted


def _measured(masks, scores, weights=None, **arguments):
    metric = SegmentationMetric(scores.shape[-1], **arguments)
    for part in (slice(0, 2), slice(2, 6)):
        metric.update_state(masks[part], scores[part], None if weights is None else weights[part])
    return metric


def test_every_measure_against_scikit_learn():
    known = MASKS != 255
    true, found = MASKS[known], SCORES.argmax(-1)[known]
    scores = _measured(MASKS, SCORES).scores()
    np.testing.assert_array_equal(
        scores.confusion, sk.confusion_matrix(true, found, labels=range(5))
    )
    every = {"labels": range(5), "average": None, "zero_division": np.nan}
    iou = sk.jaccard_score(true, found, labels=range(5), average=None, zero_division=0)
    np.testing.assert_allclose(scores.iou, [*iou[:4], np.nan], rtol=1e-6)
    np.testing.assert_allclose(scores.dice, sk.f1_score(true, found, **every), rtol=1e-6)
    np.testing.assert_allclose(scores.accuracy, sk.recall_score(true, found, **every), rtol=1e-6)
    assert scores.pixel_accuracy == pytest.approx(sk.accuracy_score(true, found), rel=1e-6)
    assert scores.mean_accuracy == pytest.approx(np.nanmean(scores.accuracy), rel=1e-6)
    assert scores.mean_iou == pytest.approx(np.nanmean(scores.iou), rel=1e-6)
    assert scores.mean_dice == pytest.approx(np.nanmean(scores.dice), rel=1e-6)
    weighted = sk.jaccard_score(true, found, average="weighted")
    assert scores.frequency_weighted_iou == pytest.approx(weighted, rel=1e-6)
    for measure in MEASURES:
        metric = _measured(MASKS, SCORES, measure=measure)
        assert metric.name == measure
        assert float(metric.result()) == pytest.approx(getattr(scores, measure), rel=1e-6)


def test_it_is_keras_mean_iou():
    theirs = keras.metrics.MeanIoU(5, ignore_class=255, sparse_y_pred=False)
    theirs.update_state(MASKS, SCORES)
    ours = _measured(MASKS, SCORES)
    assert float(ours.result()) == pytest.approx(float(theirs.result()), rel=1e-6)


def test_one_class_is_background_and_object():
    masks = np.where(MASKS == 3, 1, MASKS)
    single = SCORES[..., 1:2]
    metric = _measured(masks, single, threshold=0.25)
    known = masks != 255
    expected = sk.confusion_matrix(masks[known], single[..., 0][known] >= 0.25)
    np.testing.assert_array_equal(metric.scores().confusion, expected)


def test_weights_of_pixels():
    weights = RANDOM.uniform(0, 2, MASKS.shape)
    known = MASKS != 255
    expected = sk.confusion_matrix(
        MASKS[known], SCORES.argmax(-1)[known], sample_weight=weights[known], labels=range(5)
    )
    for given in (weights, weights[..., None]):
        found = _measured(MASKS[..., None], SCORES, given).scores().confusion
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it has no float64 by default")
def test_pixels_are_counted_one_by_one():
    metric = SegmentationMetric(2)
    metric.total_cm.assign(np.array([[2**24, 0], [0, 0]]))
    metric.update_state(np.zeros((1, 1, 1), int), np.array([[[[1.0, 0.0]]]]))
    assert metric.scores().confusion[0, 0] == 2**24 + 1


def test_a_label_that_no_class_has_is_not_left_out_silently():
    assert np.isnan(float(_measured(np.where(MASKS == 3, 5, MASKS), SCORES).result()))
    assert np.isnan(float(_measured(MASKS, SCORES, ignore=None).result()))


def test_fractions_and_negative_weights_are_not_counted_silently():
    assert np.isnan(float(_measured(MASKS + 0.5, SCORES).result()))
    assert np.isnan(float(_measured(MASKS, SCORES, np.full(MASKS.shape, -1.0)).result()))
    whole = _measured(MASKS.astype("float32"), SCORES).result()
    assert float(whole) == float(_measured(MASKS, SCORES).result())


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"same height and width. Received: \(6, 4, 5\)"):
        SegmentationMetric(5).update_state(MASKS[:, :4], SCORES)
    with pytest.raises(ValueError, match=r"width, 3\)\. Received: \(6, 7, 5\) and \(6, 7, 5, 5\)"):
        SegmentationMetric(3).update_state(MASKS, SCORES)


def _f1_by_all_distances(true, predicted, number, reach):
    def outline(mask):
        found = []
        for y, x in np.argwhere(mask == number):
            around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            inside = [p for p in around if 0 <= p[0] < mask.shape[0] and 0 <= p[1] < mask.shape[1]]
            if true[y, x] != 255 and any(mask[p] != number and true[p] != 255 for p in inside):
                found.append((y, x))
        return found

    def near(these, those):
        return np.mean([min(np.hypot(a - c, b - d) for c, d in those) <= reach for a, b in these])

    true_outline, found_outline = outline(true), outline(predicted)
    if not true_outline and not found_outline:
        return np.nan
    if not true_outline or not found_outline:
        return 0.0
    p, r = near(found_outline, true_outline), near(true_outline, found_outline)
    return 2 * p * r / (p + r) if p + r else 0.0


@pytest.mark.parametrize("tolerance", [0.0, 0.06, 0.15])
def test_outlines_against_all_distances(tolerance):
    true = np.zeros((3, 12, 15), int)
    true[0, 2:7, 3:9], true[0, 6:11, 8:14], true[0, 0, :4] = 1, 2, 255
    true[1, 3:9, 3:9] = 1
    predicted = np.roll(true, 1, axis=2) % 255
    predicted[1, 5:7, 5:7] = 3
    found = boundary_f1(true, predicted, 5, tolerance)
    assert found.shape == (3, 5) and np.isnan(found[2]).all() and np.isnan(found[:, 4]).all()
    for image, number in np.ndindex(found.shape):
        expected = _f1_by_all_distances(
            true[image], predicted[image], number, tolerance * np.hypot(12, 15)
        )
        np.testing.assert_allclose(found[image, number], expected, err_msg=f"{image} {number}")
    np.testing.assert_array_equal(boundary_f1(predicted, predicted, 4)[:2, :3] >= 1,
                                  [[True] * 3, [True, True, False]])  # fmt: skip


def test_outlines_refuse_scores_and_other_shapes():
    mask = np.zeros((1, 4, 4), int)
    with pytest.raises(TypeError, match="predicted must be class numbers.*argmax"):
        boundary_f1(mask, mask.astype(float), 2)
    with pytest.raises(ValueError, match=r"same shape. Received: \(1, 4, 4\) and \(1, 4, 3\)"):
        boundary_f1(mask, mask[..., :3], 2)
    with pytest.raises(ValueError, match="tolerance must be"):
        boundary_f1(mask, mask, 2, tolerance=-1)


def test_measures_of_masks_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (2, 5, 8, 8)).astype("uint8")
    true[0], true[1:, 0] = 255, 255  # one image without labels
    predicted[3] = true[3] % 3
    found = mask_scores(true, predicted, 4)
    known = true != 255
    each = sk.jaccard_score(true[known], predicted[known], average=None)
    np.testing.assert_allclose(found.pixels.iou[:3], each)
    assert np.isnan(found.pixels.iou[3]) and found.by_class()["iou"][3] is None
    assert found.pixels.mean_iou == pytest.approx(each.mean())
    assert found.images.tolist() == [4, 4, 4, 0]
    assert np.isnan(found.image_iou[0]) and found.image_iou[3] == 1
    one = sk.jaccard_score(true[1][known[1]], predicted[1][known[1]], average="macro")
    assert found.image_iou[1] == pytest.approx(one)
    assert (
        mask_scores(true[1:2], predicted[1:2], 4)
        .to_dict()
        .keys()
        .isdisjoint({"mean_iou_low", "mean_iou_high"})
    )  # a single image has no interval
    assert np.isnan(mean_iou(np.zeros((3, 4), int)))


def test_the_interval_is_over_images():
    """Images, not pixels, are drawn: SciPy's bootstrap of the same measure by loops."""
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, (8, 6, 6))
    share = np.linspace(0, 0.7, 8)[:, None, None]  # images of very different quality
    predicted = np.where(rng.random(true.shape) < share, 1 - true, true)

    def measure(rows):
        return sk.jaccard_score(true[rows].ravel(), predicted[rows].ravel(), average="macro")

    drawn = [measure(rng.integers(0, 8, 8)) for _ in range(300)]
    found = mask_scores(true, predicted, 2, level=0.9).interval
    assert found.value == pytest.approx(measure(np.arange(8)))
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert found.low == pytest.approx(low, abs=0.03) and found.high == pytest.approx(high, abs=0.03)


def test_only_some_outlines_are_compared_on_request():
    true = np.zeros((2, 8, 8), int)
    true[:, 2:6, 2:6] = 1
    predicted = true.copy()
    predicted[1] = 0
    assert mask_scores(true, predicted, 2).boundary_f1.tolist() == [0.5, 0.5]
    assert mask_scores(true, predicted, 2, limit=1).boundary_f1.tolist() == [1, 1]
    assert mask_scores(np.where(true, 7, 0), predicted, 2, ignore=7).pixels.mean_iou == 1


@pytest.mark.parametrize(
    ("true", "predicted", "error", "match"),
    [
        ([[[0, 2]]], [[[0, 1]]], ValueError, "true must be class numbers from 0 to 1. Received: 2"),
        ([[[0, 255]]], [[[0, -1]]], ValueError, "predicted must be .* from 0 to 1. Received: -1"),
        ([[[255]]], [[[0]]], ValueError, "true must have pixels with a label"),
        ([[[0.0]]], [[[0]]], TypeError, "true must be class numbers. Received: float64"),
        ([[0]], [[0]], ValueError, "must be .images, height, width."),
    ],
)
def test_numbers_that_no_class_has_are_refused(true, predicted, error, match):
    with pytest.raises(error, match=match):
        mask_scores(np.array(true), np.array(predicted), 2)
