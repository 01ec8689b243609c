"""Gradients by the image: closed forms, completeness, and what guided ReLUs let through."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, body, classifier, images, numbers, randomised, siamese
from keras import layers as L
from keras import ops

import keras_dlcourse as kd
from keras_dlcourse import explain
from keras_dlcourse.explain.maps.guided import guided_copy


def linear(shape=(6, 5, 2)):
    given = keras.Input(shape)
    return randomised(keras.Model(given, L.Dense(3, activation="softmax")(L.Flatten()(given))))


def quadratic():
    """Scores whose gradient is 2 a x: each pixel's own square, weighted."""
    given = keras.Input((4, 4, 1))
    squares = L.Flatten()(L.Multiply()([given, given]))
    return randomised(keras.Model(given, L.Dense(2)(squares)))


def test_saliency_of_a_linear_model_is_its_kernel():
    model, x = linear(), images(3, (6, 5, 2))
    kernel = model.layers[-1].get_weights()[0]
    raw = explain.saliency(model, x, [0, 2, 1], raw=True)
    np.testing.assert_allclose(raw.reshape(3, -1), kernel.T[[0, 2, 1]], rtol=1e-5)
    drawn = explain.saliency(model, x, 2)
    expected = np.abs(kernel[:, 2]).reshape(6, 5, 2).max(-1)
    expected = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, drawn.shape), atol=1e-5)


def test_smooth_grad_is_the_mean_over_the_noise():
    model, x = quadratic(), images(2, (4, 4, 1))
    weights = model.layers[-1].get_weights()[0][:, 1].reshape(4, 4, 1)
    few = explain.smooth_grad(model, x, 1, raw=True, samples=6, noise=0.3, seed=5, batch_size=4)
    rng = np.random.default_rng(5)
    for row, image in zip(few, x, strict=True):
        spread = 0.3 * np.ptp(image)
        noise = np.concatenate([rng.normal(0, spread, (n, 4, 4, 1)) for n in (4, 2)])
        np.testing.assert_allclose(row, 2 * weights * (image + noise.mean(0)), rtol=1e-3, atol=1e-4)
    quiet = explain.smooth_grad(model, x, 1, raw=True, samples=3, noise=0.0)
    np.testing.assert_allclose(quiet, explain.saliency(model, x, 1, raw=True), rtol=1e-4)


def test_noisy_copies_are_asked_for_the_class_of_the_image():
    model, x = classifier(), images()
    top = numbers(model(x)).argmax(1)
    np.testing.assert_array_equal(
        explain.smooth_grad(model, x, samples=4, noise=2.0, raw=True),
        explain.smooth_grad(model, x, top, samples=4, noise=2.0, raw=True),
    )


@pytest.mark.parametrize("baseline", [0.0, "grey"])
def test_integrated_gradients_are_complete(baseline):
    model, x = classifier("softmax"), images()
    start = 0.0 if baseline == "grey" else images(1, seed=7)
    parts = explain.integrated_gradients(model, x, 2, raw=True, baseline=start, steps=200)
    kernel, bias = model.layers[-1].get_weights()
    pooled = keras.Model(model.inputs, model.layers[-2].output)
    score = (pooled.predict(x, verbose=0) @ kernel)[:, 2]
    begin = (pooled.predict(np.broadcast_to(start, (1, *SHAPE)), verbose=0) @ kernel)[:, 2]
    np.testing.assert_allclose(parts.sum((1, 2, 3)), score - begin, rtol=0.01, atol=1e-3)


def test_integrated_gradients_of_squares():
    model, x = quadratic(), images(3, (4, 4, 1))
    weights = model.layers[-1].get_weights()[0][:, 0].reshape(4, 4, 1)
    parts = explain.integrated_gradients(model, x, 0, raw=True, steps=2)  # exact for a line
    np.testing.assert_allclose(parts, weights * x**2, rtol=1e-4, atol=1e-6)
    drawn = explain.integrated_gradients(model, x, 0, steps=2)
    assert drawn.shape == (3, 4, 4) and drawn.min() == 0 and drawn.max() == 1


def test_too_few_steps_are_said():
    given = keras.Input((4, 4, 1))
    model = keras.Model(given, ops.mean(ops.sigmoid(200 * (given - 0.61)), axis=(1, 2)))
    with pytest.warns(UserWarning, match="of 2 images miss the difference.*Increase steps"):
        explain.integrated_gradients(model, np.ones((2, 4, 4, 1)), 1, steps=3)


def _by_hand(kernels, x, target, guided):
    """Backpropagation through two dense ReLU layers, in NumPy."""
    first = x @ kernels[0]
    second = np.maximum(first, 0) @ kernels[1]
    above = kernels[2][:, target] * (second > 0)
    if guided:
        above = np.maximum(above, 0)
    below = (above @ kernels[1].T) * (first > 0)
    if guided:
        below = np.maximum(below, 0)
    return below @ kernels[0].T


@pytest.mark.parametrize("form", ["inside", "layer", "activation", "operation"])
def test_guided_backprop_by_hand(form):
    relu = {
        "layer": lambda: L.ReLU(),
        "activation": lambda: L.Activation("relu"),
        "operation": lambda: ops.relu,
    }
    x = given = keras.Input((3, 4, 1))
    x = L.Flatten()(x)
    for units in (7, 6):
        x = L.Dense(units, use_bias=False, activation="relu" if form == "inside" else None)(x)
        x = x if form == "inside" else relu[form]()(x)
    model = randomised(keras.Model(given, L.Dense(2, use_bias=False)(x)))
    kernels = [layer.get_weights()[0] for layer in model.layers if layer.get_weights()]
    data = images(4, (3, 4, 1))
    for guided, method in ((True, explain.guided_backprop), (False, explain.saliency)):
        ours = method(model, data, 1, raw=True).reshape(4, -1)
        expected = [_by_hand(kernels, row.ravel(), 1, guided) for row in data]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numbers(guided_copy(model)(data)), numbers(model(data)), rtol=1e-5)


def test_guided_copies_open_our_blocks_and_name_what_they_cannot():
    given = keras.Input((8, 8, 3))
    block = kd.layers.InvertedResidual(4, expansion=2)(given)
    model = randomised(keras.Model(given, L.Dense(2)(L.GlobalAveragePooling2D()(block))))
    x = images(2, (8, 8, 3))
    np.testing.assert_allclose(numbers(guided_copy(model)(x)), numbers(model(x)), rtol=1e-4)
    plain, guided = (
        method(model, x, 1, raw=True) for method in (explain.saliency, explain.guided_backprop)
    )
    assert np.abs(plain - guided).max() > 0.1 * np.abs(plain).max() > 0

    @keras.saving.register_keras_serializable("guided_test")
    class Block(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = L.Dense(3, activation="relu", name="inner")

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x)

    model = keras.Model(given, L.Dense(2)(L.GlobalAveragePooling2D()(Block(name="mine")(given))))
    with pytest.warns(UserWarning, match="Layer 'mine' has ReLUs inside .inner."):
        explain.guided_backprop(model, x, 1)


METHODS = [explain.saliency, explain.smooth_grad, explain.integrated_gradients]


@pytest.mark.parametrize("method", [*METHODS, explain.guided_backprop, explain.occlusion])
def test_one_side_of_a_siamese_network(method):
    model, left, right = siamese(), images(2, seed=3), images(2, seed=4)
    first = method(model, [left, right], 1, image_input=0)
    second = method(model, [left, right], 1, image_input=1)
    assert first.shape == second.shape == (2, 10, 12)
    assert np.abs(first - second).max() > 1e-2


@pytest.mark.parametrize("method", METHODS)
def test_any_function_of_the_outputs(method):
    given = keras.Input(SHAPE)
    model = randomised(keras.Model(given, L.GlobalAveragePooling2D()(body(given))))
    ours = method(model, images(2), target=lambda outputs: outputs[:, 3], raw=True)
    np.testing.assert_allclose(ours, method(model, images(2), 3, raw=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        (
            explain.smooth_grad,
            {"samples": 0},
            ValueError,
            "samples must be an integer of at least 1",
        ),
        (
            explain.smooth_grad,
            {"noise": -1},
            ValueError,
            "noise must be a finite number of at least 0",
        ),
        (
            explain.integrated_gradients,
            {"steps": 2.5},
            TypeError,
            "steps must be an integer of at least 1",
        ),
        (
            explain.integrated_gradients,
            {"baseline": np.zeros(7)},
            ValueError,
            r"broadcast.*\(2, 10, 12, 3\)",
        ),
    ],
)
def test_mistakes_are_said(method, options, error, message):
    with pytest.raises(error, match=message):
        method(classifier(), images(2), 1, **options)
