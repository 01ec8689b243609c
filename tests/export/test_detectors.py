"""Detectors from Keras to a device: the same boxes there and in MediaPipe, in every form."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from small_detector import (
    ANCHORS,
    LABELS,
    NORMALIZATION,
    SCALES,
    SIDE,
    build,
    normalized,
    scenes,
)

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.edge import ModelFile, NonMaxSuppression, ObjectDetector
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import Table as Read
from keras_dlcourse.export.checking.target_rules import detector_output
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.outputs import KINDS
from keras_dlcourse.export.outputs.detection import find_detection
from keras_dlcourse.export.outputs.kind import Compared
from keras_dlcourse.export.writing.flatbuffer_writer import Table, pack
from keras_dlcourse.layers import OutputDescription

layers = keras.layers
AS_MEDIAPIPE = NonMaxSuppression(0.3, class_agnostic=True)
# MediaPipe cuts left, top, width and height down to whole pixels, and this rounds edges: these
# differ by at most one pixel, and right and bottom by the sum of two.
PIXELS = np.array([1, 1, 2, 2])


@pytest.fixture(scope="module")
def model(detector_model):
    return detector_model


@pytest.fixture(scope="module")
def paths(detector_files):
    return detector_files


def by_a_loop(values, scores, least, iou_threshold, agnostic=False):
    """Return edges in pixels, class and score of the boxes that one image has, in float64."""
    rows = []
    for (x, y, width, height), (dy, dx, dh, dw), row in zip(
        ANCHORS.astype(float), values.astype(float), scores.astype(float), strict=True
    ):
        y, x = y + dy / SCALES[0] * height, x + dx / SCALES[1] * width
        height, width = height * np.exp(dh / SCALES[2]), width * np.exp(dw / SCALES[3])
        edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if row.max() >= least:
            rows.append((*edges, row.argmax(), row.max()))
    kept = []
    for row in sorted(rows, key=lambda row: -row[5]):
        rivals = [one for one in kept if agnostic or one[4] == row[4]]
        if all(iou(row, one) <= iou_threshold for one in rivals):
            kept.append(row)
    return [(np.clip(row[:4], 0, 1) * SIDE, int(row[4]), row[5]) for row in kept]


def iou(one, other):
    width, height = (
        max(0, min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis])) for axis in (0, 1)
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def edges(box):
    left, top = box.origin_x, box.origin_y
    return np.array([left, top, left + box.width, top + box.height])


@pytest.mark.parametrize(
    ("file", "nms", "error"),
    [
        ("float32", None, 1e-5),
        ("float32", AS_MEDIAPIPE, 1e-5),
        ("float16 inside", None, 2e-3),
    ],
)
def test_the_device_gives_what_keras_gives(paths, model, file, nms, error):
    device = ObjectDetector(paths[file].path, nms=nms)
    pixels = scenes(6, seed=5)[0]
    outputs = model.predict_on_batch(normalized(pixels))
    limit, agnostic = (0.3, True) if nms else (0.5, False)
    for number, image in enumerate(pixels):
        found = device.detect(image, score_threshold=0.1)
        one = [outputs[name][number] for name in ("boxes", "scores")]
        expected = by_a_loop(*one, 0.1, limit, agnostic)
        assert len(found) == len(expected) > 0
        for detection, (place, index, score) in zip(found, expected, strict=True):
            (category,) = detection.categories
            assert (category.index, category.label) == (index, LABELS[index])
            assert category.score == pytest.approx(score, abs=error)
            assert np.abs(edges(detection.bounding_box) - place).max() <= 0.51


def test_objects_are_found(paths):
    """The networks answer something: most objects, with their class."""
    pixels, boxes, classes = scenes(40, seed=6)
    for name in paths:
        device, found, total = ObjectDetector(paths[name].path), 0, 0
        for image, places, numbers in zip(pixels, boxes, classes, strict=True):
            answers = device.detect(image)
            for place, number in zip(places * SIDE, numbers, strict=True):
                total += 1
                found += any(
                    one.categories[0].index == number and iou(edges(one.bounding_box), place) > 0.5
                    for one in answers
                )
        assert found / total > 0.8, name


def test_an_integer_body_has_the_same_boxes_with_its_float_tail(paths):
    outside, inside = (ObjectDetector(paths[name].path) for name in ("int8", "int8 inside"))
    for image in scenes(6, seed=7)[0]:
        assert inside.detect(image, score_threshold=0.1) == outside.detect(
            image, score_threshold=0.1
        )


def test_class_numbers_are_whole(paths):
    device = kd.edge.DeviceModel(paths["int8 inside"].path)
    for image in scenes(6, seed=7)[0]:
        location, category, score, (count,) = device.run(
            (normalized(image[None]) * 127.5 + 127) / 127.5 - 127 / 127.5
        )
        assert set(category.ravel()) <= {0.0, 1.0, 2.0}
        assert not score[0, int(count) :].any() and (score[0, : int(count)] > 0.05).all()
        assert all(one >= other for one, other in pairwise(score[0]))
        assert location.shape == (1, 90, 4) and location.min() >= 0 and location.max() <= 1


def test_scores_and_boxes_never_share_a_scale(paths):
    score, location = ModelFile.read(paths["int8"].path).outputs
    assert (score.dtype, location.dtype) == ("uint8", "uint8")
    assert score.scales[0] < 1 / 250 < location.scales[0] / 10
    pixels = scenes(40, seed=8)[0]
    fine = ObjectDetector(paths["int8"].path).run(pixels)[0]
    assert len(np.unique(fine)) > 100


def joined(boxes, scores, image):
    """Return a network with boxes in pixels and scores in one output, as many detectors have."""
    return keras.Model(image, layers.Concatenate()([layers.Rescaling(float(SIDE))(boxes), scores]))


def test_boxes_and_scores_in_one_tensor_are_not_a_detection(model, detector_data, tmp_path):
    network = joined(model.output["boxes"], model.output["scores"], model.input)
    with pytest.raises(ExportError, match="must be a dictionary of two outputs, boxes under"):
        kd.export.to_tflite(network, tmp_path / "x.tflite", calibration=detector_data)
    assert not any(tmp_path.iterdir())


def test_scores_in_the_scale_of_pixels_are_lost_which_verify_says(model, detector_data, tmp_path):
    network = joined(model.get_layer("boxes").input, model.output["scores"], model.input)
    whole = kd.export.to_tflite(network, tmp_path / "whole.tflite", calibration=detector_data)
    assert kd.export.verify(network, whole, detector_data).passed
    path = tmp_path / "joined.tflite"
    kd.export.to_tflite(network, path, quantization="int8", calibration=detector_data)
    device = kd.edge.DeviceModel(path)
    pixels = scenes(40, seed=8)[0]
    scores = np.concatenate([device.run(normalized(one[None]))[0] for one in pixels])[..., 4:]
    assert len(np.unique(scores)) < 5
    found = kd.export.verify(network, path, detector_data)
    assert not found.failures and not found.passed  # the mean error is small, for pixels
    assert "shared scale: on the last axis of the output, the values at 4, 5, 6" in found.cause
    assert "two outputs" in found.verdict


def in_mediapipe(path, pixels, **options):
    """Return the detections of MediaPipe Tasks."""
    try:
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        base = BaseOptions(model_asset_buffer=Path(path).read_bytes())
        options = vision.ObjectDetectorOptions(base, **{"score_threshold": 0.1, **options})
        task = vision.ObjectDetector.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"mediapipe cannot be loaded here: {error}")
    with task:
        return [
            task.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=image)).detections
            for image in pixels
        ]


@pytest.mark.parametrize("file", ["float32", "int8 inside"])
@pytest.mark.parametrize("option", ["category_allowlist", "category_denylist"])
def test_mediapipe_leaves_out_the_same_classes(paths, file, option):
    nms = None if "inside" in file else AS_MEDIAPIPE
    device, pixels = ObjectDetector(paths[file].path, nms=nms), scenes(8, seed=5)[0]
    given = {option: ["red", "blue"]}
    kept = {"red", "blue"} if option == "category_allowlist" else {"grün"}
    theirs = in_mediapipe(paths[file].path, pixels, **given)
    found = set()
    for image, other in zip(pixels, theirs, strict=True):
        ours = device.detect(image, score_threshold=0.1, **given)
        names = [one.categories[0].label for one in ours]
        assert names == [one.categories[0].category_name for one in other]
        found |= set(names)
    assert found == kept


@pytest.mark.parametrize("file", ["float32", "int8", "float16 inside", "int8 inside"])
def test_mediapipe_finds_the_same_boxes(paths, file):
    nms = None if "inside" in file else AS_MEDIAPIPE
    device = ObjectDetector(paths[file].path, nms=nms)
    pixels = scenes(6, seed=5)[0]
    for image, theirs in zip(pixels, in_mediapipe(paths[file].path, pixels), strict=True):
        ours = device.detect(image, score_threshold=0.1)
        assert len(ours) == len(theirs) > 0
        scores = [[one.categories[0].score for one in side] for side in (ours, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=5e-5)
        left = list(theirs)  # boxes of the same score, as integers have, are in any order
        for one in ours:
            same = [number for number, other in enumerate(left) if is_same(one, other)]
            assert same, one
            del left[same[0]]


def is_same(one, other):
    """Whether MediaPipe's detection, which does not end at the edge of the image, is this one."""
    (ours,), (theirs,) = one.categories, other.categories
    box = np.clip(edges(other.bounding_box), 0, SIDE)
    return (
        ours.label == theirs.category_name
        and abs(ours.score - theirs.score) <= 5e-5
        and (np.abs(edges(one.bounding_box) - box) <= PIXELS).all()
    )


def test_mediapipe_ignores_the_thresholds_of_classes(paths):
    """As docs/detection.md says: its own option, 0 by default in Python, is all it applies."""
    pixels = scenes(6, seed=5)[0]
    for given, least in ((0.0, 0.02), (0.1, 0.2)):
        found = in_mediapipe(paths["float32"].path, pixels, score_threshold=given)
        scores = [one.categories[0].score for image in found for one in image]
        assert given <= min(scores) < least


def test_mediapipe_reads_the_metadata(paths):
    common = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    own = pytest.importorskip(
        "mediapipe.tasks.metadata.object_detector_metadata_schema_py_generated"
    )
    metadata = ModelFile.read(paths["float32"].path).metadata
    content = metadata.extra["TFLITE_METADATA"]
    read = common.ModelMetadataT.InitFromObj(common.ModelMetadata.GetRootAs(content, 0))
    assert read.minParserVersion == b"1.5.0"
    (graph,) = read.subgraphMetadata
    scores, location = graph.outputTensorMetadata
    assert (scores.name, location.name) == (b"score", b"location")
    assert scores.associatedFiles[0].type == common.AssociatedFileType.TENSOR_AXIS_LABELS
    box = location.content.contentProperties
    assert (list(box.index), box.type) == ([0, 1, 2, 3], common.BoundingBoxType.BOUNDARIES)
    assert box.coordinateType == common.CoordinateType.RATIO
    (custom,) = graph.customMetadata
    data = bytes(bytearray(custom.data))
    root = own.ObjectDetectorOptions
    assert custom.name == b"DETECTOR_METADATA"
    assert root.ObjectDetectorOptionsBufferHasIdentifier(data, 0)
    options = own.ObjectDetectorOptionsT.InitFromObj(root.GetRootAs(data, 0))
    assert options.minParserVersion == b"1.0.0"
    anchors = [
        (one.xCenter, one.yCenter, one.width, one.height)
        for one in options.ssdAnchorsOptions.fixedAnchorsSchema.anchors
    ]
    np.testing.assert_array_equal(np.float32(anchors), ANCHORS)
    way = options.tensorsDecodingOptions
    assert (way.numClasses, way.numBoxes, way.numCoords) == (3, 90, 4)
    assert (way.yScale, way.xScale, way.hScale, way.wScale) == SCALES
    assert way.applyExponentialOnBoxSize and not way.sigmoidScore
    # And so does this package.
    assert metadata.detection.scales == SCALES
    np.testing.assert_array_equal(np.float32(metadata.detection.anchors), ANCHORS)
    content = ModelFile.read(paths["int8 inside"].path).metadata.extra["TFLITE_METADATA"]
    read = common.ModelMetadataT.InitFromObj(common.ModelMetadata.GetRootAs(content, 0))
    location, category, score, count = read.subgraphMetadata[0].outputTensorMetadata
    assert (score.name, count.name) == (b"score", b"number of detections")
    assert list(location.content.contentProperties.index) == [1, 0, 3, 2]
    assert category.associatedFiles[0].type == common.AssociatedFileType.TENSOR_VALUE_LABELS


def test_numbers_and_vectors_of_flatbuffers():
    inner = pack(Table({0: np.int32(-7), 1: np.bool_(True), 2: np.bool_(False)}), b"TEST")
    whole = pack(Table({0: "x", 1: inner}), b"TEST")
    data = Read.root(whole, b"TEST", "the test").data(1)
    start = whole.index(inner)
    assert bytes(data) == inner and start % 16 == 0
    read = Read.root(data, b"TEST", "the test")
    assert [read.number(0, "i"), read.number(1, "B"), read.number(2, "B")] == [-7, 1, 0]


def test_what_the_files_say(paths):
    raw, inside = (kd.export.inspect(paths[name]) for name in ("int8", "int8 inside"))
    assert [(one.name, one.kind) for one in raw.outputs] == [
        ("scores", "detection_scores"),
        ("boxes", "detection"),
    ]
    assert [one.name for one in inside.outputs] == [
        "location", "category", "score", "number of detections",
    ]  # fmt: skip
    assert raw.labels == inside.labels == paths["int8 inside"].labels == LABELS
    assert not raw.float_islands and not inside.float_islands
    assert not paths["int8 inside"].float_islands
    assert "what follows the integers chooses among boxes" in str(inside)
    assert inside.operators["NON_MAX_SUPPRESSION_V4"] == (1, 1)
    assert inside.min_runtime_version.rstrip("\0") > raw.min_runtime_version
    assert kd.export.inspect(paths["float32"]).score_thresholds == (0.2, 0.3, 0.4)
    assert (
        "output boxes: detection, y, x, height, width relative to 90 anchors of 0.25 to 0.6 of the "
        "image, times 10, 10, 5, 5" in str(raw)
    )
    assert "output location: detection, rel_yxyx\n" in str(inside)
    assert json.loads(json.dumps(raw.to_dict()))["outputs"][1]["layout"]["anchors"][0][2] == 0.25
    body = ModelFile.read(paths["int8 inside"].path).tensors
    assert {"int8", "float32"} <= {tensor.dtype for tensor in body}


def test_runtimes_that_run_them(paths):
    raw, inside = (
        kd.export.preflight(paths[name], trials=False) for name in paths if "int8" in name
    )
    for checked in (raw, inside):
        checked.require("ai-edge-litert", "tflite-runtime", "mediapipe")
    assert raw["tflite-micro"].runs == "yes"
    (reason,) = inside["tflite-micro"].reasons
    assert reason.operator == "NON_MAX_SUPPRESSION_V4" and "nms='outside'" in reason.fix


def test_mediapipe_refuses_mixed_outputs(paths):
    file = ModelFile.read(paths["int8"].path)
    tensors = file.graphs[0].tensors
    number = file.outputs[0].index
    object.__setattr__(tensors[number], "dtype", "int8")
    (reason,) = detector_output(file)
    assert "int8 and uint8" in reason.why and "output_dtype" in reason.fix


def test_it_runs_on_an_old_board(paths):
    python = os.environ.get("KD_RUNTIME_PYTHON")
    if not python:
        pytest.skip("KD_RUNTIME_PYTHON is not set")
    code = """if True:
        import json, sys
        import numpy as np
        from keras_dlcourse.edge import ObjectDetector, runtime_name
        image = np.load(sys.argv[1])
        boxes = [[[*d.bounding_box, d.categories[0].index] for d in
                  ObjectDetector(path).detect(image, score_threshold=0.3)] for path in sys.argv[2:]]
        print(json.dumps([runtime_name(), boxes]))"""
    image = paths["int8"].path.parent / "image.npy"
    np.save(image, scenes(1, seed=5)[0][0])
    names = ["int8", "int8 inside"]
    done = subprocess.run(
        [python, "-c", code, image, *(paths[name].path for name in names)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    runtime, (raw, inside) = json.loads(done.stdout)
    assert runtime.startswith("tflite-runtime") and raw == inside
    here = ObjectDetector(paths["int8"].path).detect(np.load(image), score_threshold=0.3)
    assert raw[0][4] == here[0].categories[0].index
    assert np.abs(np.array(raw[0][:4]) - here[0].bounding_box).max() <= 1


ROOT = Path(__file__).parents[2]


def test_verification_matches_the_boxes(paths, model, tmp_path):
    data = kd.data.pipeline(scenes(30, seed=9)[0], normalization=NORMALIZATION)
    found = kd.export.verify(model, paths["float32"], data).require(
        min_matched=1, min_box_iou=1 - 1e-5
    )
    assert found.passed and found.kind == "detection" and found.max_error < 1e-5
    assert "same box and class" in str(found) and not found.positions
    coarse = kd.export.verify(model, paths["int8 inside"], data)
    assert coarse.passed and 0.9 < coarse.matched <= 1 and 0.9 < coarse.box_iou < 1
    assert 0 < coarse.mean_error < 0.1 and coarse.same_weights
    raw = kd.export.verify(model, paths["int8"], data)
    assert raw.outputs[0].figures == pytest.approx(coarse.outputs[0].figures, rel=1e-5)
    with pytest.raises(kd.export.VerificationError, match="min_box_iou"):
        coarse.require(min_box_iou=0.9999)
    other, _ = build()
    wrong = kd.export.verify(other, paths["int8"], data)
    assert not wrong.passed and "other weights" in wrong.cause
    with pytest.raises(ValueError, match="declares no detection"):
        values = [model.get_layer("boxes").input, model.output["scores"]]
        kd.export.verify(keras.Model(model.input, values), paths["int8"], data)


def test_swapped_channels_are_found(paths, model):
    """By running the file on red and blue swapped: boxes are compared behind their decoding."""
    pixels = scenes(30, seed=9)[0]
    swapped = keras.Model(x := keras.Input((SIDE, SIDE, 3)), model(keras.ops.flip(x, -1)))
    declared = OutputDescription("detection", anchors=ANCHORS, name="boxes")
    outputs = {"boxes": declared(swapped.output["boxes"]), "scores": swapped.output["scores"]}
    swapped = keras.Model(swapped.input, outputs)
    data = kd.data.pipeline(pixels, normalization=NORMALIZATION)
    found = kd.export.verify(swapped, paths["float32"], data)
    assert "channel order" in found.cause


def rows(*boxes):
    values = np.zeros((1, 4, 6), "float32")
    for number, box in enumerate(boxes):
        values[0, number] = box
    return values


BOX, MOVED, FAR = (0, 0, 0.4, 0.4), (0, 0, 0.4, 0.3), (0.6, 0.6, 0.9, 0.9)


@pytest.mark.parametrize(
    ("ours", "theirs", "figures"),
    [
        ([(*BOX, 1, 0.9)], [(*MOVED, 1, 0.8)],
         {"matched": 1, "box_iou": 0.75, "max_error": 0.1, "mean_error": 0.1}),
        ([(*BOX, 1, 0.9)], [(*BOX, 2, 0.9)], {"matched": 0, "mean_error": 0.9, "boxes": 2}),
        # A box near the limit counts as found if the other side has it below.
        ([(*BOX, 1, 0.9), (*FAR, 0, 0.31)], [(*BOX, 1, 0.9), (*FAR, 0, 0.29)],
         {"matched": 1, "max_error": 0.02, "boxes": 3}),
        # Each box has one partner.
        ([(*BOX, 1, 0.9)], [(*BOX, 1, 0.9), (*MOVED, 1, 0.6)],
         {"matched": 2 / 3, "mean_error": 0.3}),
        # With low scores, from the median of the best.
        ([(*BOX, 1, 0.2)], [(*FAR, 1, 0.2)], {"matched": 0, "boxes": 2}),
        ([], [], {"boxes": 0, "max_error": 0}),
    ],
)  # fmt: skip
def test_figures_of_matches(ours, theirs, figures):
    found = KINDS["detection"].measure(Compared(rows(*ours), rows(*theirs))).values
    for name, value in figures.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert ("matched" in found) == bool(ours)


def detector(boxes=None, scores=None, anchors=ANCHORS, side=SIDE, **outputs):
    x = keras.Input((side, side, 3))
    values = layers.Reshape((90, 4))(layers.Dense(360)(layers.Flatten()(x[:, :2, :2])))
    described = OutputDescription("detection", anchors=anchors, name="boxes")
    boxes = described(values)
    scores = layers.Reshape((90, 3))(layers.Dense(270)(layers.Flatten()(x[:, :2, :2])))
    return x, boxes, scores


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda b, s: [b, s], "must be a dictionary of two outputs.*no dictionary"),
        (lambda b, s: {"boxes": b}, "a dictionary of two outputs, boxes under"),
        (lambda b, s: {"box": b, "scores": s}, "'boxes', and scores.*'box', 'scores'"),
        (
            lambda b, s: {"boxes": b, "scores": layers.Flatten()(s)},
            r"scores of shape \(batch, 90, classes\)",
        ),
        (
            lambda b, s: {
                "boxes": b,
                "scores": OutputDescription("detection", anchors=ANCHORS[:, :], name="again")(b),
            },
            "declared once. Received: the layers 'boxes', 'again'",
        ),
    ],
)
def test_models_that_are_no_detectors(outputs, message):
    x, boxes, scores = detector()
    with pytest.raises(ExportError, match=message):
        find_detection(keras.Model(x, outputs(boxes, scores)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nms": "within"}, ValueError, "nms must be one of 'outside', 'inside'"),
        ({"nms": 3}, TypeError, "nms must be"),
        ({"nms": "inside", "batch": None}, ValueError, "batch must be 1 .*Received: None"),
        ({"nms": "inside", "output_dtype": "uint8", "quantization": "int8"}, ValueError,
         "output_dtype must be float32"),
    ],
)  # fmt: skip
def test_arguments_of_export(model, detector_data, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        kd.export.to_tflite(model, tmp_path / "x.tflite", calibration=detector_data, **options)
    assert not any(tmp_path.iterdir())


def test_only_detectors_choose_among_boxes(classifier, data, tmp_path):
    with pytest.raises(ValueError, match="must declare its boxes with an OutputDescription"):
        kd.export.to_tflite(classifier, tmp_path / "x.tflite", calibration=data, nms="inside")


def test_the_number_of_boxes_is_a_setting(model, tmp_path):
    nms = NonMaxSuppression(0.3, 0.2, max_results=3, class_agnostic=True)
    path = kd.export.to_tflite(
        model, tmp_path / "few.tflite", nms=nms, preprocessing=NORMALIZATION, labels=LABELS
    ).path
    device = ObjectDetector(path)
    assert [one.shape for one in device.outputs] == [(None, 3, 4), (None, 3), (None, 3), (None,)]
    pixels = scenes(6, seed=5)[0]
    outputs = model.predict_on_batch(normalized(pixels))
    for number, image in enumerate(pixels):
        one = [outputs[name][number] for name in ("boxes", "scores")]
        expected = by_a_loop(*one, 0.2, 0.3, agnostic=True)[:3]
        found = device.detect(image, score_threshold=0)
        assert [one.categories[0].index for one in found] == [index for _, index, _ in expected]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "anchors must be given if, and only if"),
        ({"anchors": "abc"}, TypeError, "anchors must be an array of numbers"),
        ({"anchors": ANCHORS[:, :3]}, ValueError, r"shape \(anchors, 4\). Received: \(90, 3\)"),
        ({"anchors": ANCHORS * 48}, ValueError, "seem to be in pixels"),
        ({"anchors": -ANCHORS}, ValueError, "width and height above 0"),
        ({"anchors": ANCHORS, "scales": (1, 2)}, ValueError, "scales must be those of y, x"),
        ({"anchors": ANCHORS, "scales": (1, 2, 3, 0)}, ValueError, "scales must be a .*above 0"),
        ({"anchors": ANCHORS, "names": ["a"]}, ValueError, "names must only be given"),
    ],
)
def test_arguments_of_the_description(options, error, message):
    with pytest.raises(error, match=message):
        OutputDescription("detection", **options)


def test_scales_are_those_of_detections():
    with pytest.raises(ValueError, match="scales must only be given for kind='detection'"):
        OutputDescription("segmentation", scales=SCALES)
    with pytest.raises(ValueError, match=r"boxes must have the shape \(batch, 90, 4\)"):
        OutputDescription("detection", anchors=ANCHORS)(keras.Input((80, 4)))


def test_a_saved_model_has_its_anchors(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = find_detection(keras.models.load_model(tmp_path / "model.keras"))
    assert again == find_detection(model)
    np.testing.assert_array_equal(np.float32(again[1].anchors), ANCHORS)


def test_the_commands(paths, model, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(scenes(5, seed=11)[0]):
        Image.fromarray(image).save(folder / f"{number}.png")
    model.save(tmp_path / "model.keras")
    words = ["verify", tmp_path / "model.keras", paths["int8"].path, folder]
    assert main([*map(str, words), "--min-matched", "0.5"]) == 0
    assert "same box and class" in capsys.readouterr().out
    assert main([*map(str, words), "--min-matched", "1.1"]) == 1
    assert "min_matched=1.1" in capsys.readouterr().err
    assert main(["inspect", str(paths["int8 inside"].path)]) == 0
    assert "output category: detection_classes, labels: 3" in capsys.readouterr().out
    assert schema.CustomMetadata.DETECTOR == "DETECTOR_METADATA"
