"""Attributions of vectors, series, volumes and videos: hand-made networks say what is right."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_dlcourse as kd

SHAPES = {
    "vector": (6,),
    "series": (20, 3),
    "volume": (5, 6, 4, 1),
    "video": (3, 6, 4, 2),
}
METHODS = ("saliency", "smooth_grad", "integrated_gradients", "guided_backprop", "occlusion")
QUICK = {"smooth_grad": {"samples": 2, "noise": 0.0}, "integrated_gradients": {"steps": 2}}


def body(kind):
    return {
        "vector": L.Dense(4, activation="relu"),
        "series": L.Conv1D(4, 3, padding="same", activation="relu"),
        "volume": L.Conv3D(2, 3, padding="same", activation="relu"),
        "video": L.TimeDistributed(L.Conv2D(2, 3, padding="same")),
    }[kind]


@pytest.fixture(scope="module", params=SHAPES)
def linear(request):
    """A linear model: its attributions are known, weight times input."""
    shape = SHAPES[request.param]
    rng = np.random.default_rng(1)
    model = keras.Sequential([keras.Input(shape), L.Flatten(), L.Dense(2, use_bias=False)])
    kernel = rng.normal(size=(int(np.prod(shape)), 2)).astype("float32")
    model.layers[-1].set_weights([kernel])
    inputs = rng.normal(size=(4, *shape)).astype("float32")
    return model, inputs, kernel[:, 1].reshape(shape)


def over_channels(values, reduce):
    return values if values.ndim == 2 else reduce(values, axis=-1)


def to_unit(maps):
    axes = tuple(range(1, maps.ndim))
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    return (maps - low) / (high - low)


def test_saliency_is_the_largest_weight_of_a_place(linear):
    model, inputs, weights = linear
    expected = over_channels(np.repeat(np.abs(weights)[None], 4, 0), np.max)
    found = kd.explain.saliency(model, inputs, 1)
    assert found.shape == expected.shape
    top = np.quantile(expected[0], 0.995, method="higher")
    np.testing.assert_allclose(found, to_unit(np.minimum(expected, top)), atol=1e-5)
    np.testing.assert_allclose(
        kd.explain.smooth_grad(model, inputs, 1, samples=3), found, atol=1e-5
    )


def test_integrated_gradients_are_weight_times_input(linear):
    model, inputs, weights = linear
    parts = kd.explain.integrated_gradients(model, inputs, 1, raw=True, steps=2)
    np.testing.assert_allclose(parts, weights * inputs, atol=1e-4)
    found = kd.explain.integrated_gradients(model, inputs, 1, steps=2)
    sums = np.abs(over_channels(weights * inputs, np.sum))
    axes = tuple(range(1, sums.ndim))
    top = np.quantile(sums, 0.995, axis=axes, keepdims=True, method="higher")
    np.testing.assert_allclose(found, to_unit(np.minimum(sums, top)), atol=1e-4)


def test_occlusion_of_single_places_is_what_they_bring_in(linear):
    model, inputs, weights = linear
    falls = kd.explain.occlusion(model, inputs, 1, raw=True, patch=1, stride=1)
    np.testing.assert_allclose(falls, over_channels(weights * inputs, np.sum), atol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_convolutions_and_time_distributed(kind):
    shape = SHAPES[kind]
    model = keras.Sequential([keras.Input(shape), body(kind), L.Flatten(), L.Dense(2)])
    inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    for name in ("saliency", "guided_backprop"):
        maps = getattr(kd.explain, name)(model, inputs, 1)
        assert maps.shape == (2, *(shape if len(shape) == 1 else shape[:-1])), name
        assert np.isfinite(maps).all()
        assert maps.min() == 0 and maps.max() == 1, name


def test_features_are_covered_one_by_one_unless_told_otherwise(linear):
    model, inputs, _ = linear
    if inputs.ndim == 2:
        one = kd.explain.occlusion(model, inputs, 1, raw=True)
        np.testing.assert_array_equal(
            one, kd.explain.occlusion(model, inputs, 1, raw=True, patch=1, stride=1)
        )
    with pytest.raises(ValueError, match=r"patch must be one .*Received: 99"):
        kd.explain.occlusion(model, inputs, 1, patch=99)
    with pytest.raises(ValueError, match=r"stride must be one .*Received: \(1, 1, 1, 1\)"):
        kd.explain.occlusion(model, inputs, 1, stride=(1, 1, 1, 1))


@pytest.mark.parametrize("name", ["grad_cam", "score_cam", "augmented_grad_cam"])
def test_maps_of_features_say_what_takes_these(name):
    model = keras.Sequential([
        keras.Input((4, 4, 4, 1)), L.Reshape((8, 8, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2),
    ])  # fmt: skip
    volumes = np.ones((2, 4, 4, 4, 1), "float32")
    with pytest.raises(ValueError, match=r"saliency, integrated_gradients and occlusion.* volumes"):
        getattr(kd.explain, name)(model, volumes, 1)
    series = keras.Sequential([keras.Input((20, 3)), body("series"), L.Flatten(), L.Dense(2)])
    with pytest.raises(ValueError, match=r"need none and also support vectors, series and volumes"):
        getattr(kd.explain, name)(series, np.ones((2, 20, 3), "float32"), 1)


def test_pixels_of_whole_numbers_have_gradients():
    """As of `Input(dtype="uint8")` and `Rescaling`: those of the same network on floats."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 6, 5, 3)).astype("uint8")
    layers = [L.Rescaling(1 / 255), L.Flatten(), L.Dense(2)]
    whole = keras.Sequential([keras.Input((6, 5, 3), dtype="uint8"), *layers])
    floats = keras.Sequential([keras.Input((6, 5, 3)), *layers])
    for name in ("saliency", "integrated_gradients"):
        maps = getattr(kd.explain, name)(whole, pixels, 1, **QUICK.get(name, {}))
        expected = getattr(kd.explain, name)(floats, pixels, 1, **QUICK.get(name, {}))
        np.testing.assert_allclose(maps, expected, atol=1e-5)
        assert maps.max() == 1


def test_numbers_of_words_have_none():
    model = keras.Sequential([
        keras.Input((5,), dtype="int32", name="words"), L.Embedding(9, 3), L.Flatten(), L.Dense(2),
    ])  # fmt: skip
    words = np.arange(10).reshape(2, 5) % 9
    for name in METHODS[:4]:
        with pytest.raises(ValueError, match=r"'words' .*integers \(int32\).*Use occlusion"):
            getattr(kd.explain, name)(model, words, 1, **QUICK.get(name, {}))
    assert kd.explain.occlusion(model, words, 1).shape == (2, 5)
