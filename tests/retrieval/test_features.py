"""Features of any layer, beside models that end there."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

RNG = np.random.default_rng(0)
IMAGES = RNG.random((11, 8, 6, 1)).astype("float32")


def network(activation="softmax"):
    """A small network without ReLU, which some processors let turn NaN into 0."""
    keras.utils.set_random_seed(1)
    inner = keras.Sequential(
        [
            keras.Input((8, 6, 1)),
            keras.layers.Conv2D(3, 3, activation="tanh", name="conv"),
            keras.layers.BatchNormalization(),
        ],
        name="backbone",
    )
    inputs = keras.Input((8, 6, 1))
    x = inner(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(5, name="hidden")(x))
    return keras.Model(inputs, keras.layers.Dense(4, activation, name="end")(x))


def expected(model, tensor):
    return keras.Model(model.input, tensor).predict(IMAGES, verbose=0)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_layer_by_name_in_nested_models_too(batch_size):
    model = network()
    pooled = expected(model, model.get_layer("pool").output)
    hidden = expected(model, model.get_layer("hidden").output)
    inner = model.get_layer("backbone")
    maps = keras.Model(inner.inputs, inner.get_layer("conv").output).predict(IMAGES, verbose=0)
    for name, right in (
        ("pool", pooled),
        ("hidden", hidden),
        ("backbone", pooled),  # maps are averaged
        ("backbone/conv", maps.mean((1, 2))),
        ("conv", maps.mean((1, 2))),
    ):
        found = kd.retrieval.features(model, IMAGES, name, batch_size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None, "tanh"])
def test_without_a_name_a_classifier_gives_what_its_last_layer_sees(activation):
    model = network(activation)
    layer = "hidden" if activation in ("softmax", "sigmoid") else "end"
    np.testing.assert_allclose(
        kd.retrieval.features(model, IMAGES),
        expected(model, model.get_layer(layer).output),
        rtol=1e-5,
        atol=1e-6,
    )


def test_class_names_tell_a_classifier_of_logits():
    model = kd.models.MobileNetV2(
        input_shape=(32, 32, 1), alpha=0.1, classes=["a", "b"], classifier_activation=None
    )
    images = RNG.random((2, 32, 32, 1))
    assert kd.retrieval.features(model, images).shape == (2, 1280)


def test_a_subclassed_model_gives_its_output():
    class Embedder(keras.Model):
        def __init__(self):
            super().__init__()
            self.pool = keras.layers.GlobalAveragePooling2D()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(self.pool(x))

    model = Embedder()
    right = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(kd.retrieval.features(model, IMAGES), right, rtol=1e-5, atol=1e-6)


def test_any_data_and_weights_as_they_are_now():
    from keras_dlcourse.retrieval.features import Extractor

    model = network()
    pixels = (IMAGES * 255).astype("uint8")
    normalization = kd.data.Normalization((128.0,), (64.0,))
    data = kd.data.pipeline(pixels, np.arange(11), normalization=normalization, batch_size=3)
    extract = Extractor(model, None, 4)
    found, labels = extract(data)
    np.testing.assert_array_equal(labels, np.arange(11))
    same, none = extract(data.prepare(pixels))
    np.testing.assert_allclose(found, same, rtol=1e-5)
    assert none is None
    batches = [(data.prepare(pixels[s : s + 3]), np.arange(11)[s : s + 3]) for s in (0, 3, 6, 9)]
    streamed, labels = extract(batches)
    np.testing.assert_allclose(streamed, found, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, np.arange(11))
    model.get_layer("hidden").set_weights([np.zeros((3, 5)), np.arange(5)])
    np.testing.assert_allclose(extract(data)[0], np.tile(np.arange(5), (11, 1)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "x"}, TypeError, "model must be a keras.Model. Received: str"),
        ({"layer": 3}, TypeError, "layer must be the name of a layer. Received: int"),
        ({"layer": "hiden"}, ValueError, "has no layer 'hiden'. Did you mean 'hidden'"),
        ({"layer": "zzz"}, ValueError, "has no layer 'zzz'. Did you mean .*'end'"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1. Received: 0"),
        ({"images": np.zeros((0, 8, 6, 1))}, ValueError, "no examples"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        kd.retrieval.features(**{"model": network(), "images": IMAGES, **arguments})


def test_nan_is_named():
    images = IMAGES.copy()
    images[4] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity for 1 of 11 images.* image 4"):
        kd.retrieval.features(network(), images)


def test_several_inputs_or_outputs():
    inputs = [keras.Input((3,), name=name) for name in "ab"]
    with pytest.raises(ValueError, match="must have one input.*with 2 inputs"):
        kd.retrieval.features(keras.Model(inputs, keras.layers.Add()(inputs)), np.zeros((2, 3)))
    one = keras.Input((3,))
    model = keras.Model(one, [keras.layers.Dense(2, name=name)(one) for name in "ab"])
    with pytest.raises(ValueError, match="has 2 outputs. Pass the layer="):
        kd.retrieval.features(model, np.zeros((2, 3)))
    assert kd.retrieval.features(model, np.zeros((2, 3)), layer="b").shape == (2, 2)
