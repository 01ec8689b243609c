"""Matching against loops over images, boxes and anchors, written from the papers."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dlcourse.boxes import (
    BACKGROUND,
    IGNORED,
    make_anchors,
    match_by_cell,
    match_by_cost,
    match_by_iou,
    match_by_statistics,
    take_matched,
    unmatched_share,
)

BATCH, BOXES, CLASSES = 3, 5, 4
ANCHORS = make_anchors((64, 96), (16, 32), sizes=(20, 44), ratios=(0.5, 2))
PLAIN = make_anchors((64, 96), (16, 32))
CELLS = make_anchors((64, 96), [16])
seeds = st.integers(0, 10**6)


def iou(one, other):
    """Return the IoU of two boxes, as a division of float32."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    common = max(across, 0) * max(down, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return np.float32(common) / np.float32(union) if union > 0 else np.float32(0)


def _scene(seed):
    """Return boxes in fractions, class numbers, and how many of the boxes exist in each image."""
    random = np.random.default_rng(seed)
    center, size = (
        random.uniform(0, 1, (BATCH, BOXES, 2)),
        random.uniform(0, 0.5, (BATCH, BOXES, 2)),
    )
    size[:, 0] = 0  # of no area
    size[:, 1] *= 0.05  # much smaller than a cell
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1).astype("float32")
    boxes[:, 3] = boxes[:, 2]  # two that are the same
    mask = np.arange(BOXES) < random.permuted([0, 3, 5])[:, None]
    return boxes, random.integers(0, CLASSES, (BATCH, BOXES)), mask


def _pixels(seed):
    """Return boxes and anchors of whole pixels, whose IoU are often equal, or at a threshold."""
    corners = np.random.default_rng(seed).integers(0, 6, (BATCH * BOXES + 12, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(-1, 4).astype("float32")
    return boxes[12:].reshape(BATCH, BOXES, 4), boxes[:12]


def _numpy(x):
    return ops.convert_to_numpy(x)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.4), (0.5, 0.5), (1.0, 0.0)])
@given(seed=seeds)
def test_by_iou(force, positive, negative, seed):
    boxes, anchors = _pixels(seed)
    mask = _scene(seed)[2]
    expected = []
    for image, there in zip(boxes, mask, strict=True):
        table = [[iou(box, anchor) for anchor in anchors] for box in image[there]]
        row = []
        for column in zip(*table, strict=True) if table else [(-1,)] * len(anchors):
            best = max(column)
            index = column.index(best) if best >= np.float32(positive) else IGNORED
            row.append(index if best >= np.float32(negative) else BACKGROUND)
        wishes = {}
        for index, each in enumerate(table):
            if force and max(each) > 0:
                wishes.setdefault(each.index(max(each)), []).append((-max(each), index))
        for anchor, wishing in wishes.items():
            row[anchor] = min(wishing)[1]
        expected.append(row)
    found = match_by_iou(boxes, mask, anchors, positive, negative, force)
    np.testing.assert_array_equal(_numpy(found), expected)


def test_by_iou_takes_anchors_in_fractions():
    boxes, _, mask = _scene(0)
    whole = boxes * np.float32([96, 64, 96, 64])
    corners = ANCHORS.corners * np.float32([96, 64, 96, 64])
    found = match_by_iou(boxes, mask, ANCHORS)
    np.testing.assert_array_equal(_numpy(found), _numpy(match_by_iou(whole, mask, corners)))
    assert (_numpy(found) >= 0).any()


def _by_statistics(boxes, mask, anchors, candidates):
    """ATSS, algorithm 1, on one image."""
    pixels = anchors.boxes.astype(float) * np.tile(anchors.image_shape[::-1], 2)
    best = [(-1.0, BACKGROUND)] * len(anchors)
    for index in np.flatnonzero(mask):
        box = boxes[index].astype(float)
        x, y = (box[0] + box[2]) / 2 * 96, (box[1] + box[3]) / 2 * 64
        chosen = []
        for level, per_cell in enumerate(anchors.per_cell):
            those = np.flatnonzero(anchors.levels == level)
            apart = [math.hypot(pixels[k, 0] - x, pixels[k, 1] - y) for k in those]
            chosen += list(those[np.argsort(apart, kind="stable")][: candidates * per_cell])
        overlaps = np.array([iou(box, anchors.corners[k].astype(float)) for k in chosen], float)
        least = overlaps.mean() + overlaps.std(ddof=1) - 1e-6
        for k, overlap in zip(chosen, overlaps, strict=True):
            inside = box[0] < anchors.boxes[k, 0] < box[2] and box[1] < anchors.boxes[k, 1] < box[3]
            if overlap >= least and inside and overlap > best[k][0]:
                best[k] = (overlap, int(index))
    return [index for _, index in best]


@pytest.mark.parametrize("anchors", [ANCHORS, PLAIN], ids=["two shapes", "squares"])
@pytest.mark.parametrize("candidates", [1, 4, 9])
@given(seed=seeds)
def test_by_statistics(anchors, candidates, seed):
    boxes, _, mask = _scene(seed)
    found = _numpy(match_by_statistics(boxes, mask, anchors, candidates))
    for image in range(BATCH):
        expected = _by_statistics(boxes[image], mask[image], anchors, candidates)
        np.testing.assert_array_equal(found[image], expected)


def test_by_statistics_candidates_that_overlap_alike_are_kept():
    """Around a box of 3 x 3 cells all nine candidates have the IoU 1 / 9, their mean, rounded."""
    anchors = make_anchors((80, 80), [16])
    box = np.array([[[0.2, 0.2, 0.8, 0.8]]], "float32")
    found = _numpy(match_by_statistics(box, [[True]], anchors)).reshape(5, 5)
    np.testing.assert_array_equal(found, np.pad(np.zeros((3, 3)), 1, constant_values=-1))


def _by_cost(boxes, labels, mask, centers, predicted, logits, weight, candidates):
    """SimOTA on one image."""
    best = [(math.inf, BACKGROUND)] * len(centers)
    for index in np.flatnonzero(mask):
        box = boxes[index].astype(float)
        inside = [
            k for k, (x, y) in enumerate(centers)
            if box[0] < x < box[2] and box[1] < y < box[3]
        ]  # fmt: skip
        middle = (box[:2] + box[2:]) / 2
        inside = inside or [int(((centers - middle) ** 2).sum(axis=1).argmin())]
        overlaps = [float(iou(box, predicted[k].astype(float))) for k in inside]
        costs = []
        for k, overlap in zip(inside, overlaps, strict=True):
            target = np.arange(CLASSES) == labels[index]
            p = 1 / (1 + np.exp(-logits[k].astype(float)))
            error = -np.log(np.where(target, p, 1 - p)).sum()
            costs.append(error - weight * math.log(overlap + 1e-8))
        wanted = max(int(sum(sorted(overlaps)[-candidates:])), 1)
        for place in np.argsort(costs, kind="stable")[:wanted]:
            if costs[place] < best[inside[place]][0]:
                best[inside[place]] = (costs[place], int(index))
    return [index for _, index in best]


@pytest.mark.parametrize(("weight", "candidates"), [(3.0, 10), (0.5, 3), (0.0, 1)])
@given(seed=seeds)
def test_by_cost(weight, candidates, seed):
    boxes, labels, mask = _scene(seed)
    random = np.random.default_rng(seed)
    logits = random.normal(size=(BATCH, len(PLAIN), CLASSES)).astype("float32") * 3
    # Predictions near true boxes: sums of IoU well above 1.
    near = boxes[:, random.integers(0, BOXES, len(PLAIN))]
    predicted = (near + random.normal(size=near.shape) * 0.03).astype("float32")
    found = match_by_cost(boxes, labels, mask, PLAIN, predicted, logits, weight, candidates)
    centers = PLAIN.boxes[:, :2].astype(float)
    for image in range(BATCH):
        expected = _by_cost(
            boxes[image], labels[image], mask[image], centers, predicted[image], logits[image],
            weight, candidates,
        )  # fmt: skip
        np.testing.assert_array_equal(_numpy(found)[image], expected)


def test_by_cost_an_anchor_goes_to_the_cheapest_box_only():
    """Two boxes on one center: it goes to that of its class, the other one is lost."""
    cell = make_anchors((32, 32), [32])
    boxes, logits = np.array([[[0.1, 0.1, 0.9, 0.9]] * 2], "float32"), [[[-4.0, 4.0]]]
    found = match_by_cost(boxes, [[0, 1]], [[True, True]], cell, boxes[:, :1], logits)
    np.testing.assert_array_equal(_numpy(found), [[1]])


@given(seeds)
def test_by_cell(seed):
    boxes, _, mask = _scene(seed)
    found = _numpy(match_by_cell(boxes, mask, CELLS))
    for image in range(BATCH):
        best = [(math.inf, BACKGROUND)] * 24
        for index in np.flatnonzero(mask[image]):
            x, y = (boxes[image, index, :2].astype(float) + boxes[image, index, 2:]) / 2
            row, column = min(int(y * 4), 3), min(int(x * 6), 5)
            apart = max(abs(x * 6 - column - 0.5), abs(y * 4 - row - 0.5))
            if apart < best[row * 6 + column][0] - 1e-6:
                best[row * 6 + column] = (apart, int(index))
        np.testing.assert_array_equal(found[image], [index for _, index in best])


def _all(boxes, labels, mask):
    """Return the results of all functions."""
    predicted = np.tile(PLAIN.corners, (len(mask), 1, 1))
    logits = np.zeros((len(mask), len(PLAIN), CLASSES), "float32")
    return [
        match_by_iou(boxes, mask, PLAIN),
        match_by_statistics(boxes, mask, PLAIN),
        match_by_cell(boxes, mask, CELLS),
        match_by_cost(boxes, labels, mask, PLAIN, predicted, logits),
    ]


@settings(max_examples=10)
@given(seeds)
def test_padding_does_not_matter_whatever_its_values(seed):
    boxes, labels, mask = _scene(seed)
    odd = np.where(mask[..., None], boxes, np.array([np.nan, -np.inf, np.inf, 0.5], "float32"))
    numbers = np.where(mask, labels, -1)
    for one, other in zip(_all(boxes, labels, mask), _all(odd, numbers, mask), strict=True):
        np.testing.assert_array_equal(_numpy(one), _numpy(other))


def test_without_boxes_all_is_background():
    empty = np.zeros((2, 0, 4), "float32"), np.zeros((2, 0), "int32"), np.zeros((2, 0), bool)
    none = np.zeros((2, 3, 4), "float32"), np.zeros((2, 3), "int32"), np.zeros((2, 3), bool)
    for found in (*_all(*empty), *_all(*none)):
        assert (_numpy(found) == BACKGROUND).all() and found.shape[0] == 2
    for boxes, labels, _ in (empty, none):
        taken, names = take_matched(np.full((2, 7), -1), boxes, labels)
        assert taken.shape == (2, 7, 4) and not _numpy(taken).any()
        assert (_numpy(names) == BACKGROUND).all()


class _Matcher(keras.layers.Layer):
    """All functions in compiled code, where the number of boxes is not known."""

    def call(self, boxes, labels, predicted, logits):
        mask = labels >= 0
        found = [
            match_by_iou(boxes, mask, PLAIN),
            match_by_statistics(boxes, mask, PLAIN),
            match_by_cost(boxes, labels, mask, PLAIN, predicted, logits),
        ]
        taken, names = take_matched(found[0], boxes, labels)
        return [*found, taken, names]

    def compute_output_spec(self, boxes, labels, predicted, logits):
        shape = (boxes.shape[0], len(PLAIN))
        matched = [keras.KerasTensor(shape, "int32") for _ in range(4)]
        return [*matched[:3], keras.KerasTensor((*shape, 4)), matched[3]]


def test_in_a_compiled_model_for_any_number_of_boxes():
    given_ = [
        keras.Input((None, 4)),
        keras.Input((None,), dtype="int32"),
        keras.Input((len(PLAIN), 4)),
        keras.Input((len(PLAIN), CLASSES)),
    ]
    model = keras.Model(given_, _Matcher()(*given_))
    random = np.random.default_rng(0)
    for count in (5, 2):
        boxes, labels, mask = (each[:, :count] for each in _scene(4))
        labels = np.where(mask, labels, -1).astype("int32")
        predicted = np.tile(PLAIN.corners, (BATCH, 1, 1))
        logits = random.normal(size=(BATCH, len(PLAIN), CLASSES)).astype("float32")
        found = model.predict([boxes, labels, predicted, logits], verbose=0)
        expected = [
            match_by_iou(boxes, mask, PLAIN),
            match_by_statistics(boxes, mask, PLAIN),
            match_by_cost(boxes, labels, mask, PLAIN, predicted, logits),
        ]
        expected += take_matched(expected[0], boxes, labels)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, _numpy(other))


@given(seeds)
def test_the_share_of_boxes_without_an_anchor(seed):
    boxes, _, mask = _scene(seed)
    matched = _numpy(match_by_iou(boxes, mask, ANCHORS))
    lost = [
        index not in matched[image]
        for image in range(BATCH)
        for index in np.flatnonzero(mask[image])
    ]
    assert unmatched_share(matched, mask) == pytest.approx(np.mean(lost))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"positive": 0.3}, ValueError, "negative must be at most positive, 0.3. Received: 0.4"),
        ({"positive": 1.5}, ValueError, "positive.*1.5"),
        ({"negative": -1}, ValueError, "negative.*-1"),
        ({"force": 1}, TypeError, "force.*1"),
        ({"boxes": np.zeros((5, 4))}, ValueError, r"boxes must be \(batch, boxes, 4\).*\(5, 4\)"),
        ({"mask": np.ones(5)}, ValueError, r"mask \(batch, boxes\).*\(5,\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    boxes, _, mask = _scene(0)
    with pytest.raises(error, match=message):
        match_by_iou(**{"boxes": boxes, "mask": mask, "anchors": ANCHORS, **arguments})


def test_bad_anchors_and_counts_are_refused():
    boxes, labels, mask = _scene(0)
    predicted, logits = np.zeros((BATCH, 24, 4)), np.zeros((BATCH, 24, CLASSES))
    for match in (match_by_statistics, match_by_cell):
        with pytest.raises(TypeError, match="anchors must be Anchors, from make_anchors.*ndarray"):
            match(boxes, mask, ANCHORS.corners)
    with pytest.raises(ValueError, match=r"one level, with one per cell.*\(1, 1\)"):
        match_by_cell(boxes, mask, PLAIN)
    with pytest.raises(ValueError, match=r"one level, with one per cell.*\(2,\)"):
        match_by_cell(boxes, mask, make_anchors((64, 64), [16], [(8, 9)]))
    with pytest.raises(ValueError, match="candidates.*0"):
        match_by_statistics(boxes, mask, ANCHORS, 0)
    with pytest.raises(TypeError, match="candidates.*2.5"):
        match_by_cost(boxes, labels, mask, CELLS, predicted, logits, candidates=2.5)
    with pytest.raises(ValueError, match="overlap_weight.*-1"):
        match_by_cost(boxes, labels, mask, CELLS, predicted, logits, overlap_weight=-1)
