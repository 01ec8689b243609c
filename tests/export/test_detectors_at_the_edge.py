"""What `ObjectDetector` lists, draws and refuses; how NumPy chooses among boxes."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_detector import LABELS, NORMALIZATION, scenes

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.edge import (
    BoundingBox,
    Category,
    Detection,
    ModelFile,
    NonMaxSuppression,
    ObjectDetector,
    draw_detections,
)
from keras_dlcourse.edge.description.layouts import DetectionLayout
from keras_dlcourse.edge.vision.detection_reader import choose_boxes
from keras_dlcourse.edge.vision.drawing import category_color
from keras_dlcourse.edge.vision.non_max_suppression import non_max_suppression

layers = keras.layers
# On a coarse grid, so that boxes touch, repeat and have no area, and scores tie.
STEP = st.integers(0, 6)
BOXES = st.lists(
    st.tuples(STEP, STEP, STEP, STEP, st.integers(1, 4), st.integers(0, 2)), max_size=40
)


@given(BOXES, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(1, 12), st.booleans())
@settings(deadline=None, max_examples=150)
def test_nms_is_that_of_tensorflow(boxes, iou_threshold, max_results, by_class):
    rows = np.array(boxes, "float32").reshape(-1, 6)
    edges = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    scores, classes = rows[:, 4] / 4, rows[:, 5]
    found = non_max_suppression(
        edges, scores, iou_threshold=iou_threshold, max_results=max_results,
        classes=classes if by_class else None,
    )  # fmt: skip
    apart = edges + (100 * classes[:, None] if by_class else 0)  # exact in float32
    expected = tf.image.non_max_suppression(apart, scores, max_results, iou_threshold)
    assert found.tolist() == expected.numpy().tolist()


def test_nms_of_more_boxes_than_are_compared_at_once():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (1000, 2))
    edges = np.hstack([corners, corners + rng.uniform(0.02, 0.2, (1000, 2))]).astype("float32")
    scores = rng.permutation(1000).astype("float32")
    for most in (50, 1000):
        found = non_max_suppression(edges, scores, iou_threshold=0.3, max_results=most)
        expected = tf.image.non_max_suppression(edges, scores, most, 0.3).numpy()
        assert found.tolist() == expected.tolist() and len(found) > 40


def test_no_boxes_are_lost_before_the_choice():
    """Dense scenes need more candidates than a fixed number of the best."""
    side = 25
    centers = (np.arange(side) + 0.5) / side
    anchors = [(x, y, 0.02, 0.02) for y in centers for x in centers]
    found = choose_boxes(
        np.zeros((side**2, 4), "float32"), np.full((side**2, 1), 0.9, "float32"),
        DetectionLayout(tuple(anchors)), NonMaxSuppression(max_results=1000),
    )  # fmt: skip
    assert len(found.scores) == side**2


def test_a_box_far_outside_ends_at_twice_the_image():
    layout = DetectionLayout(((0.5, 0.5, 0.2, 0.2),))
    found = layout.edges(np.array([[0, 0, 1000, 1000]], "float32"))
    assert found.tolist() == [[-1, -1, 2, 2]]


def test_each_class_has_its_threshold(detector_files):
    device = ObjectDetector(detector_files["float32"].path)
    lists = [
        [one.categories[0] for image in scenes(40, seed=6)[0]
         for one in device.detect(image, score_threshold=least)]
        for least in (None, 0.1)
    ]  # fmt: skip
    own, all_of_them = lists
    limits = dict(zip(LABELS, (0.2, 0.3, 0.4), strict=True))
    assert own == [one for one in all_of_them if one.score >= np.float32(limits[one.label])]
    assert {one.label for one in all_of_them if one not in own} == set(LABELS)


def test_thresholds_behind_a_choice_inside(detector_model, detector_files, tmp_path):
    thresholds = [0.2, 0.9, 0.4]
    result = kd.export.to_tflite(
        detector_model, tmp_path / "inside.tflite", preprocessing=NORMALIZATION, labels=LABELS,
        nms="inside", score_thresholds=thresholds,
    )  # fmt: skip
    inside, outside = ObjectDetector(result.path), ObjectDetector(detector_files["float32"].path)
    least = np.float32(thresholds)
    seen = set()
    for image in scenes(20, seed=6)[0]:
        found = [one.categories[0] for one in inside.detect(image)]
        expected = [one.categories[0] for one in outside.detect(image, score_threshold=0.1)]
        kept = [one for one in expected if one.score >= least[one.index]]
        assert [one.index for one in found] == [one.index for one in kept]
        seen |= {one.index for one in expected if one not in kept}
    assert 1 in seen


@pytest.mark.parametrize("file", ["float32", "int8 inside"])
def test_lists_of_classes(detector_files, file):
    device, image = ObjectDetector(detector_files[file].path), scenes(8, seed=5)[0][2]
    for pixels in scenes(8, seed=5)[0]:
        every = device.detect(pixels, score_threshold=0.1)
        only = device.detect(pixels, score_threshold=0.1, category_allowlist=["grün"])
        rest = device.detect(pixels, score_threshold=0.1, category_denylist=["grün"])
        assert {one.categories[0].label for one in only} <= {"grün"}
        assert "grün" not in {one.categories[0].label for one in rest}
        # A box of another class may be one of this class, with a lower score.
        assert all(one in only for one in every if one.categories[0].label == "grün")
    assert device.detect(image, max_results=1) == device.detect(image)[:1]
    assert device.detect(image, category_allowlist=[]) == []
    with pytest.raises(ValueError, match="must not be given together"):
        device.detect(image, category_allowlist=["red"], category_denylist=["blue"])
    with pytest.raises(ValueError, match="category_denylist must be one of 'red', 'grün', 'blue'"):
        device.detect(image, category_denylist=["violet"])
    with pytest.raises(TypeError, match="category_allowlist must be a list of names"):
        device.detect(image, category_allowlist="red")


EDGES = {
    "ImageClassifier": "an image classifier must return",
    "ImageEmbedder": "an image embedder must return",
    "ImageSegmenter": "an image segmenter must return",
    "ObjectLocalizer": "must return",
    "KeypointDetector": "must return",
}


@pytest.mark.parametrize("file", ["float32", "int8", "int8 inside"])
@pytest.mark.parametrize("name", EDGES)
def test_other_classes_name_the_one_for_detectors(detector_files, file, name):
    message = f"{EDGES[name]}.*the outputs of a detector. Open it with ObjectDetector"
    with pytest.raises(ValueError, match=message):
        getattr(kd.edge, name)(detector_files[file].path)


def test_files_that_are_no_detectors(files, tmp_path):
    with pytest.raises(ValueError, match="must have the outputs 'location' and 'score' in its"):
        ObjectDetector(files["float32"].path)
    inputs = keras.Input((16, 16, 3))
    masks = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(inputs))
    box = keras.Model(
        inputs, kd.layers.OutputDescription("box", bounding_box_format="rel_xyxy")(
            layers.Dense(4)(layers.GlobalAveragePooling2D()(inputs))),
    )  # fmt: skip
    for model, message in ((masks, "Open a mask with ImageSegmenter"), (box, "Export a detector")):
        path = kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=NORMALIZATION).path
        with pytest.raises(ValueError, match=message):
            ObjectDetector(path)


@pytest.mark.parametrize(
    ("file", "options", "error", "message"),
    [
        ("int8 inside", {"nms": NonMaxSuppression()}, ValueError, "chooses among boxes itself"),
        ("int8", {"nms": 0.5}, TypeError, "nms must be a NonMaxSuppression"),
        ("int8", {"labels": ["a", "b"]}, ValueError, "2 labels given.*has 3 classes"),
        ("int8 inside", {"labels": ["a", "b"]}, ValueError, "2 labels given.*has 3 classes"),
    ],
)
def test_arguments(detector_files, file, options, error, message):
    with pytest.raises(error, match=message):
        ObjectDetector(detector_files[file].path, **options)


def test_outputs_that_are_no_boxes(detector_files):
    """Class numbers between classes, NaN, and classes that have no name are errors."""
    device = ObjectDetector(detector_files["int8 inside"].path)
    image = scenes(1, seed=5)[0][0]
    run = device._run_on_image
    for number, value, message in (
        (1, 1.9882, "class numbers .* must be whole. Received: 1.9882: they were quantized"),
        (1, 7.0, "damaged: it found class 7"),
        (0, np.nan, "must be numbers. Received: NaN"),
    ):
        size, outputs = run(image)
        outputs = [np.array(one) for one in outputs]
        outputs[number].flat[0] = value
        device._run_on_image = lambda image, told=(size, outputs): told
        with pytest.raises(ValueError, match=message):
            device.detect(image)


def test_metadata_without_its_anchors(detector_files):
    file = ModelFile.read(detector_files["float32"].path)
    metadata = dataclasses.replace(file.metadata, detection=None)
    with pytest.raises(ValueError, match="must have anchors in its metadata"):
        ObjectDetector(dataclasses.replace(file, metadata=metadata))


def test_drawing(tmp_path):
    photo = np.full((60, 80, 3), 128, "uint8")
    found = [
        Detection(BoundingBox(10, 20, 30, 25), [Category(1, "cat", 0.91)]),
        Detection(BoundingBox(30, 30, 40, 25), [Category(2, "dog", 0.62)]),
        Detection(None, [Category(2, "dog", 0.5)]),
    ]
    picture = np.asarray(draw_detections(photo, found))
    assert picture.shape == photo.shape and (photo == 128).all()
    second = found[1].bounding_box
    colors = [np.array(category_color(number)) for number in (1, 2)]
    # The left edges, one pixel inside: the color of each class; where they cross, of the better.
    assert (picture[40, 11] == colors[0]).all()
    assert (picture[50, second.origin_x + second.width - 2] == colors[1]).all()
    assert (picture[36, 38] == colors[0]).all()
    assert (picture[58:, :] == 128).all() and (picture[:, 75:] == 128).all()  # nothing elsewhere
    assert (np.asarray(draw_detections(photo, [])) == photo).all()


def test_the_command(detector_files, tmp_path, capsys):
    photos = []
    for number, image in enumerate(scenes(2, seed=5)[0]):
        photos.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(photos[-1])
    path = str(detector_files["int8"].path)
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    assert main(["detect", path, *photos, "--json", "-o", str(drawn), "--allow", *LABELS]) == 0
    told = json.loads(capsys.readouterr().out)["results"]
    device = ObjectDetector(path)
    for one, photo in zip(told, photos, strict=True):
        expected = device.detect(photo)
        assert [found["bounding_box"] for found in one["detections"]] == [
            found.bounding_box._asdict() for found in expected
        ]
        assert Image.open(one["picture"]).size == (48, 48)
    assert main(["detect", path, photos[0], "--score-threshold", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [photos[0], "  none"]
    assert main(["detect", path, photos[0], "--max-results", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["detect", path, photos[0], "--deny", "violet"]) == 1
    assert "category_denylist must be one of" in capsys.readouterr().err
