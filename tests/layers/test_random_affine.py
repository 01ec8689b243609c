"""What is drawn in an image is where the moved boxes and keypoints say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.data import convert_boxes, keypoints_to_box
from keras_dlcourse.layers import RandomAffine

HEIGHT, WIDTH = 60, 44  # unlike, so that an exchange of x and y shows
MOTIONS = [
    {},
    {"horizontal_flip": True},
    {"translation": 0.3},
    {"scale": (0.6, 1.6)},
    {"degrees": 180},
    {"shear": 25},
    {"degrees": 30, "shear": 10, "scale": (0.7, 1.2), "translation": 0.15, "horizontal_flip": True},
]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _rectangles(rng, count=8):
    """Return images with one white rectangle, and its edges in pixels."""
    low = rng.integers((8, 8), (20, 30), (count, 2))
    high = low + rng.integers(8, 18, (count, 2))
    images = np.zeros((count, HEIGHT, WIDTH, 1), "float32")
    for image, (left, top), (right, bottom) in zip(images, low, high, strict=True):
        image[top:bottom, left:right] = 1
    return images, np.concatenate([low, high], axis=1).astype("float32")


def _shown(image):
    """Return left, top, right and bottom of what is white, between pixels."""
    rows, columns = np.nonzero(image[..., 0] > 0.5)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
@pytest.mark.parametrize("kind", ["rel_center_xywh", "yxyx"])
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_a_box_is_around_what_is_drawn(motion, kind, seed):
    images, boxes = _rectangles(np.random.default_rng(seed))
    given_boxes = convert_boxes(boxes, "xyxy", kind, HEIGHT, WIDTH)
    layer = RandomAffine(**motion, boxes={"where": kind}, seed=seed)
    moved = layer({"images": images, "where": given_boxes}, training=True)
    found = convert_boxes(_numpy(moved["where"]), kind, "xyxy", HEIGHT, WIDTH)
    compared = 0
    for image, box in zip(_numpy(moved["images"]), found, strict=True):
        if np.isnan(box).any() or image.max() < 0.9:
            continue
        # A corner of a turned rectangle fills little of its pixel; at an edge it is cut.
        np.testing.assert_allclose(_shown(image), box, atol=1.6)
        compared += 1
    assert compared >= 4
    if not motion:
        np.testing.assert_allclose(found, boxes, atol=1e-3)
        np.testing.assert_allclose(_numpy(moved["images"]), images, atol=1e-5)


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
@pytest.mark.parametrize("kind", ["xy", "rel_xy", "box"])
def test_keypoints_are_where_dots_are(motion, kind):
    """Each of three dots has a colour; the first two are a pair, and take each other's place."""
    rng = np.random.default_rng(3)
    count, size = 12, np.array([WIDTH, HEIGHT])
    places = np.stack([rng.permutation([10, 20, 30])[:, None] + rng.integers(0, 6, (3, 2))
                       for _ in range(count)]).astype("float32")  # fmt: skip
    images = np.zeros((count, HEIGHT, WIDTH, 3), "float32")
    for image, points in zip(images, places, strict=True):
        for color, (x, y) in enumerate(points.astype(int)):
            image[y - 2 : y + 2, x - 2 : x + 2, color] = 1
    boxes = np.tile(np.array([5, 5, 40, 50], "float32"), (count, 1))
    forms = {"xy": places, "rel_xy": places / size, "box": keypoints_to_box(places, boxes)}
    points = np.concatenate([forms[kind], np.ones((count, 3, 1))], axis=2)
    layer = RandomAffine(
        **motion, boxes={"box": "xyxy"}, keypoints={"points": kind}, flip_pairs=[(0, 1)], seed=5
    )
    moved = layer({"images": images, "box": boxes, "points": points}, training=True)
    moved = {name: _numpy(part) for name, part in moved.items()}
    found, visible = moved["points"][..., :2], moved["points"][..., 2] > 0
    if kind == "rel_xy":
        found = found * size
    if kind == "box":
        low, high = moved["box"][:, None, :2], moved["box"][:, None, 2:]
        found = found * (high - low) + (low + high) / 2
    mirrored = 0
    for image, points, seen in zip(moved["images"], found, visible, strict=True):
        dots = [_centre(image[..., color]) for color in range(3)]
        if None in dots or not seen.all():
            continue
        dots = np.array(dots)
        if np.linalg.norm(dots - points, axis=1).max() > 1:
            dots, mirrored = dots[[1, 0, 2]], mirrored + 1
        np.testing.assert_allclose(points, dots, atol=0.35)
    assert (mirrored > 0) == bool(motion.get("horizontal_flip"))
    assert visible.mean() > 0.5


def _centre(plane):
    """Return x and y of the middle of a dot; None where it is not whole."""
    # A dot at the edge may be cut, and its middle lies elsewhere then.
    if plane[[0, -1]].any() or plane[:, [0, -1]].any() or plane.sum() < 3:
        return None
    rows, columns = np.indices(plane.shape) + 0.5
    return [(columns * plane).sum() / plane.sum(), (rows * plane).sum() / plane.sum()]


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_a_mask_is_where_the_image_is(motion, dtype):
    """An image of its own classes is its mask: moved alike, but for what is between two pixels."""
    rng = np.random.default_rng(1)
    # Patches of 4 x 4, so that most pixels lie within one class.
    classes = rng.integers(1, 200, (6, HEIGHT // 4, WIDTH // 4)).repeat(4, 1).repeat(4, 2)
    images = classes[..., None].astype("float32")
    layer = RandomAffine(**motion, masks={"mask": 255, "planes": 0}, fill_value=255, seed=2)
    inputs = {"images": images, "mask": classes.astype(dtype)}
    inputs["planes"] = np.stack([classes, classes], -1).astype(dtype)
    moved = {name: _numpy(part) for name, part in layer(inputs, training=True).items()}
    assert moved["mask"].dtype == dtype and moved["planes"].shape == (*classes.shape, 2)
    assert set(np.unique(moved["mask"])) <= {*np.unique(classes), 255}
    inside = moved["planes"] > 0
    np.testing.assert_array_equal(
        moved["planes"][inside], np.stack([moved["mask"]] * 2, -1)[inside]
    )
    # Bilinear and nearest agree away from the edges of patches.
    assert (np.abs(moved["images"][..., 0] - moved["mask"]) < 0.5).mean() > 0.3
    nearest = RandomAffine(**motion, masks={"mask": 255}, fill_value=255, seed=2,
                           interpolation="nearest")  # fmt: skip
    same = nearest({"images": images, "mask": classes.astype(dtype)}, training=True)
    np.testing.assert_array_equal(_numpy(same["images"])[..., 0], _numpy(same["mask"]))
    still = layer(inputs)
    np.testing.assert_array_equal(_numpy(still["mask"]), inputs["mask"])


def test_box_and_mask_of_a_rectangle_stay_together():
    images, boxes = _rectangles(np.random.default_rng(4))
    layer = RandomAffine(**MOTIONS[-1], boxes={"box": "xyxy"}, masks={"mask": 0}, seed=3)
    inputs = {"images": images, "box": boxes, "mask": images[..., 0].astype("int32")}
    moved = {name: _numpy(part) for name, part in layer(inputs, training=True).items()}
    compared = 0
    for mask, box in zip(moved["mask"], moved["box"], strict=True):
        if mask.any() and np.isfinite(box).all():
            np.testing.assert_allclose(_shown(mask[..., None]), box, atol=1.6)
            compared += 1
    assert compared >= 4


def test_what_leaves_the_image_is_missing():
    images = np.zeros((64, 20, 20, 1), "float32")
    boxes = np.tile(np.array([0, 0, 4, 4], "float32"), (64, 1))
    points = np.tile(np.array([[2, 2, 1], [10, 10, 1]], "float32"), (64, 1, 1))
    layer = RandomAffine(
        translation=0.5, boxes={"box": "xyxy"}, keypoints={"a": "xy", "b": "box"}, seed=0
    )
    inputs = {"images": images, "box": boxes, "a": points, "b": points, "label": np.arange(64)}
    moved = {name: _numpy(part) for name, part in layer(inputs, training=True).items()}
    gone = np.isnan(moved["box"])
    assert gone.all(1).any() and not gone.all() and (gone.all(1) == gone.any(1)).all()
    left = ~gone[:, 0]
    assert (moved["box"][left] >= 0).all() and (moved["box"][left] <= 20).all()
    assert not moved["a"][~left, 0].any()  # neither a place nor visible
    assert (moved["a"][:, 1, 2] == 1).any()
    assert np.isfinite(moved["b"]).all() and not moved["b"][~left].any()
    assert (moved["label"] == np.arange(64)).all()


def test_missing_and_empty_boxes_stay_so():
    boxes = np.array([[[np.nan] * 4, [3, 3, 3, 9], [2, 3, 9, 8]]] * 4, "float32")
    images = np.zeros((4, 16, 16, 1), "float32")
    moved = RandomAffine(horizontal_flip=True, boxes={"b": "xyxy"}, seed=1)(
        {"images": images, "b": boxes}, training=True
    )
    found = _numpy(moved["b"])
    assert np.isnan(found[:, 0]).all()
    widths = found[:, 1:, 2] - found[:, 1:, 0]
    np.testing.assert_allclose(widths, [[0, 7]] * 4, atol=1e-5)


def test_nothing_moves_outside_of_training():
    images, boxes = _rectangles(np.random.default_rng(0))
    layer = RandomAffine(degrees=90, boxes={"box": "xyxy"})
    same = layer({"images": images, "box": boxes})
    np.testing.assert_array_equal(_numpy(same["images"]), images)
    np.testing.assert_array_equal(_numpy(same["box"]), boxes)


def test_draws_are_new_each_time_and_the_same_by_seed():
    images, _ = _rectangles(np.random.default_rng(0))
    layer, twin = (RandomAffine(degrees=90, seed=7) for _ in range(2))
    first, second = (_numpy(layer(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 0.5
    np.testing.assert_array_equal(first, _numpy(twin(images, training=True)))


def test_half_precision_keeps_coordinates_whole():
    layer = RandomAffine(boxes={"box": "xyxy"}, dtype="float16")
    box = np.array([[1000.25, 3, 1007.5, 9]], "float32")
    images = np.zeros((1, 16, 2048, 1), "float32")
    moved = layer({"images": images, "box": box}, training=True)
    assert keras.backend.standardize_dtype(moved["images"].dtype) == "float16"
    np.testing.assert_allclose(_numpy(moved["box"]), box, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"degrees": 181}, ValueError, "degrees must be a number from 0 to 180"),
        ({"shear": -1}, ValueError, "shear must be a number from 0 to 80"),
        ({"translation": float("nan")}, ValueError, "translation must be a number from 0 to 1"),
        ({"scale": (1.2, 0.8)}, ValueError, "above 0, smallest first"),
        ({"scale": 0.5}, ValueError, "scale must be two numbers"),
        ({"boxes": {"box": "xyx"}}, ValueError, "the format of 'box' must be one of 'xyxy'"),
        ({"keypoints": {"points": "box"}}, ValueError, "must be one of 'xy', 'rel_xy'"),
        (
            {"masks": {"mask": "background"}},
            TypeError,
            "fill value of the mask 'mask' must be a class number",
        ),
        ({"interpolation": "cubic"}, ValueError, "interpolation must be one of"),
        ({"fill_mode": "black"}, ValueError, "fill_mode must be one of"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        RandomAffine(**arguments)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"images": np.zeros((2, 8, 8, 1))}, "inputs lack 'box', 'points'"),
        ({name: np.zeros((8, 8, 1)) for name in ("images", "box", "points")}, "batch of rank 4"),
        (
            {"images": np.zeros((2, 8, 8, 1)), "box": np.zeros((2, 4)), "points": np.zeros((2, 6))},
            "keypoints must be",
        ),
        (
            {"images": np.zeros((2, 8, 8, 1)), "box": np.zeros((2, 3, 4)), "points": np.zeros(
                (2, 3, 2))},
            "one box per image",
        ),
        (
            {"images": np.zeros((2, 8, 8, 1)), "box": np.zeros((2, 4)), "points": np.zeros(
                (2, 1, 2))},
            "point indices below 1",
        ),
    ],
)  # fmt: skip
def test_wrong_inputs(inputs, message):
    layer = RandomAffine(
        boxes={"box": "rel_xyxy"}, keypoints={"points": "box"}, flip_pairs=[(0, 1)]
    )
    with pytest.raises(ValueError, match=message):
        layer(inputs, training=True)


@pytest.mark.parametrize("shape", [(2, 8, 9), (2, 8), (2, 4, 4, 1)])
def test_masks_of_another_size(shape):
    inputs = {"images": np.zeros((2, 8, 8, 1)), "mask": np.zeros(shape)}
    with pytest.raises(ValueError, match=r"masks must be as large as the images, \(8, 8\)"):
        RandomAffine(masks={"mask": 0})(inputs, training=True)
    with pytest.raises(ValueError, match="inputs lack 'mask'"):
        RandomAffine(masks={"mask": 0})({"images": np.zeros((2, 8, 8, 1))}, training=True)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.RandomFlip("horizontal_and_vertical", seed=1),
        keras.layers.RandomTranslation(0.2, 0.2, fill_mode="constant", seed=1),
        keras.layers.RandomZoom((-0.3, 0.3), (-0.3, 0.3), fill_mode="constant", seed=1),
        keras.layers.RandomRotation(0.1, fill_mode="constant", seed=1),
        keras.layers.RandomPerspective(1.0, scale=0.3, seed=1),
    ],
    ids=lambda layer: layer.name,
)
def test_boxes_and_masks_move_with_images_in_the_layers_of_keras(layer):
    """The documentation says of which layers this is true; RandomCrop and RandomShear are off."""
    layer.bounding_box_format = "xyxy"
    images, boxes = _rectangles(np.random.default_rng(0))
    marked = {"boxes": boxes[:, None], "labels": np.zeros((len(boxes), 1), "int32")}
    given = {"images": images, "bounding_boxes": marked, "segmentation_masks": images}
    moved = layer(given, training=True)
    is_white = _numpy(moved["images"]) > 0.5
    assert (is_white != _numpy(moved["segmentation_masks"])).mean() < 0.001
    assert np.abs(_numpy(moved["images"]) - images).max() > 0.5
    found = _numpy(moved["bounding_boxes"]["boxes"])[:, 0]
    for image, box in zip(_numpy(moved["images"]), found, strict=True):
        np.testing.assert_allclose(_shown(image), box, atol=1.6)
