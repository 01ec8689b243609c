"""A new head on other networks: what is shared, where it is cut, and that cam works."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_dlcourse.explain import cam, find_head, with_gap_head

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


def _randomised(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if len(shape) > 1:
            depthwise = len(shape) == 4 and shape[-1] == 1
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        else:
            weight.assign(rng.normal(0, 0.2, shape))
    return model


def _features(model: keras.Model, layer: str) -> np.ndarray:
    tensor = model.get_layer(layer).output
    return keras.Model(model.inputs, tensor).predict(IMAGES, verbose=0)


def _vgg() -> keras.Model:
    return keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7)


def _mobilenet() -> keras.Model:
    return keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=7)


# Behind MobileNet's layer 11 all maps of so small an image have one place only.
@pytest.mark.parametrize(
    ("build", "last"), [(_vgg, "block5_conv3"), (_mobilenet, "conv_pw_11_relu")]
)
@pytest.mark.parametrize(("pooling", "reduce"), [("average", np.mean), ("max", np.max)])
def test_the_new_head_stands_on_the_last_feature_maps(build, last, pooling, reduce):
    model = build()
    headed = _randomised(with_gap_head(model, 3, pooling=pooling))
    kernel, bias = headed.layers[-1].get_weights()
    logits = reduce(_features(model, last), (1, 2)) @ kernel + bias
    powers = np.exp(logits - logits.max(1, keepdims=True))
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(headed.predict(IMAGES, verbose=0), expected, rtol=1e-3, atol=1e-5)
    assert abs(expected[0] - expected[1]).max() > 1e-3, "the images are not told apart"
    assert find_head(headed).classes == 3 and find_head(headed).activation == "softmax"
    assert cam(headed, IMAGES, classes=[0, 2]).shape == (2, 32, 32)


def test_layers_are_shared_and_the_old_head_is_gone():
    model = _vgg()
    headed = with_gap_head(model, 3)
    kernel = np.ones_like(model.get_layer("block1_conv1").get_weights()[0])
    headed.get_layer("block1_conv1").kernel.assign(kernel)
    assert (model.get_layer("block1_conv1").get_weights()[0] == 1).all()
    assert not {"fc1", "fc2", "predictions", "block5_pool"} & {x.name for x in headed.layers}
    assert model.output_shape == (None, 7) and headed.output_shape == (None, 3)


def test_it_trains():
    model = with_gap_head(_mobilenet(), 2)
    before = model.layers[-1].get_weights()[0]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.array([0, 1]), epochs=1, verbose=0)
    assert not np.array_equal(model.layers[-1].get_weights()[0], before)


@pytest.mark.parametrize("inside", ["features", "pooled", "whole"])
def test_nested_backbones_are_cut(inside):
    x = inner = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=4, activation="relu", name="last")(x)
    if inside != "features":
        x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    if inside == "whole":
        x = layers.Dense(5)(x)
    backbone = keras.Model(inner, x, name="backbone")
    inputs = keras.Input((32, 32, 3))
    x = backbone(layers.Rescaling(0.5)(inputs))
    if inside == "features":
        x = layers.Flatten()(x)
    model = _randomised(keras.Model(inputs, layers.Dense(6)(layers.Dropout(0.5)(x))))
    headed = with_gap_head(model, 3, activation=None)
    maps = keras.Model(backbone.input, backbone.get_layer("last").output)(IMAGES * 0.5)
    kernel, bias = headed.layers[-1].get_weights()
    expected = np.asarray(keras.ops.convert_to_numpy(maps)).mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(headed.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-5)
    assert find_head(headed).activation == "linear"


def test_sequential_models_and_names_that_are_taken():
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(4, 3, name="gap_scores"), layers.Flatten(),
         layers.Dense(2)]
    )  # fmt: skip
    headed = with_gap_head(model, 4, activation="sigmoid")
    assert headed.layers[-1].name == "gap_scores_1"
    assert find_head(headed).activation == "sigmoid"
    again = with_gap_head(headed, 2)
    assert [layer.name for layer in again.layers][1:] == [
        "gap_scores", "gap_pooling_1", "gap_scores_2"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"classes": 0}, ValueError, "classes must be an integer of at least 1. Received: 0"),
        ({"classes": ["a", "b"]}, TypeError, "classes must be an integer"),
        (
            {"pooling": "mean"},
            ValueError,
            "pooling must be one of 'average', 'max'. Received: 'mean'",
        ),
        ({"model": "vgg"}, TypeError, "model must be a keras.Model. Received: str"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        with_gap_head(**{"model": keras.Sequential([]), "classes": 2, **arguments})


def test_models_without_feature_maps():
    inputs = keras.Input((8,))
    dense = layers.Dense(2)(inputs)
    with pytest.raises(ValueError, match="has no feature maps"):
        with_gap_head(keras.Model(inputs, dense), 2)
    with pytest.raises(ValueError, match="has 2 outputs"):
        with_gap_head(keras.Model(inputs, [dense, dense]), 2)


def test_a_backbone_inside_a_sequential_model_inside_a_model_is_cut():
    inner = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="last")(inner)
    backbone = keras.Model(inner, layers.Flatten()(x), name="backbone")
    wrapped = keras.Sequential([keras.Input((12, 10, 3)), layers.Rescaling(0.5), backbone])
    given = keras.Input((12, 10, 3))
    model = keras.Model(given, layers.Dense(3)(wrapped(layers.Rescaling(4.0)(given))))
    headed = _randomised(with_gap_head(model, 2))
    images = np.random.default_rng(0).normal(size=(2, 12, 10, 3)).astype("float32")
    features = keras.Model(inner, x).predict(2 * images, verbose=0)
    kernel, bias = headed.layers[-1].get_weights()
    powers = np.exp(features.mean((1, 2)) @ kernel + bias)
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(headed.predict(images, verbose=0), expected, atol=1e-5)
    assert cam(headed, images).shape == (2, 12, 10)
