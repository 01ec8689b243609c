"""What holds for every method that draws maps, and which of them see what was learned."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, classifier, images, randomised
from keras import layers as L

from keras_dlcourse import explain
from keras_dlcourse.explain import METHODS
from keras_dlcourse.explain.methods import mapper_for

FAST = {"augmented_grad_cam": {"copies": 3}, "smooth_grad": {"samples": 3}}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_draws_maps_of_the_images_size(name):
    model, x, options = classifier(), images(3), FAST.get(name, {})
    before = model.get_weights()
    maps = METHODS[name](model, x, **options)
    assert maps.shape == (3, *SHAPE[:2]) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1 and np.ptp(maps) > 0
    top = model.predict(x, verbose=0).argmax(1)
    np.testing.assert_allclose(METHODS[name](model, x, top, **options), maps, atol=1e-5)
    np.testing.assert_allclose(METHODS[name](model, x[1:2], top[1:2], **options)[0].shape, (10, 12))
    if name != "eigen_cam":  # which knows no class
        other = METHODS[name](model, x, (top + 1) % 4, **options)
        assert np.abs(other - maps).max() > 1e-3
    for ours, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_looks_into_a_nested_network(name):
    plain, x, options = classifier(), images(2), FAST.get(name, {})
    given = keras.Input(SHAPE)
    nested = keras.Model(given, plain(L.Rescaling(1.0)(given)))
    ours = METHODS[name](nested, x, 1, **options)
    np.testing.assert_allclose(ours, METHODS[name](plain, x, 1, **options), atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_one_interface_to_every_method(name):
    model, x, options = classifier(), images(3), FAST.get(name, {})
    mapper = mapper_for(model, name, 4, **options)
    pairs = np.array([[0, 1], [2, 3], [1, 1]])
    maps, scores = mapper.maps(x, pairs)
    assert maps.shape[:2] == (3, 2) and scores.shape == (3, 4) and mapper.classes == 4
    np.testing.assert_allclose(mapper.scores(x), scores, atol=1e-5)
    np.testing.assert_allclose(
        mapper.probabilities(scores), model.predict(x, verbose=0), rtol=1e-3, atol=1e-5
    )
    assert mapper.image_size(x) == SHAPE[:2]
    one, _ = mapper.maps(x, pairs[:, 1])
    np.testing.assert_allclose(maps[:, 1], one, atol=1e-5)


def _taught():
    """A network that has learned where a square is: left or right."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.normal(0, 0.3, (200, 16, 16, 1)).astype("float32")
    for image, label in zip(x, y, strict=True):
        row, column = rng.integers(0, 11), rng.integers(0, 4) + 7 * label
        image[row : row + 5, column : column + 5] += 2
    given = keras.Input((16, 16, 1))
    z = L.Conv2D(8, 3, padding="same", activation="relu")(given)
    z = L.MaxPooling2D()(L.Conv2D(8, 3, padding="same", activation="relu")(z))
    z = L.Dense(2, activation="softmax")(L.Flatten()(z))
    model = keras.Model(given, z)
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(x, y, epochs=6, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    return model, x[:8], y[:8]


def test_methods_that_see_what_was_learned_pass_and_an_edge_detector_fails():
    model, x, y = _taught()
    before = model.get_weights()
    found = explain.sanity_check("grad_cam", model, x, y)
    assert found.passed and found.similarities[-1] < 0.5 and len(found.layers) == 3
    assert "grad_cam passes" in str(found)
    # It knows no class, and the brightest thing stands out in random features, too.
    assert not explain.sanity_check("eigen_cam", model, x, y).passed

    def edges(model, images, classes):
        return np.abs(np.gradient(images[..., 0], axis=1))

    failed = explain.sanity_check(edges, model, x)
    assert not failed.passed and failed.similarities == pytest.approx((1.0,) * 3)
    assert failed.method == "edges" and "fails: it shows the image" in str(failed)
    for ours, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, expected)
    flat = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten()])
    with pytest.raises(ValueError, match="no weights"):
        explain.sanity_check("saliency", flat, np.ones((2, 4, 4, 1)))


def test_gradients_fall_on_the_square():
    model, x, y = _taught()
    for name in ("grad_cam", "layer_cam", "saliency", "integrated_gradients", "occlusion"):
        maps = METHODS[name](model, x, y)
        inside = [map_[image[..., 0] > 1.2].mean() for map_, image in zip(maps, x, strict=True)]
        outside = [map_[image[..., 0] < 1.2].mean() for map_, image in zip(maps, x, strict=True)]
        assert np.mean(inside) > 1.5 * np.mean(outside), name


def test_names_of_methods_are_checked():
    with pytest.raises(ValueError, match="method must be one of 'cam', 'grad_cam'"):
        explain.sanity_check("gradcam", classifier(), images(1))
    with pytest.raises(TypeError, match="a name or a function"):
        mapper_for(randomised(classifier()), 3)
