"""Heads for class, box and keypoints on any backbone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.layers import OutputDescription
from keras_dlcourse.models import keypoint_regressor, localizer


def _backbone(size=(12, 20), end=None):
    x = inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x if end is None else end(x), name="backbone")


def _shapes(model):
    return {name: tuple(output.shape[1:]) for name, output in model.output.items()}


def test_outputs_and_what_they_record():
    model = localizer(_backbone(), 5, keypoints=["a", "b", "c"], bounding_box_format="rel_xywh")
    assert _shapes(model) == {"label": (5,), "box": (4,), "keypoints": (6,)}
    assert model.get_layer("box").bounding_box_format == "rel_xywh"
    points = model.get_layer("keypoints")
    assert (points.relative_to, points.names) == ("box", ("a", "b", "c"))
    assert _shapes(localizer(_backbone(), 2)) == {"label": (2,), "box": (4,)}
    assert _shapes(localizer(_backbone(), 2, keypoints=7))["keypoints"] == (14,)
    assert _shapes(keypoint_regressor(_backbone(), 3)) == {"box": (4,), "keypoints": (6,)}
    alone = keypoint_regressor(_backbone(), 3, relative_to="image")
    assert _shapes(alone) == {"keypoints": (6,)}


def test_the_range_of_each_output():
    x = np.random.default_rng(0).normal(size=(8, 12, 20, 3)).astype("float32") * 30
    found = localizer(_backbone(), 5, keypoints=2).predict(x, verbose=0)
    np.testing.assert_allclose(found["label"].sum(1), 1, rtol=1e-5)
    assert (found["box"] > 0).all() and (found["box"] < 1).all()
    assert (found["keypoints"] < 0).any()


def test_the_box_knows_where_things_are():
    """Shifting what is in the image moves no pooled feature, but what coordinates are read from."""
    keras.utils.set_random_seed(0)
    model = localizer(_backbone((16, 16)), 3)
    x = np.zeros((2, 16, 16, 3), "float32")
    x[0, 4:6, 4:6], x[1, 8:10, 10:12] = 5, 5
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found["label"][0], found["label"][1], atol=1e-5)
    assert np.abs(found["box"][0] - found["box"][1]).max() > 1e-3


def test_the_backbone_is_shared_and_can_be_frozen():
    backbone = _backbone()
    model = localizer(backbone, 2)
    assert backbone.layers[1] in model.layers
    backbone.trainable = False
    frozen = {weight.path for weight in backbone.weights}
    assert frozen and not frozen & {weight.path for weight in model.trainable_weights}


def test_it_comes_back_from_its_file(tmp_path):
    model = localizer(_backbone(), 2, keypoints=["left", "right"], dropout=0.2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 12, 20, 3)).astype("float32")
    for name, values in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(loaded.predict(x, verbose=0)[name], values, atol=1e-6)
    assert loaded.get_layer("keypoints").names == ("left", "right")


def test_half_precision_ends_in_float32():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        model = localizer(_backbone(), 2, keypoints=1)
    finally:
        keras.config.set_dtype_policy(policy)
    assert {output.dtype for output in model.output.values()} == {"float32"}


BAD = [
    (lambda: localizer(3, 2), TypeError, "backbone must be a keras.Model.*int"),
    (lambda: localizer(_backbone(), 0), ValueError, "classes.*0"),
    (lambda: localizer(_backbone(), 2, bounding_box_format="xyxy"), ValueError, "rel_.*'xyxy'"),
    (lambda: localizer(_backbone(), 2, bounding_box_format="ltrb"), ValueError, "'ltrb'"),
    (lambda: localizer(_backbone(), 2, keypoints=-1), ValueError, "keypoints.*-1"),
    (lambda: keypoint_regressor(_backbone(), 0), ValueError, "keypoints.*0"),
    (lambda: keypoint_regressor(_backbone(), ["a", "a"]), ValueError, "more than once: a"),
    (lambda: keypoint_regressor(_backbone(), 2, relative_to="person"), ValueError, "'person'"),
    (
        lambda: localizer(_backbone(end=keras.layers.GlobalAveragePooling2D()), 2),
        ValueError, r"must end in feature maps .*of fixed size.*\(None, 6\)",
    ),
    (lambda: localizer(_backbone((None, None)), 2), ValueError, "of fixed size"),
    (
        lambda: OutputDescription("mask"),
        ValueError, "one of 'box', 'keypoints', 'segmentation'.*'mask'",
    ),
    (
        lambda: OutputDescription("box"),
        ValueError, "bounding_box_format must be given if, and only if, kind='box'",
    ),
    (
        lambda: OutputDescription("keypoints", bounding_box_format="rel_xyxy"),
        ValueError, "bounding_box_format must be given if, and only if, kind='box'",
    ),
    (
        lambda: OutputDescription("keypoints"),
        ValueError, "relative_to must be given if, and only if, kind='keypoints'",
    ),
    (
        lambda: OutputDescription("box", "rel_xyxy", names=["a"]),
        ValueError, "names must only be given for kind='keypoints'",
    ),
    (
        lambda: OutputDescription("segmentation", "rel_xyxy"),
        ValueError, "bounding_box_format must be given if, and only if, kind='box'",
    ),
    (
        lambda: OutputDescription("segmentation", names=["a"]),
        ValueError, "names must only be given for kind='keypoints'",
    ),
    (
        lambda: OutputDescription("keypoints", relative_to="hand"),
        ValueError, "relative_to must be one of 'image', 'box'.*'hand'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), BAD)
def test_mistakes_are_said(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
