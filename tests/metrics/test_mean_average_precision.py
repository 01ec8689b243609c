"""Mean average precision against pycocotools, VOC's rules as loops, and single cases by hand."""

from __future__ import annotations

import contextlib
import io

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.data import convert_boxes
from keras_dlcourse.metrics import MeanAveragePrecision, mean_average_precision
from keras_dlcourse.metrics._detection_scores import MEASURES

SIZE = 200
seeds = st.integers(0, 10**6)


def _scene(seed, images=12, classes=3, most=6):
    """Return objects and detections with crowds, ties, areas of masks, duplicates, and none at all.

    Boxes are (left, top, width, height) of whole pixels; detections are moved objects, and noise.
    """
    random = np.random.default_rng(seed)
    true = {"boxes": [], "labels": [], "area": [], "iscrowd": []}
    found = {"boxes": [], "labels": [], "scores": []}
    for _ in range(images):
        count = random.integers(0, most + 1)
        boxes = np.concatenate(
            [random.integers(0, SIZE // 2, (count, 2)), random.integers(1, SIZE // 2, (count, 2))],
            1,
        )
        labels = random.integers(0, classes, count)
        true["boxes"].append(boxes)
        true["labels"].append(labels)
        true["area"].append(boxes.prod(axis=1, initial=1, where=[False, False, True, True]) * 0.7)
        true["iscrowd"].append(random.random(count) < 0.2)
        times = random.integers(0, 4, count)
        copies = np.repeat(boxes, times, axis=0)
        moved = np.maximum(copies + random.integers(-6, 7, copies.shape), [0, 0, 1, 1])
        noise = np.concatenate(
            [random.integers(0, SIZE // 2, (2, 2)), random.integers(1, SIZE // 2, (2, 2))], 1
        )
        both = np.concatenate([moved, noise])[: random.integers(0, 20)]
        found["boxes"].append(both)
        named = np.append(np.repeat(labels, times), [0, 1])[: len(both)]
        wrong = random.random(len(both)) < 0.2
        found["labels"].append(np.where(wrong, random.integers(0, classes, len(both)), named))
        found["scores"].append(random.integers(1, 12, len(both)) / 11)  # many ties
    return true, found


def _pycocotools(true, found):
    """Return COCO's 12 numbers as its own code computes them."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    data = coco.COCO()
    classes = {int(label) for each in (*true["labels"], *found["labels"]) for label in each}
    annotations = [
        {"image_id": image, "category_id": int(label), "bbox": list(map(float, box)),
         "area": float(area), "iscrowd": int(crowd)}
        for image in range(len(true["boxes"]))
        for box, label, area, crowd in zip(
            *(true[name][image] for name in ("boxes", "labels", "area", "iscrowd")), strict=True
        )
    ]  # fmt: skip
    data.dataset = {
        "images": [{"id": image} for image in range(len(true["boxes"]))],
        "categories": [{"id": label} for label in classes],
        "annotations": [{**each, "id": number + 1} for number, each in enumerate(annotations)],
    }
    detections = [
        {"image_id": image, "category_id": int(label), "bbox": list(map(float, box)),
         "score": float(score)}
        for image in range(len(found["boxes"]))
        for box, label, score in zip(
            *(found[name][image] for name in ("boxes", "labels", "scores")), strict=True
        )
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        peer = evaluation.COCOeval(data, data.loadRes(detections), "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    return np.where(peer.stats == -1, np.nan, peer.stats)


def _numbers(scores):
    return np.array([getattr(scores, name) for name in MEASURES])


@settings(max_examples=20)
@given(seeds)
def test_the_twelve_numbers_are_those_of_pycocotools(seed):
    true, found = _scene(seed)
    if not sum(map(len, found["boxes"])):
        return  # it refuses to read no detections
    np.testing.assert_allclose(
        _numbers(mean_average_precision(true, found, "xywh")),
        _pycocotools(true, found),
        rtol=0, atol=1e-12,
    )  # fmt: skip


def test_more_than_a_hundred_objects_of_a_class_in_an_image():
    true, found = _scene(1, images=3, classes=2, most=300)
    found["boxes"][0] = np.concatenate([true["boxes"][0]] * 2)
    found["labels"][0] = np.concatenate([true["labels"][0]] * 2)
    found["scores"][0] = np.linspace(0.9, 0.1, len(found["boxes"][0]))
    assert max(np.bincount(each).max() for each in found["labels"] if len(each)) > 100
    expected = _pycocotools(true, found)
    numbers = _numbers(mean_average_precision(true, found, "xywh"))
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-12)


# Of `_scene(7)`, by pycocotools 2.0.11: what holds where that is not installed.
RECORDED = (
    0.1102933941549069, 0.20445544554455447, 0.11619004611458589, 0.08448711537820447,
    0.3134203420342034, np.nan, 0.10712620712620713, 0.20795870795870794, 0.20795870795870794,
    0.16342592592592592, 0.37999999999999995, np.nan,
)  # fmt: skip


def test_recorded_numbers_of_pycocotools():
    true, found = _scene(7)
    numbers = _numbers(mean_average_precision(true, found, "xywh"))
    np.testing.assert_allclose(numbers, RECORDED, rtol=0, atol=1e-12)


def _voc(true, found, label, limit, points):
    """AP of one class by VOC's rules, one detection after the other."""
    rows = [
        (float(score), image, box)
        for image in range(len(found["boxes"]))
        for box, number, score in zip(
            found["boxes"][image], found["labels"][image], found["scores"][image], strict=True
        )
        if number == label
    ]
    rows.sort(key=lambda row: -row[0])
    objects = {
        image: [
            [box, bool(hard), False]
            for box, number, hard in zip(
                true["boxes"][image], true["labels"][image], true["difficult"][image], strict=True
            )
            if number == label
        ]
        for image in range(len(true["boxes"]))
    }
    total = sum(not one[1] for each in objects.values() for one in each)
    hits = misses = 0
    curve = []
    for _, image, box in rows:
        overlaps = [_iou(box, one[0]) for one in objects[image]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if overlaps and overlaps[best] >= limit:
            one = objects[image][best]
            if one[1]:
                continue
            if one[2]:
                misses += 1
            else:
                hits, one[2] = hits + 1, True
        else:
            misses += 1
        curve.append((hits / total if total else 0, hits / (hits + misses)))
    if not total:
        return np.nan
    if points:
        return np.mean([
            max([precision for recall, precision in curve if recall >= point], default=0)
            for point in np.linspace(0, 1, 11)
        ])  # fmt: skip
    area = last = 0.0
    for index, (recall, _) in enumerate(curve):
        area += (recall - last) * max(precision for _, precision in curve[index:])
        last = recall
    return area


def _iou(one, other):
    """Return the IoU of (left, top, width, height)."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(across, 0) * max(down, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


@pytest.mark.parametrize("protocol", ["voc07", "voc10"])
@settings(max_examples=20)
@given(seeds)
def test_voc_is_as_its_rules_say(protocol, seed):
    true, found = _scene(seed)
    true["difficult"] = true.pop("iscrowd")
    scores = mean_average_precision(true, found, "xywh", protocol)
    expected = [_voc(true, found, label, 0.5, protocol == "voc07") for label in scores.classes]
    np.testing.assert_allclose(scores.average_precision[0], expected, rtol=1e-12)
    if not np.isnan(expected).all():
        assert scores.map == pytest.approx(np.nanmean(expected))
    assert np.isnan(scores.map_small)


def _padded(values, fill):
    width = max(map(len, values)) + 2
    out = np.full((len(values), width, *np.shape(values[0])[1:]), fill, float)
    for row, each in zip(out, values, strict=True):
        row[: len(each)] = each
    return out


@pytest.mark.parametrize("target", ["xyxy", "rel_center_xyhw", "yxyx", "rel_xywh"])
def test_padded_batches_in_any_format_say_the_same_as_lists(target):
    true, found = _scene(3)
    expected = _numbers(mean_average_precision(true, found, "xywh"))
    sides = {"height": SIZE, "width": SIZE}
    metric = MeanAveragePrecision(target, image_shape=(SIZE, SIZE) if "rel" in target else None)
    padded = {}
    for name, values in (("true", true), ("found", found)):
        boxes = [convert_boxes(np.asarray(each, "float64"), "xywh", target, **sides)
                 for each in values["boxes"]]  # fmt: skip
        padded[name] = {
            key: _padded(values[key], -1) for key in values if key != "boxes"
        } | {"boxes": _padded(boxes, np.nan if name == "found" else 0)}  # fmt: skip
    for part in (slice(0, 1), slice(1, 7), slice(7, 12)):
        metric.update_state(
            *({key: values[part] for key, values in padded[name].items()} for name in padded)
        )
    np.testing.assert_allclose(_numbers(metric.scores()), expected, rtol=1e-5)
    assert float(metric.result()) == pytest.approx(expected[0], rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_streaming_in_any_batches_is_exact():
    true, found = _scene(5, images=40)
    whole = mean_average_precision(true, found, "xywh")
    metric = MeanAveragePrecision("xywh")
    for begin in range(0, 40, 7):
        part = slice(begin, begin + 7)
        metric.update_state(*({k: v[part] for k, v in each.items()} for each in (true, found)))
        metric.scores()  # reading in between changes nothing
    np.testing.assert_array_equal(_numbers(metric.scores()), _numbers(whole))


def test_a_detection_keeps_some_thirty_bytes_and_no_image_is_kept():
    metric = MeanAveragePrecision("xyxy")
    box = np.array([[[10, 10, 50, 50]]]).repeat(100, axis=1)
    found = {"boxes": box, "labels": np.zeros((1, 100)), "scores": np.linspace(0, 1, 100)[None]}
    for _ in range(50):
        metric.update_state({"boxes": box[:, :1], "labels": np.zeros((1, 1))}, found)
    kept = sum(
        getattr(each, name).nbytes
        for each in metric._judged
        for name in ("label", "score", "rank", "right", "ignored")
    )
    assert kept <= 30 * 5000


def test_no_objects_and_no_detections():
    empty = {"boxes": [np.zeros((0, 4))], "labels": [np.zeros(0)]}
    one = {"boxes": [np.array([[0, 0, 9, 9]])], "labels": [np.array([2])]}
    score = {"scores": [np.array([0.5])]}
    nothing = {**empty, "scores": [np.zeros(0)]}
    for measure, true, found in (("both", empty, nothing), ("objects", empty, {**one, **score})):
        assert np.isnan(mean_average_precision(true, found, "xyxy").map), measure
    assert mean_average_precision(one, nothing, "xyxy").map == 0
    assert float(MeanAveragePrecision("xyxy").result()) == 0


def test_other_thresholds_and_limits_are_used():
    true = {"boxes": [np.array([[0, 0, 10, 10], [20, 20, 30, 30]])], "labels": [np.zeros(2)]}
    found = {"boxes": [np.array([[0, 0, 10, 3], [20, 20, 30, 30]])], "labels": [np.zeros(2)],
             "scores": [np.array([0.9, 0.8])]}  # fmt: skip
    assert mean_average_precision(true, found, "xyxy", iou_thresholds=[0.3]).map == 1
    # A miss of the higher score, then a hit: precision 1 / 2 up to a recall of 1 / 2, 51 of 101.
    scores = mean_average_precision(true, found, "xyxy", iou_thresholds=[0.31])
    assert scores.map == pytest.approx(0.5 * 51 / 101)
    assert scores.mar == 0.5
    assert np.isnan(scores.map_50)
    assert mean_average_precision(true, found, "xyxy", limit=1).mar == 0


def test_every_argument_survives_a_round_trip():
    arguments = {
        "bounding_box_format": "rel_xyxy", "measure": "mar_10", "protocol": "voc10",
        "image_shape": (30, 40), "iou_thresholds": [0.25, 0.6], "limit": 7,
    }  # fmt: skip
    metric = MeanAveragePrecision(**arguments, name="mine")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert {name: getattr(twin, name) for name in arguments} == arguments
    assert twin.name == "mine" and MeanAveragePrecision("xyxy", "map_75").name == "map_75"


def test_result_is_the_chosen_measure():
    true, found = _scene(9)
    scores = mean_average_precision(true, found, "xywh")
    for measure in MEASURES:
        metric = MeanAveragePrecision("xywh", measure)
        metric.update_state(true, found)
        assert float(metric.result()) == pytest.approx(np.nan_to_num(getattr(scores, measure)))


TRUE = {"boxes": np.array([[[1, 1, 5, 5]]]), "labels": np.array([[0]])}
FOUND = {**TRUE, "scores": np.array([[0.5]])}


@pytest.mark.parametrize(
    ("true", "found", "error", "message"),
    [
        ([1], {}, TypeError, "y_true must be a dictionary.*list"),
        ({"boxes": 0}, None, ValueError, "y_true must have 'boxes', 'labels'.*boxes"),
        ({}, {"scores": None}, ValueError, "y_pred must have .*'scores'.*'boxes', 'labels'"),
        ({}, {"boxes": np.zeros((2, 1, 4))}, ValueError, "same images. Received: 1 and 2"),
        ({"labels": [[0.5]]}, {}, ValueError, "class numbers.*fractions"),
        ({"boxes": [[[1, 1, 5]]]}, {}, ValueError, r'y_true\["boxes"\].*\(boxes, 4\)'),
        ({"boxes": [[[5, 1, 1, 5]]]}, {}, ValueError, r'y_true\["boxes"\].*negative size'),
        ({}, {"scores": [[0.5, 0.4]]}, ValueError, r'y_pred\["scores"\].*1 labels'),
        ({}, {"scores": [[np.nan]]}, ValueError, r'y_pred\["scores"\] must be finite'),
        ({}, {"boxes": [[[1, 1, np.nan, 5]]]}, ValueError, r'y_pred\["boxes"\] must be finite'),
        ({}, {"boxes": [[[0.1, 0.1, 0.5, 0.5]]]}, ValueError, "must be in pixels.*fractions"),
    ],
)
def test_bad_input_is_refused(true, found, error, message):
    if isinstance(true, dict):
        true = {"boxes": TRUE["boxes"]} if found is None else {**TRUE, **true}
    found = {key: value for key, value in {**FOUND, **(found or {})}.items() if value is not None}
    with pytest.raises(error, match=message):
        MeanAveragePrecision("xyxy").update_state(true, found)


def test_pixels_where_fractions_are_said_are_refused():
    small = {**TRUE, "boxes": TRUE["boxes"] / 10}
    with pytest.raises(ValueError, match="must be in fractions, as rel_xyxy.*pixels"):
        MeanAveragePrecision("rel_xyxy", image_shape=(9, 9)).update_state(small, FOUND)


def test_weights_are_refused():
    with pytest.raises(ValueError, match="sample_weight must be None.*Leave images out"):
        MeanAveragePrecision("xyxy").update_state(TRUE, FOUND, sample_weight=[1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounding_box_format": "ltrb"}, "bounding_box_format.*ltrb"),
        ({"measure": "ap"}, "measure.*'map_50'.*'ap'"),
        ({"protocol": "voc"}, "protocol.*'voc07'.*'voc'"),
        ({"bounding_box_format": "rel_xyxy"}, "image_shape.*fractions.*None"),
        ({"image_shape": 9}, r"image_shape must be \(height, width\).*9"),
        ({"iou_thresholds": [0.5, 0]}, "iou_thresholds.*0"),
        ({"limit": 0}, "limit.*0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MeanAveragePrecision(**{"bounding_box_format": "xyxy", **arguments})
