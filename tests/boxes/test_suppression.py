"""NMS against loops over single boxes, and against TensorFlow's kernels."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse.boxes import non_max_suppression, soft_non_max_suppression

BATCH, BOXES, CLASSES, RESULTS = 2, 12, 3, 8
LEAST = 0.3
seeds = st.integers(0, 10**6)


def _predictions(seed):
    """Return boxes of whole pixels, some equal or without area, and scores, many of them equal."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 8, (BATCH, BOXES, 2, 2))
    boxes = np.sort(corners, axis=2).reshape(BATCH, BOXES, 4).astype("float32")
    boxes[:, 1], boxes[:, 2, 2:] = boxes[:, 0], boxes[:, 2, :2]
    scores = random.integers(0, 17, (BATCH, BOXES, CLASSES)) / 16
    return boxes, scores.astype("float32")


def _iou(one, other):
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    common = max(across, 0) * max(down, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return np.float32(common) / np.float32(union) if union > 0 else np.float32(0)


def _by_loops(boxes, scores, keep, agnostic, several):
    """Take the best box of one image and lower the scores of the others, until none is left."""
    left = [
        [score, box, label]
        for box, row in zip(boxes, scores, strict=True)
        for label, score in enumerate(row)
        if several or label == int(np.argmax(row))
    ]
    results = []
    while len(results) < RESULTS and max(one[0] for one in left) >= LEAST:
        best = max(left, key=lambda one: one[0])  # the first of equal ones
        results.append((*best[1], best[2], best[0]))
        for one in left:
            if agnostic or one[2] == best[2]:
                one[0] *= keep(_iou(best[1], one[1]))
        best[0] = -1
    return results


def _rows(results):
    """Return a list of (box, label, score) for each image, after checking the padding."""
    boxes, labels, scores = (
        ops.convert_to_numpy(results[name]) for name in ("boxes", "labels", "scores")
    )
    assert labels.dtype == np.int32
    count = (labels >= 0).sum(axis=1)
    for image, number in enumerate(count):
        assert (labels[image, number:] == -1).all()
        assert not boxes[image, number:].any() and not scores[image, number:].any()
    return [
        [
            (*box, label, score)
            for box, label, score in zip(boxes[k], labels[k], scores[k], strict=True)
        ][:number]
        for k, number in enumerate(count)
    ]


ways = pytest.mark.parametrize(
    ("agnostic", "several"), [(False, False), (True, False), (False, True), (True, True)]
)


@ways
@settings(max_examples=15)
@given(seed=seeds, limit=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_equals_loops(agnostic, several, seed, limit):
    boxes, scores = _predictions(seed)
    found = non_max_suppression(boxes, scores, limit, LEAST, RESULTS, agnostic, several)
    for image, rows in enumerate(_rows(found)):
        expected = _by_loops(
            boxes[image], scores[image], lambda iou: float(iou <= limit), agnostic, several
        )
        np.testing.assert_array_equal(
            np.reshape(rows, (-1, 6)), np.reshape(expected, (-1, 6)).astype("float32")
        )


@ways
@settings(max_examples=10)
@given(seed=seeds)
def test_soft_equals_loops(agnostic, several, seed):
    boxes, scores = _predictions(seed)
    scores *= np.random.default_rng(seed).uniform(0.9, 1, scores.shape).astype("float32")  # no ties
    found = soft_non_max_suppression(boxes, scores, 0.3, LEAST, RESULTS, agnostic, several)
    for image, rows in enumerate(_rows(found)):
        expected = _by_loops(
            boxes[image], scores[image], lambda iou: math.exp(-(iou**2) / 0.3), agnostic, several
        )
        np.testing.assert_allclose(
            np.reshape(rows, (-1, 6)), np.reshape(expected, (-1, 6)), rtol=1e-5
        )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow")
@settings(max_examples=2)
@given(seeds)
def test_equals_the_kernels_of_tensorflow(seed):
    import tensorflow as tf

    random = np.random.default_rng(seed)
    corner = random.uniform(0, 1, (16, 60, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0, 0.5, (16, 60, 2))], axis=2)
    boxes[:, :3, 2:] = boxes[:, :3, :2]  # of no area
    boxes = boxes.astype("float32")
    scores = random.uniform(0, 1, (16, 60, 1)).astype("float32")
    ways = (
        (non_max_suppression(boxes, scores, 0.5, LEAST, 20), 0.5, 0.0),
        (soft_non_max_suppression(boxes, scores, 0.4, LEAST, 20), 1.0, 0.2),
    )
    for results, limit, half_sigma in ways:
        for image, rows in enumerate(_rows(results)):
            chosen, values = tf.image.non_max_suppression_with_scores(
                boxes[image], scores[image, :, 0], 20, limit, LEAST, half_sigma
            )
            found = np.reshape(rows, (-1, 6))
            np.testing.assert_array_equal(found[:, :4], boxes[image, chosen.numpy()])
            np.testing.assert_allclose(found[:, 5], values.numpy(), rtol=1e-5)


@given(seeds)
@settings(max_examples=5)
def test_candidates_are_those_of_the_highest_scores(seed):
    boxes, scores = _predictions(seed)
    scores *= np.random.default_rng(seed).uniform(0.9, 1, scores.shape).astype("float32")
    best = np.sort(scores.reshape(BATCH, -1), axis=1)[:, -5]
    fewer = np.where(scores >= best[:, None, None], scores, 0)
    found = non_max_suppression(boxes, scores, several_labels=True, max_results=6, candidates=5)
    expected = non_max_suppression(boxes, fewer, several_labels=True, max_results=6)
    for one, other in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_defaults_are_those_in_the_docstring():
    """Overlap of a half is kept, more is dropped; 0.05 is enough; other classes do not matter."""
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 3], [0, 0, 4, 4], [8, 8, 9, 9], [5, 5, 6, 6]]]
    scores = [[[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.6], [0.05, 0], [0.049, 0]]]
    (rows,) = _rows(non_max_suppression(np.array(boxes, "float32"), np.array(scores, "float32")))
    assert [(row[4], round(float(row[5]), 3)) for row in rows] == [
        (0, 0.9), (0, 0.8), (1, 0.6), (0, 0.05),
    ]  # fmt: skip


def test_a_threshold_of_zero_returns_each_box_once():
    boxes = np.tile([[[0, 0, 4, 4.0], [0, 0, 4, 4], [9, 9, 9, 9]]], (1, 1, 1))
    found = non_max_suppression(boxes, np.zeros((1, 3, 1)), 0.5, 0.0, 5)
    np.testing.assert_array_equal(ops.convert_to_numpy(found["labels"]), [[0, 0, -1, -1, -1]])


class _Choice(keras.layers.Layer):
    def call(self, boxes, scores):
        return non_max_suppression(boxes, scores, 0.5, LEAST, RESULTS)

    def compute_output_spec(self, boxes, scores):
        shape = (boxes.shape[0], RESULTS)
        return {
            "boxes": keras.KerasTensor((*shape, 4)),
            "labels": keras.KerasTensor(shape, "int32"),
            "scores": keras.KerasTensor(shape),
        }


def test_in_a_compiled_model_with_any_batch():
    inputs = [keras.Input((BOXES, 4)), keras.Input((BOXES, CLASSES))]
    model = keras.Model(inputs, _Choice()(*inputs))
    boxes, scores = _predictions(5)
    found = model.predict([boxes, scores], batch_size=1, verbose=0)
    expected = non_max_suppression(boxes, scores, 0.5, LEAST, RESULTS)
    for name, values in found.items():
        np.testing.assert_array_equal(values, ops.convert_to_numpy(expected[name]))


def test_results_are_what_the_metric_takes():
    from keras_dlcourse.metrics import mean_average_precision

    boxes, scores = _predictions(1)
    found = non_max_suppression(boxes * 8 + np.float32([0, 0, 4, 4]), scores, max_results=RESULTS)
    true = {name: ops.convert_to_numpy(found[name]) for name in ("boxes", "labels")}
    assert mean_average_precision(true, found, "xyxy").map == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"iou_threshold": 1.2}, ValueError, "iou_threshold.*1.2"),
        ({"score_threshold": -0.1}, ValueError, "score_threshold.*-0.1"),
        ({"max_results": 0}, ValueError, "max_results.*0"),
        ({"class_agnostic": "yes"}, TypeError, "class_agnostic.*yes"),
        ({"several_labels": 1}, TypeError, "several_labels.*1"),
        ({"candidates": 0}, ValueError, "candidates.*0"),
        ({"scores": np.zeros((2, 12))}, ValueError, r"scores \(batch, boxes, classes\).*\(2, 12\)"),
        ({"scores": np.zeros((2, 11, 3))}, ValueError, r"\(2, 12, 4\) and \(2, 11, 3\)"),
        ({"scores": np.full((2, 12, 3), 2.0)}, ValueError, "from 0 to 1.*0 to 2.*sigmoid"),
        ({"scores": np.full((2, 12, 3), np.nan)}, ValueError, "from 0 to 1.*nan.*diverged"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    boxes, scores = _predictions(0)
    with pytest.raises(error, match=message):
        non_max_suppression(**{"boxes": boxes, "scores": scores, **arguments})


def test_a_bad_sigma_is_refused():
    with pytest.raises(ValueError, match="sigma.*above 0. Received: 0"):
        soft_non_max_suppression(*_predictions(0), sigma=0)
