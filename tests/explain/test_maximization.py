"""Images that excite a unit most: against the closed form, and on a network that has learned."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from explained_models import SHAPE, classifier, images, randomised
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.explain import activation_maximization
from keras_dlcourse.explain.engine.probe import Probe

PLAIN = {"jitter": 0, "variation": 0.0, "frequency": 0.0}


@pytest.fixture(scope="module")
def trained():
    """A network that tells clothes apart, a little; without biases, so that grey gives 0."""
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    x = data.train.x[:2000].astype("float32") / 127.5 - 1
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 3, strides=2, use_bias=False, name="first"),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, use_bias=False, name="second"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", use_bias=False),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x, data.train.y[:2000], epochs=4, verbose=0)
    return model


def linear(kernel):
    """A model whose one class is a linear function of the image."""
    model = keras.Sequential(
        [keras.Input(kernel.shape), layers.Flatten(), layers.Dense(2, use_bias=False)]
    )
    model.set_weights([np.stack([-kernel.ravel(), kernel.ravel()], axis=1)])
    return model


@pytest.mark.parametrize(("layer", "unit"), [("second", 0), ("second", 1), (None, 1), (None, 7)])
def test_far_above_noise(trained, layer, unit):
    if layer:  # the units that clothes excite most: others may be below 0 for every image
        pixels = kd.data.load("fashion_mnist_small").test.x[:200] / 127.5 - 1
        features = Probe(trained, layer=layer).forward(pixels).features
        unit = int(features.mean((0, 1, 2)).argsort()[-1 - unit])
    found = activation_maximization(trained, layer, unit, samples=2)
    assert found.values.shape == found.start_values.shape == (2,)
    assert np.all(found.values > 10 * np.abs(found.start_values))
    # Nor does noise of the whole range come near.
    loud = np.random.default_rng(0).uniform(-1, 1, (200, 28, 28, 1)).astype("float32")
    values = Probe(trained, layer=layer or "second").forward(loud)
    noise = values.scores[:, unit] if layer is None else values.features[..., unit].mean((1, 2))
    assert found.values.min() > 2 * noise.max()
    assert found.images.min() >= -1 and found.images.max() <= 1


def test_values_are_those_of_the_model(trained):
    found = activation_maximization(trained, "second", 3, samples=2, steps=10)
    maps = keras.Model(trained.inputs, trained.get_layer("second").output)
    expected = maps.predict(found.images, verbose=0)[..., 3].mean((1, 2))
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    assert found.steps == 10 and not found.converged


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0)])
def test_linear_unit_has_a_closed_form(low, high):
    kernel = images(1)[0]
    found = activation_maximization(linear(kernel), None, 1, low=low, high=high, **PLAIN)
    best = np.where(kernel > 0, high, low)
    np.testing.assert_allclose(found.images[0], best, atol=1e-4 * (high - low))
    np.testing.assert_allclose(found.values, np.sum(kernel * best), rtol=1e-4)
    assert found.converged and found.steps < 300


def test_penalties_make_images_smoother():
    model = classifier()

    def roughness(**penalties):
        made = activation_maximization(model, None, 1, steps=80, **{**PLAIN, **penalties}).images
        return np.abs(np.diff(made, axis=1)).mean() + np.abs(np.diff(made, axis=2)).mean()

    plain = roughness()
    assert roughness(variation=0.5) < 0.8 * plain
    assert roughness(frequency=5.0) < 0.8 * plain


def test_jitter_spreads_a_linear_unit():
    """A single pixel counts; shifted about, its neighbours are drawn as well, and no others."""
    kernel = np.zeros((9, 9, 1), "float32")
    kernel[4, 4] = 1
    options = {**PLAIN, "steps": 100, "tolerance": 0.0}
    alone = activation_maximization(linear(kernel), None, 1, **options).images[0, ..., 0]
    spread = activation_maximization(linear(kernel), None, 1, **{**options, "jitter": 1})
    near = np.zeros((9, 9), bool)
    near[3:6, 3:6] = True
    assert (alone > 0.5).sum() == 1
    np.testing.assert_array_equal(spread.images[0, ..., 0] > 0.5, near)


def test_same_seed_same_image():
    model = classifier()
    one, same, other = (
        activation_maximization(model, "second", 0, steps=15, seed=seed).images
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_position_changes_only_what_it_sees():
    model = classifier()
    options = {"steps": 60, "tolerance": 0.0, **PLAIN}
    found = activation_maximization(model, "first", 2, position=(0, 0), **options)
    left, top, right, bottom = kd.explain.receptive_field(model, "first").region(0, 0)
    outside = np.ones(SHAPE[:2], bool)
    outside[top:bottom, left:right] = False
    # What is out of sight stays faint noise.
    assert np.abs(found.images[0][outside]).max() < 0.1
    assert np.abs(found.images[0][~outside]).min() > 0.5
    whole = activation_maximization(model, "first", 2, **options)
    maps = keras.Model(model.inputs, model.get_layer("first").output)
    one, mean = (maps.predict(x.images, verbose=0)[0, ..., 2] for x in (found, whole))
    np.testing.assert_allclose(found.values[0], one[0, 0], rtol=1e-4)
    assert mean.mean() > one.mean() and one[0, 0] >= mean[0, 0] - 1e-3


def test_nested_is_the_same_as_flat():
    flat = classifier("linear")
    inner = keras.Model(flat.inputs, flat.get_layer("second").output, name="backbone")
    pooled = layers.GlobalAveragePooling2D()(inner(given := keras.Input(SHAPE)))
    nested = keras.Model(given, flat.layers[-1](pooled))
    for layer, inside in [("second", "backbone/second"), (None, None)]:
        one = activation_maximization(flat, layer, 1, steps=12)
        two = activation_maximization(nested, inside, 1, steps=12)
        np.testing.assert_allclose(one.images, two.images, atol=1e-3)
        np.testing.assert_allclose(one.values, two.values, rtol=1e-3)


def test_open_size():
    given = keras.Input((None, None, 3))
    model = randomised(keras.Model(given, layers.Conv2D(4, 3, name="conv")(given)))
    found = activation_maximization(model, "conv", 1, size=(11, 9), steps=5, position=(8, 6))
    assert found.images.shape == (1, 11, 9, 3)
    with pytest.raises(ValueError, match=r"Pass size=\(height, width\)"):
        activation_maximization(model, "conv", 1)
    with pytest.raises(ValueError, match=r"in the 9x7 maps of layer 'conv'. Received: \(9, 6\)"):
        activation_maximization(model, "conv", 1, size=(11, 9), position=(9, 6))


def test_a_dead_unit_is_said():
    model = classifier()
    second = model.get_layer("second")
    kernel, bias = second.get_weights()
    second.set_weights([kernel, bias - 1e4])
    with pytest.warns(UserWarning, match="no gradient for the noise of 2 of 2 images") as log:
        found = activation_maximization(model, "second", 1, samples=2, steps=60)
    assert log[0].filename == __file__
    assert np.isfinite(found.images).all() and not found.values.any()
    assert found.steps < 60 and not found.converged, "it rests, but at no maximum"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "secon"}, "Did you mean 'second'"),
        ({"unit": 6}, "unit must be below 6, the number of channels of layer 'second'"),
        ({"layer": None, "unit": 4}, "unit must be below 4, the number of classes of the model"),
        ({"unit": -1}, "unit must be an integer of at least 0"),
        ({"layer": None, "position": (0, 0)}, "position must be None for a class"),
        ({"position": (5, 0)}, r"position must be \(row, column\) in the 5x6 maps"),
        ({"position": 3}, "position must be"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"samples": 0}, "samples must be"),
        ({"jitter": -1}, "jitter must be an integer of at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"variation": -1.0}, "variation must be a finite number of at least 0"),
        ({"frequency": np.nan}, "frequency must be"),
        ({"tolerance": -1e-3}, "tolerance must be"),
        ({"low": 1.0}, "low must be below high"),
        ({"size": (10, 13)}, r"size must be \(height, width\) of images \(10, 12, 3\)"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        activation_maximization(classifier(), **{"layer": "second", "unit": 1, **change})


def test_several_inputs_are_refused():
    from explained_models import siamese

    with pytest.raises(ValueError, match="a model with one input"):
        activation_maximization(siamese(), "second", 0)
