"""Patches that excite a unit most, against a plain search over all features."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.explain import filters, maximal_patches, receptive_field

PIXELS = np.random.default_rng(3).integers(0, 256, (23, 12, 10, 1)).astype("uint8")


def _model() -> keras.Model:
    x = inputs = keras.Input((12, 10, 1))
    inner = keras.Sequential(
        [keras.Input((12, 10, 1)), layers.Conv2D(3, 3, strides=2, padding="same", name="conv")],
        name="inner",
    )
    x = layers.ReLU(name="relu")(inner(x))
    x = layers.MaxPooling2D(2, name="pool")(x)
    model = keras.Model(inputs, layers.Dense(4, name="scores")(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def _features(model: keras.Model, layer: str) -> np.ndarray:
    return keras.Model(model.inputs, model.get_layer(layer).output).predict(
        PIXELS.astype("float32"), verbose=0
    )


@pytest.mark.parametrize("layer", ["relu", "pool"])
def test_the_best_position_of_the_best_images(layer):
    model = _model()
    found = _features(model, layer)[..., 1]
    order = np.argsort(-found.max((1, 2)), kind="stable")[:5]
    patches = maximal_patches(model, layer, 1, PIXELS, k=5, batch_size=4)
    assert [patch.image for patch in patches] == order.tolist()
    field = receptive_field(model, layer)
    for patch in patches:
        plane = found[patch.image]
        assert patch.position == np.unravel_index(plane.argmax(), plane.shape)
        np.testing.assert_allclose(patch.value, plane.max(), rtol=1e-5)
        left, top, right, bottom = patch.box
        assert patch.box == field.region(*patch.position)
        assert patch.clipped == field.is_clipped(*patch.position)
        np.testing.assert_array_equal(patch.crop, PIXELS[patch.image, top:bottom, left:right])
        assert patch.crop.dtype == np.uint8 and patch.crop.base is None


def test_one_position():
    model = _model()
    found = _features(model, "relu")[:, 2, 4, 0]
    patches = maximal_patches(model, "relu", (2, 4, 0), PIXELS, k=3)
    assert [patch.image for patch in patches] == np.argsort(-found, kind="stable")[:3].tolist()
    assert {patch.position for patch in patches} == {(2, 4)}


def test_inside_of_nested_models_and_without_positions():
    model = _model()
    (patch,) = maximal_patches(model, "inner/conv", 2, PIXELS, k=1)
    assert patch.crop.shape == (3, 3, 1) or patch.clipped
    (patch,) = maximal_patches(model, "scores", 3, PIXELS, k=1)
    scores = model.predict(PIXELS.astype("float32"), verbose=0)[:, 3]
    assert patch.image == scores.argmax() and patch.box == (0, 0, 10, 12) and not patch.clipped


def test_of_equals_the_earlier_image_comes():
    images = np.repeat(PIXELS[:1], 7, axis=0)
    patches = maximal_patches(_model(), "pool", 0, images, k=3, batch_size=2)
    assert [patch.image for patch in patches] == [0, 1, 2]


def test_all_kinds_of_data_give_the_same():
    model = _model()
    labels = np.arange(len(PIXELS)) % 4

    def batches():
        for start in range(0, len(PIXELS), 5):
            yield PIXELS[start : start + 5], labels[start : start + 5]

    class Lazy:
        """Counts what is read at a time."""

        shape, dtype, most = PIXELS.shape, PIXELS.dtype, 0

        def __len__(self):
            return len(PIXELS)

        def __getitem__(self, index):
            self.most = max(self.most, len(PIXELS[index]))
            return PIXELS[index]

    lazy = Lazy()
    kinds = [PIXELS, (PIXELS, labels), batches(), list(batches()), lazy,
             kd.data.pipeline(PIXELS, labels, shuffle=True)]  # fmt: skip
    results = [
        [(p.image, p.box) for p in maximal_patches(model, "relu", 2, data, batch_size=4)]
        for data in kinds
    ]
    assert len(results[0]) == 9 and all(result == results[0] for result in results)
    assert lazy.most == 4


def test_a_pipeline_is_normalised_and_its_crops_are_pixels():
    model = _model()
    normalization = kd.data.Normalization((100.0,), (50.0,))
    data = kd.data.pipeline(PIXELS, normalization=normalization)
    (patch,) = maximal_patches(model, "scores", 0, data, k=1)
    scores = model.predict((PIXELS.astype("float32") - 100) / 50, verbose=0)[:, 0]
    np.testing.assert_allclose(patch.value, scores.max(), rtol=1e-4)
    np.testing.assert_array_equal(patch.crop, PIXELS[scores.argmax()])


def test_images_of_several_sizes():
    x = inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="end")(x))
    data = [PIXELS[:2].astype("float32"), PIXELS[2:4, :7, :9].astype("float32")]
    for patch in maximal_patches(model, "end", 0, data):
        features = model.predict(data[patch.image // 2], verbose=0)[patch.image % 2, ..., 0]
        assert patch.position == np.unravel_index(features.argmax(), features.shape)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": "conb"}, ValueError, "no layer 'conb'.*Did you mean"),
        ({"unit": 3}, ValueError, r"unit must be a channel below 3.*Received: 3"),
        ({"unit": (0, 5, 0)}, ValueError, r"\(row, column, channel\) within"),
        ({"unit": 1.5}, TypeError, "unit must be the index of a channel"),
        ({"unit": True}, TypeError, "unit must be the index of a channel"),
        ({"k": 0}, ValueError, "k must be an integer of at least 1. Received: 0"),
        ({"images": PIXELS[:, :5]}, ValueError, r"images must have the shape \(n, 12, 10, 1\)"),
        ({"images": []}, ValueError, "data contains no examples"),
        ({"images": "photos"}, TypeError, "data must be a pipeline"),
    ],
)
def test_errors(arguments, error, message):
    given = {"layer": "relu", "unit": 0, "images": PIXELS, **arguments}
    with pytest.raises(error, match=message):
        maximal_patches(_model(), **given)


def test_broken_weights_are_no_excitement():
    model = _model()
    model.get_layer("scores").set_weights([np.full((18, 4), np.nan), np.zeros(4)])
    with pytest.raises(ValueError, match="outputs NaN for image 0"):
        maximal_patches(model, "scores", 0, PIXELS)


def test_filters_are_images():
    layer = layers.Conv2D(5, (3, 2))
    layer.build((None, 8, 8, 3))
    kernel = np.random.default_rng(0).normal(size=(3, 2, 3, 5)).astype("float32")
    kernel[..., 4] = 7
    layer.set_weights([kernel, np.zeros(5)])
    images = filters(layer)
    assert images.shape == (5, 3, 2, 3)
    for number in range(4):
        one = kernel[..., number]
        expected = (one - one.min()) / (one.max() - one.min())
        np.testing.assert_allclose(images[number], expected, rtol=1e-5, atol=1e-7)
    assert (images[4] == 0.5).all()


def test_depthwise_filters_come_in_the_order_of_their_outputs():
    layer = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")
    layer.build((None, 3, 3, 2))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype("float32")
    layer.set_weights([kernel, np.zeros(4)])
    point = np.zeros((1, 3, 3, 2), "float32")
    point[0, 1, 1] = 1  # answers with the kernels, turned around
    answers = np.asarray(keras.ops.convert_to_numpy(layer(point)))[0, ::-1, ::-1]
    for number, image in enumerate(filters(layer)):
        one = answers[..., number]
        np.testing.assert_allclose(image[..., 0], (one - one.min()) / np.ptp(one), atol=1e-5)


def test_filters_of_what_is_no_first_layer():
    deep = layers.Conv2D(5, 3)
    with pytest.raises(ValueError, match="is not built yet"):
        filters(deep)
    deep.build((None, 8, 8, 16))
    with pytest.raises(
        ValueError, match="must have 1 or 3 input channels.*with 16 channels.*maximal_patches"
    ):
        filters(deep)
    with pytest.raises(TypeError, match="layer must be a Conv2D.*Received: Dense"):
        filters(layers.Dense(2))
